"""Thoughts before answers: a round of their own, kept byte for byte, or left out; what follows is planned as ever."""

import json
from dataclasses import replace
from functools import partial

import pytest

from planned_diffusion.annotation.llm import ask_all
from planned_diffusion.annotation.llm_endpoint import Endpoint
from planned_diffusion.annotation.pipeline import AnnotationJob, annotate_file
from planned_diffusion.annotation.structure import PARALLEL, PLAIN, Annotation
from planned_diffusion.annotation.thought import TOPIC, split_thought, with_thought
from planned_diffusion.records.tagged import parse_tagged, plain_text

THOUGHT = "<think>\nThe user wants tips:\n1. light\n2. air\n</think>\n\n"
EMPTY = "<think>\n\n</think>\n\n"  # as Qwen3 writes it where it does not think
OPENED = "The user wants tips.\n</think>\n\n"  # by the template


@pytest.fixture
def job(jsonl, tips, tmp_path, facts):
    """job(thought) -> a job whose one answer is the tips behind a thought."""
    return lambda thought, **fields: AnnotationJob(
        str(jsonl([{"prompt": "Give me three tips.", "response": thought + tips}])),
        tmp_path / "out.jsonl",
        facts,
        **fields,
    )


def answer_in(path) -> str:
    return json.loads(path.read_text())["messages"][1]["content"]


@pytest.mark.parametrize(
    ("answer", "thought"),
    [
        (THOUGHT + "Yes.", THOUGHT),
        (f"\n {THOUGHT}Yes.", f"\n {THOUGHT}"),
        (EMPTY + "Yes.", EMPTY),
        ("<think></think>Yes.", "<think></think>"),
        (OPENED + "Yes.", OPENED),
        ("Yes.", ""),
        ("<think>\nI never end", ""),
        ("First. <think>Hm.</think> Then.", ""),
        ("The tag </think> ends a thought.", ""),
        ("It reads:\n<think>\na\n</think>\n\nand so on.", ""),
        (THOUGHT + THOUGHT + "Yes.", THOUGHT),
    ],
)
def test_an_answer_is_cut_behind_its_thought(answer, thought):
    assert split_thought(answer) == (thought, answer[len(thought) :])


def test_a_thought_is_a_round_before_the_others_and_an_empty_one_is_none():
    plan = Annotation(PARALLEL, ((("a", "A."), ("b", " B.")),), "list")
    assert with_thought("", plan) == plan
    assert with_thought(THOUGHT, plan).rounds == (((TOPIC, THOUGHT),), *plan.rounds)
    assert with_thought(EMPTY, plan).rounds == ((("a", EMPTY + "A."), ("b", " B.")),)
    assert with_thought(THOUGHT, Annotation(PLAIN)).rounds == ()


@pytest.mark.parametrize("thought", [THOUGHT, EMPTY, OPENED, "<think>\n" + "So and so. " * 500 + "\n</think>\n"])
def test_the_answer_is_planned_as_without_its_thought(thought, job, tips):
    report = annotate_file(job(thought))
    tagged = answer_in(job("").out)
    assert plain_text(tagged) == thought + tips and report["kinds"] == {"parallel": 1}
    rounds = [[span.topic for span in spans] for spans in parse_tagged(tagged)]
    job("").out.unlink()
    annotate_file(job(""))
    alone = [[span.topic for span in spans] for spans in parse_tagged(answer_in(job("").out))]
    assert rounds == (alone if thought == EMPTY else [[TOPIC], *alone])


@pytest.mark.parametrize("thought", [THOUGHT, EMPTY, OPENED])
def test_dropped_thoughts_leave_the_record_of_the_answer_alone(thought, job):
    annotate_file(job(thought, thoughts="drop"))
    dropped = job("").out.read_bytes()
    job("").out.unlink()
    annotate_file(job(""))
    assert job("").out.read_bytes() == dropped


def test_an_answer_that_is_not_split_stays_as_it_was(jsonl, tmp_path, facts):
    answer = THOUGHT + "Tea."
    source = jsonl([{"prompt": "Tea or coffee?", "response": answer}, {"prompt": "And?", "response": THOUGHT}])
    job = AnnotationJob(str(source), tmp_path / "out.jsonl", facts, thoughts="keep")
    annotate_file(replace(job, limit=1))
    assert answer_in(job.out) == answer
    report = annotate_file(replace(job, out=tmp_path / "dropped.jsonl", thoughts="drop"))
    assert answer_in(tmp_path / "dropped.jsonl") == "Tea." and report["refused"] == {"The answer is empty.": 1}


def test_an_endpoint_sees_the_answer_behind_the_thought(job, endpoint, tips):
    pytest.importorskip("openai")
    spans = [{"topic": topic, "first": number, "last": number} for number, topic in enumerate("abcde", start=1)]
    endpoint.reply = lambda chat, number: json.dumps({"rounds": [spans]})
    annotate_file(
        job(THOUGHT, annotator="llm", llm="fake"), partial(ask_all, endpoint=Endpoint("fake", endpoint.url, 1, 0))
    )
    assert "The user wants" not in endpoint.chats[0][1]["content"]
    rounds = parse_tagged(answer_in(job("").out))
    assert [[span.topic for span in spans] for spans in rounds] == [[TOPIC], list("abcde")]


def test_thoughts_are_kept_or_dropped(job):
    with pytest.raises(ValueError, match="thoughts is 'hide'; choose keep or drop"):
        annotate_file(job(THOUGHT, thoughts="hide"))
