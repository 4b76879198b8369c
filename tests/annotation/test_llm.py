"""The llm annotator against a small endpoint: good and bad replies, failures, and never asking twice."""

import json
import sys
from dataclasses import replace
from functools import partial

import pytest

from planned_diffusion.annotation import llm
from planned_diffusion.annotation.llm import ask_all, estimate
from planned_diffusion.annotation.llm_endpoint import Endpoint, check_endpoint
from planned_diffusion.annotation.llm_prompt import MOST_REPLY_ROUNDS, messages_for, pieces_of, rounds_of
from planned_diffusion.annotation.outcomes import records
from planned_diffusion.annotation.pipeline import AnnotationJob, annotate_file
from planned_diffusion.annotation.reading import open_source
from planned_diffusion.generation.fields import FIELDS
from planned_diffusion.records.output import beside
from planned_diffusion.records.tagged import parse_tagged, plain_text

openai = pytest.importorskip("openai")


def plan(*rounds):
    """plan([("a", 1, 2)], [("b", 3, 3)]): the JSON of a reply."""
    return json.dumps(
        {"rounds": [[dict(zip(("topic", "first", "last"), span, strict=True)) for span in one] for one in rounds]}
    )


# The tips are cut into preamble, three items and the conclusion.
GOOD = plan([("three tips", 1, 1)], [("light", 2, 2), ("air", 3, 3), ("drink", 4, 4)], [("end", 5, 5)])


@pytest.fixture
def job(jsonl, rows, tmp_path, facts):
    return AnnotationJob(str(jsonl(rows(5))), tmp_path / "out.jsonl", facts, annotator="llm", llm="fake")


@pytest.fixture
def ask(endpoint):
    """ask(job, **changes of the endpoint) runs a job against the fake endpoint, without waiting between retries."""

    def ask(job, **changes):
        settings = Endpoint("fake", endpoint.url, **{"concurrency": 2, "retries": 0, "seconds": 5} | changes)
        return annotate_file(job, partial(ask_all, endpoint=settings))

    return ask


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(openai.AsyncOpenAI, "_calculate_retry_timeout", lambda *_, **__: 0.01)
    monkeypatch.setattr(llm, "FIRST_PAUSE", 0.01)


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    "text", ["", "One.", "A. B! C?\n\n\nD\n- E. 3.5 F.", "  x\n\n", "Dr. Who.\t(Next)", "\n\n- a\n  \n- b"]
)
def test_pieces_are_the_answer(text):
    assert "".join(pieces_of(text)) == text


def test_pieces_are_sentences_and_lines(tips):
    assert [piece.strip()[:8] for piece in pieces_of(tips)] == [
        "Here are",
        "1. Quiet",
        "2. Fresh",
        "3. Warm ",
        "By follo",
    ]


def test_the_model_sees_numbered_pieces_and_the_request():
    system, user = messages_for("Why?", ["One.", " Two.\n"])
    assert user["content"] == "Request: Why?\n[1] One.\n[2] Two.\nReply:" and '{"rounds"' in system["content"]
    assert "at most 16 spans, and there are at most 16 rounds" in system["content"]


def test_replies_become_rounds(tips):
    pieces = pieces_of(tips)
    rounds = rounds_of(f"Sure!\n```json\n{GOOD}\n```", pieces)
    assert [[topic for topic, _ in spans] for spans in rounds] == [["three tips"], ["light", "air", "drink"], ["end"]]
    assert "".join(text for spans in rounds for _, text in spans) == tips
    assert rounds_of('{"rounds": []}', pieces) == ()


@pytest.mark.parametrize(
    "reply",
    [
        '<think>{"rounds": maybe}</think>\n%s',
        '<think>{"rounds": []} or {"rounds": 3}?</think>\n%s',
        "```json\n%s\n```\nHope {this} helps, or {that.",
        "{%s}",
        '{"plan": %s}',
        '{"note": 1} %s {"rounds": "above"}',
    ],
)
def test_the_plan_is_found_between_other_braces(reply, tips):
    assert len(rounds_of(reply % GOOD, pieces_of(tips))) == 3


@pytest.mark.parametrize(
    ("reply", "complaint"),
    [
        (" \n", "has no text"),
        ("{", "not the JSON object"),
        ('{"a":' * 3000, "not the JSON object"),
        ("{]}", "not the JSON object"),
        ("{}", "not the JSON object"),
        ('{"rounds": 3}', "at least one span per round"),
        ('{"rounds": [[]]}', "at least one span per round"),
        ('{"rounds": [[3]]}', "is not {"),
        (plan([("a", "1", 2)]), "is not {"),
        (plan([("a", True, 2)]), "is not {"),
        (plan([("a", 1, 1)], [("b", 3, 3)]), "must begin with 2"),
        (plan([("a", 1, 2), ("b", 2, 3)]), "must begin with 3"),
        (plan([("a", 1, 4)]), "there are 3 pieces"),
        (plan([("a", 1, 0)]), "from 1 to 0"),
        (plan([("a", 1, 2)]), "end with piece 2 of 3"),
        (plan([("one two three four", 1, 3)]), "has 4 words"),
        (plan([(" ", 1, 3)]), "has 0 words"),
        (plan([("<sync/>", 1, 3)]), "spells a tag"),
        (plan([("\ud83d", 1, 3)]), "half a character"),
        (plan([("7 8", 1, 3)]), "'7 8' is .*without letters"),
        (plan([("x" * 101, 1, 3)]), "longer than 100 characters"),
        (plan([("Friend  1", 1, 1), ("b", 2, 2), ("friend 1", 3, 3)]), "'Friend 1' stands twice"),
    ],
)
def test_replies_that_are_no_plan(reply, complaint):
    with pytest.raises(ValueError, match=complaint):
        rounds_of(reply, ["a", "b", "c"])


def test_plans_have_no_more_spans_and_rounds_than_are_allowed():
    assert FIELDS["max_rounds"].default == MOST_REPLY_ROUNDS
    pieces = [f"{letter} " for letter in "abcdefghijklmnopq"]
    spans = [(letter, number, number) for number, letter in enumerate(pieces, start=1)]
    with pytest.raises(ValueError, match="17 rounds with up to 1 spans; plan at most 16 rounds of at most 16 spans"):
        rounds_of(plan(*([span] for span in spans)), pieces)
    with pytest.raises(ValueError, match="1 rounds with up to 17 spans.*at most 16 spans"):
        rounds_of(plan(spans), pieces)
    assert len(rounds_of(plan(spans), pieces, 17)[0]) == 17
    assert len(rounds_of(plan(*([span] for span in spans[:16])), pieces[:16])) == 16


def test_plans_are_written_and_tokens_counted(job, ask, endpoint, tips):
    endpoint.reply = lambda chat, number: GOOD
    report = ask(replace(job, price=(1.0, 10.0)))
    contents = [record["messages"][1]["content"] for record in read(job.out)]
    assert len(contents) == 5 and all(plain_text(content) == tips for content in contents)
    assert [len(spans) for spans in parse_tagged(contents[0])] == [1, 3, 1]
    assert report["endpoint"] == {"requests": 5, "prompt_tokens": 500, "completion_tokens": 50, "cost": 0.001}


def test_plain_and_one_span_replies_stay_plain_and_steps_are_steps(job, ask, endpoint, tips):
    replies = ['{"rounds": []}', plan([("all", 1, 5)]), plan([("a", 1, 2)], [("b", 3, 5)])]
    endpoint.reply = lambda chat, number: replies[int(chat[1]["content"].split("number ")[1][0]) % 3]
    ask(job)
    written = read(job.out)
    assert [record["annotation"] for record in written] == ["plain", "plain", "steps", "plain", "plain"]
    assert written[0]["messages"][1]["content"] == tips


def test_what_must_not_be_split_is_not_asked_for(job, ask, endpoint, jsonl):
    source = jsonl([{"prompt": "How many are 3 and 4?", "response": "3 + 4 = 7.\nSo 7 = 7."}], "sum.jsonl")
    ask(replace(job, source=str(source)))
    assert endpoint.chats == [] and read(job.out)[0]["annotation"] == "plain"


def test_a_wrong_reply_is_sent_back_once(job, ask, endpoint):
    endpoint.reply = lambda chat, number: GOOD if len(chat) > 2 else plan([("a", 1, 2)])
    report = ask(job)
    assert report["kinds"] == {"parallel": 5} and len(endpoint.chats) == 10
    again = next(chat for chat in endpoint.chats if len(chat) > 2)
    assert again[2]["role"] == "assistant" and "end with piece 2 of 5" in again[3]["content"]


@pytest.mark.parametrize("reply", ["No.", "{not json", "{}"])
def test_two_wrong_replies_are_refused_with_the_reason(reply, job, ask, endpoint):
    endpoint.reply = lambda chat, number: reply
    report = ask(replace(job, limit=1))
    assert len(endpoint.chats) == 2 and report["records"] == 1 and report["written"] == 0
    refused = read(beside(job.out, ".refused.jsonl"))[0]
    assert refused["reason"].startswith("no valid plan; The reply is not") and refused["record"]["id"] == 0


NO_COMPLETIONS = ["<html>login</html>", "null", '"text"', "[1]", "{}", b"\xff\xfe{", "[" * 5000, '{"choices": "a"}']


@pytest.mark.parametrize("body", [*NO_COMPLETIONS, '{"choices": []}'])
def test_an_endpoint_that_completes_nothing_fails_at_once(body, job, ask, endpoint):
    endpoint.reply = lambda chat, number: (200, body)
    with pytest.raises(RuntimeError, match=r"no chat completion .*check --endpoint, .* /v1, .*.0 finished records are"):
        ask(job, concurrency=1, retries=3)
    assert len(endpoint.chats) == 1
    assert not job.out.exists() and beside(job.out, ".partial").exists()


@pytest.mark.parametrize("body", NO_COMPLETIONS)
def test_an_endpoint_that_breaks_midway_is_tried_again_and_what_is_finished_is_kept(body, job, ask, endpoint):
    endpoint.reply = lambda chat, number: GOOD if number < 2 else (200, body)
    with pytest.raises(RuntimeError, match="no chat completion .*2 finished records are kept"):
        ask(job, concurrency=1, retries=2)
    assert len(endpoint.chats) == 2 + 3
    endpoint.chats.clear()
    endpoint.reply = lambda chat, number: (200, body) if number == 1 else GOOD
    assert ask(job, concurrency=1, retries=2)["kinds"] == {"parallel": 5}
    assert len(endpoint.chats) == 3 + 1


def test_no_choice_costs_the_record_once_others_have_passed(job, ask, endpoint):
    endpoint.reply = lambda chat, number: (200, '{"choices": []}') if number == 2 else GOOD
    assert ask(job, concurrency=1)["written"] == 4
    assert "answers without a choice" in read(beside(job.out, ".refused.jsonl"))[0]["reason"]


@pytest.mark.parametrize("choice", [{}, {"message": None}, {"message": {"content": None}}, "text", {"message": "text"}])
def test_a_choice_without_text_costs_its_record_only(choice, job, ask, endpoint):
    endpoint.reply = lambda chat, number: (200, json.dumps({"choices": [choice]})) if number < 2 else GOOD
    assert ask(job, concurrency=1)["written"] == 4
    assert read(beside(job.out, ".refused.jsonl"))[0]["reason"] == "no valid plan; The reply has no text."


@pytest.mark.parametrize("usage", [None, "none", {"prompt_tokens": "12", "completion_tokens": 4.5}, [1]])
def test_text_in_parts_is_joined_and_odd_usage_counts_nothing(usage, job, ask, endpoint):
    parts = [{"type": "text", "text": GOOD[:9]}, {"type": "image"}, GOOD[9:]]
    body = json.dumps({"choices": [{"message": {"content": parts}}], "usage": usage})
    endpoint.reply = lambda chat, number: (200, body)
    report = ask(job)
    assert report["kinds"] == {"parallel": 5}
    assert report["endpoint"] == {"requests": 5, "prompt_tokens": 0, "completion_tokens": 0}


def test_half_characters_cost_their_record_only(job, ask, endpoint):
    topic = plan([("\ud83d", 1, 5)])
    endpoint.reply = lambda chat, number: (topic, "No \ud83d.")[number] if number < 2 else GOOD
    assert ask(job, concurrency=1)["written"] == 4


@pytest.mark.parametrize("status", [429, 500, 503])
def test_passing_failures_are_tried_again(status, job, ask, endpoint):
    endpoint.reply = lambda chat, number: (status, "{}") if number in (0, 1, 4) else GOOD
    assert ask(job, retries=4)["kinds"] == {"parallel": 5}
    assert len(endpoint.chats) == 8


@pytest.mark.parametrize("status", [401, 404, 429, 500])
def test_a_failing_endpoint_keeps_what_is_finished_and_nothing_is_asked_twice(status, job, ask, endpoint):
    endpoint.reply = lambda chat, number: GOOD if number < 3 else (status, '{"error": {"message": "no"}}')
    with pytest.raises(RuntimeError, match=r"fails .*3 finished records are kept. Run the same command again"):
        ask(job, concurrency=1)
    assert not job.out.exists()
    endpoint.chats.clear()
    endpoint.reply = lambda chat, number: GOOD
    report = ask(job)
    asked = sorted(chat[1]["content"].split("number ")[1][0] for chat in endpoint.chats)
    assert asked == ["3", "4"] and report["kinds"] == {"parallel": 5}
    assert report["endpoint"]["requests"] == 5  # over both runs


def test_an_endpoint_that_is_not_there(job):
    nowhere = Endpoint("fake", "http://127.0.0.1:9/v1", retries=0, seconds=2)
    with pytest.raises(RuntimeError, match="127.0.0.1:9/v1 fails .APIConnectionError.*; 0 finished records are kept"):
        annotate_file(job, partial(ask_all, endpoint=nowhere))


def test_a_record_that_the_endpoint_refuses_is_refused_once_others_have_passed(job, ask, endpoint):
    endpoint.reply = lambda chat, number: (400, "{}") if number == 2 else GOOD
    report = ask(job, concurrency=1)
    assert report["written"] == 4 and len(read(beside(job.out, ".refused.jsonl"))) == 1
    job.out.unlink()
    endpoint.reply = lambda chat, number: (400, "{}")
    with pytest.raises(RuntimeError, match="BadRequestError"):
        ask(job)


def test_another_model_does_not_go_on_with_the_file(job, ask, endpoint):
    endpoint.reply = lambda chat, number: GOOD if number < 2 else (500, "{}")
    with pytest.raises(RuntimeError):
        ask(job)
    with pytest.raises(ValueError, match="other settings .changed: llm."):
        ask(replace(job, llm="another"))


def test_a_full_disk_stops_the_asking(job, ask, endpoint, monkeypatch):
    from planned_diffusion.records.journal import Journal

    original = Journal.append

    def append(self, *entries):
        if len(self) == 2:
            raise RuntimeError("Cannot continue writing")
        original(self, *entries)

    endpoint.reply = lambda chat, number: GOOD
    monkeypatch.setattr(Journal, "append", append)
    with pytest.raises(RuntimeError, match="Cannot continue writing"):
        ask(job, concurrency=1)
    assert len(endpoint.chats) == 3


def test_the_estimate_counts_what_would_be_asked(job, jsonl, rows):
    source = jsonl([*rows(2), {"prompt": "How many are 3 and 4?", "response": "3 + 4 = 7.", "id": 1}], "three.jsonl")
    needed = estimate(records(open_source(str(source))))
    assert needed["requests"] == 2 and 500 < needed["prompt_tokens"] < 3000 and needed["completion_tokens"] == 80


@pytest.mark.parametrize(
    ("endpoint", "complaint"),
    [
        (Endpoint(""), "give --llm"),
        (Endpoint("m", "localhost:8000"), "give a URL"),
        (Endpoint("m", concurrency=0), "concurrency is 0"),
        (Endpoint("m", retries=-1), "retries is -1"),
        (Endpoint("m", seconds=0), "seconds is 0"),
    ],
)
def test_endpoints_that_cannot_work(endpoint, complaint):
    with pytest.raises(ValueError, match=complaint):
        check_endpoint(endpoint)


def test_a_key_is_needed_for_openai_itself(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ValueError, match="set OPENAI_API_KEY"):
        Endpoint("m").client()
    assert Endpoint("m", "http://127.0.0.1:9/v1").client().api_key == "none"


def test_without_openai_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(RuntimeError, match=r"pip install 'planned-diffusion\[annotate\]'"):
        Endpoint("m").client()
