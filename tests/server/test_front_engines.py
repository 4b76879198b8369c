"""In front of engines that plan, are slow, fail, break off, or answer with something else."""

import json
import time

import pytest
from scripted_engine import RETRY_AT_ONCE, Reply, chunks, completion, outline, scripted_engine

from planned_diffusion.inference.front.engine_client import EngineAddress
from planned_diffusion.inference.front.front_app import Front, build_front
from planned_diffusion.inference.server.limits import Access, Limits

CHAT = "/v1/chat/completions"
QUESTION = "Compare cats and dogs."
PLAN = [[{"topic": "cats", "length": 30}, {"topic": "dogs", "length": 10}], [{"topic": "advice", "length": 20}]]
OUTLINE = outline([("cats", 30), ("dogs", 10)], [("advice", 20)])
NAN = float("nan")
BROKEN = Reply({"error": {"message": "no"}}, 500, RETRY_AT_ONCE)


@pytest.fixture
def front(start_app):
    """front(script, limits, **address) -> a context with a server in front of an engine that follows the script."""
    import contextlib

    @contextlib.contextmanager
    def run(script, limits=None, access=None, **address):
        with (
            scripted_engine(script) as engine,
            start_app(build_front(Front(EngineAddress(engine.url, **address)), limits, access)) as server,
        ):
            yield server, engine

    return run


def is_outline(body) -> bool:
    return "Plan how several writers" in body["messages"][-1]["content"]


def part_of(body) -> str | None:
    """Return the topic of the part that is asked for."""
    question = body["messages"][-1]["content"]
    return question.rpartition("Write only part ")[2].partition(": ")[2].partition(". ")[0] or None


def by_topic(**texts):
    """Return a script: an outline for whoever asks for one, a text for every part, "plain" for anything else."""

    def script(body):
        if is_outline(body):
            return OUTLINE
        found = texts.get(part_of(body), part_of(body) or "plain")
        return found(body) if callable(found) else found

    return script


def asked(**fields) -> dict:
    return {"model": "facts", "messages": [{"role": "user", "content": QUESTION}], **fields}


# Who plans, and what is asked


def test_the_engines_model_plans_where_no_other_does(front):
    with front(by_topic()) as (server, engine):
        answer = server.chat(QUESTION, temperature=0.5, seed=4, top_k=5, frequency_penalty=0.1)
    [choice] = answer["choices"]
    assert choice["message"]["content"] == "cats\n\ndogs\n\nadvice" and choice["finish_reason"] == "stop"
    assert [[(part["topic"], part["length"]) for part in parts] for parts in choice["plan"]] == [
        [("cats", 30), ("dogs", 10)], [("advice", 20)],
    ]  # fmt: skip
    usage = answer["usage"]
    assert usage.pop("completion_tokens_details") == {"plan_tokens": 5}
    assert usage == {"prompt_tokens": 40, "completion_tokens": 20, "total_tokens": 60}
    first, *parts = engine.bodies
    assert first["temperature"] == 0 and first["response_format"]["json_schema"]["name"] == "outline"
    drawing = {"temperature": 0.5, "seed": 4, "top_k": 5, "frequency_penalty": 0.1, "model": "facts"}
    assert all({name: body[name] for name in drawing} == drawing and "n" not in body for body in parts)


def test_a_part_is_told_the_outline_whatever_is_written_and_which_one_it_is(front):
    with front(by_topic(cats="Cats purr.", dogs="Dogs bark.")) as (server, engine):
        server.chat(QUESTION)
    parts = sorted(engine.questions[1:], key=lambda text: text.rpartition("Write only part ")[2])
    assert all(text.startswith(QUESTION) for text in parts)
    assert all(f"{QUESTION}\n\n---\n" in text and "1. cats\n2. dogs\n3. advice\n" in text for text in parts)
    assert [text.rpartition("Write only part ")[2].partition(" words ")[0] for text in parts] == [
        "1: cats. Write about 22", "2: dogs. Write about 8", "3: advice. Write about 15",
    ]  # fmt: skip
    beginnings = {text.partition("Write only part ")[0] for text in parts[:2]}
    assert len(beginnings) == 1  # an engine reads once what the parts of a round share
    assert "Cats purr." not in parts[0] + parts[1]
    assert "Part 1 is written already:\nCats purr." in parts[2] and "Part 2 is written already:\nDogs bark." in parts[2]


def test_the_parts_of_a_round_run_at_the_same_time(front):
    def slow(body):
        time.sleep(0.3)
        return part_of(body)

    with front(by_topic(cats=slow, dogs=slow)) as (server, engine):
        server.chat(QUESTION, plan=PLAN)
        assert engine.most_at_once == 2
    with front(by_topic(cats=slow, dogs=slow), Limits(live=1)) as (server, engine):
        server.chat(QUESTION, plan=PLAN)
        assert engine.most_at_once == 1


@pytest.mark.parametrize(
    "reply",
    [outline(), outline([("all", 50)]), "I would not.", '{"rounds": 3}', '{"rounds": [[{"topic": 1, "tokens": 2}]]}',
     outline([("a", 1), ("b", 0)]), outline([("", 1), ("b", 1)]), outline([("a", 1)] * 17), outline(*[[("a", 1)]] * 5)],
)  # fmt: skip
def test_without_an_outline_of_two_parts_the_question_is_passed_on(reply, front):
    with front(lambda body: reply if "Plan how" in body["messages"][0]["content"] else "plain") as (server, engine):
        answer = server.chat(QUESTION, max_tokens=70)
        assert answer["choices"][0]["message"]["content"] == "plain" and "plan" not in answer["choices"][0]
        *outlines, last = engine.bodies
        assert last["messages"] == [{"role": "user", "content": QUESTION}] and last["max_tokens"] == 70
        is_fault = reply not in (outline(), outline([("all", 50)]))
        assert len(outlines) == 1 + is_fault  # a faulty one is sent back once
        if is_fault:
            assert outlines[1]["messages"][-1]["content"].endswith("Reply again.")
        assert answer["usage"]["completion_tokens_details"]["plan_tokens"] == 5 * len(outlines)
        assert answer["usage"]["completion_tokens"] == 5 + 5 * len(outlines)
        end = "broken" if is_fault else "plain"
        assert f'outlines_total{{end="{end}"}} 1.0' in server.ask("/metrics")[2]


def test_an_engine_that_refuses_the_form_is_asked_without_it_from_then_on(front):
    def script(body):
        if "response_format" in body:
            return Reply({"error": {"message": "no such field"}}, 400)
        return by_topic()(body)

    with front(script) as (server, engine):
        assert "plan" in server.chat(QUESTION)["choices"][0]
        assert sum("response_format" in body for body in engine.bodies) == 1
        assert "plan" in server.chat(QUESTION)["choices"][0]
        assert sum("response_format" in body for body in engine.bodies) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"decoding": "autoregressive"},
        {"response_format": {"type": "json_object"}},
        {"logprobs": True},
        {"max_tokens": 1},
    ],
)
def test_answers_in_one_piece_are_asked_for_without_an_outline(fields, front):
    with front(by_topic()) as (server, engine):
        assert server.chat(QUESTION, **fields)["choices"][0]["message"]["content"] == "plain"
        [body] = engine.bodies
        passed = {name: value for name, value in fields.items() if name != "decoding"}
        assert body == asked(**passed)


def test_texts_are_gone_on_with(front):
    reply = {
        "id": "x",
        "object": "text_completion",
        "choices": [{"index": 0, "text": "and so", "finish_reason": "stop"}],
    }
    with front(lambda body: reply) as (server, engine):
        body = {"model": "facts", "prompt": "Once", "max_tokens": 7, "n": 2, "stop": ["."]}
        assert server.post("/v1/completions", body) == (200, reply)
        assert engine.bodies == [{**body, "prompt": ["Once"]}]


# Limits, stops, several answers


def test_a_limit_is_shared_by_length_and_ends_the_answer(front):
    def long(body):
        return completion("x", written=body["max_tokens"], reason="length")

    with front(by_topic(cats=long, dogs=long, advice=long)) as (server, engine):
        answer = server.chat(QUESTION, plan=PLAN, max_tokens=63)
        shares = {part_of(body): body["max_tokens"] for body in engine.bodies}
        assert shares == {"cats": 31, "dogs": 11, "advice": 21}  # of 61 by 30 : 10 : 20 and one each; of 21 all
        assert sum(shares.values()) == answer["usage"]["completion_tokens"] == 63
        assert answer["choices"][0]["finish_reason"] == "length"
        engine.bodies.clear()
        [choice] = server.chat(QUESTION, plan=PLAN, max_completion_tokens=1)["choices"]
        assert choice["finish_reason"] == "length" and choice["message"]["content"] == "" and not engine.bodies


def test_a_text_to_stop_at_ends_the_answer_and_whatever_runs_behind_it(front):
    with front(by_topic(cats="Cats STOP purr.", dogs=lambda body: ...)) as (server, engine):
        for stream in (False, True):
            fields = {"plan": PLAN, "stop": "STOP"}
            if stream:
                found = server.stream(QUESTION, stream_plan="parts", **fields)
                text, reason = found.text(), found.reasons()[0]
                told = [one["delta"]["plan"] for one in found.choices if "plan" in one["delta"]]
                assert [one["text"] for one in told if one["event"] == "part"] == ["Cats ", ""]
            else:
                [choice] = server.chat(QUESTION, **fields)["choices"]
                text, reason = choice["message"]["content"], choice["finish_reason"]
            assert (text, reason) == ("Cats ", "stop")
        assert "advice" not in map(part_of, engine.bodies)
        # On a busy machine the answer may be over before the other part was asked for.
        end = time.monotonic() + 5
        while engine.left < [*map(part_of, engine.bodies)].count("dogs") and time.monotonic() < end:
            time.sleep(0.01)
        assert engine.left == [*map(part_of, engine.bodies)].count("dogs")


def test_several_answers_have_one_plan_and_seeds_in_turn(front):
    with front(by_topic(cats=lambda body: f"cats {body['seed']}")) as (server, engine):
        answer = server.chat(QUESTION, n=2, seed=7, temperature=1.0)
        assert sum(map(is_outline, engine.bodies)) == 1 and len(engine.bodies) == 7
    texts = [choice["message"]["content"] for choice in answer["choices"]]
    assert texts == ["cats 7\n\ndogs\n\nadvice", "cats 8\n\ndogs\n\nadvice"]
    assert answer["usage"]["completion_tokens"] == 35 and answer["usage"]["prompt_tokens"] == 70


def test_unknown_tokens_are_not_told(front):
    with front(by_topic(cats=completion("Cats.", usage=None))) as (server, engine):
        assert server.chat(QUESTION, plan=PLAN)["usage"] is None


# Streams


def test_a_part_is_told_when_it_is_final_and_text_in_the_order_of_reading(front):
    """The first part ends only when the event of the second has been read."""
    with front(by_topic(cats=lambda body: ...)) as (server, engine):
        body = asked(plan=PLAN, stream=True, stream_plan="parts")
        seen = b""
        with server.opened(CHAT, body) as response:
            while b'dogs"' not in seen.partition(b'"event": "part"')[2]:
                piece = response.read1()
                assert piece, seen
                seen += piece
            assert b'"content": "late"' not in seen and b'"outline"' in seen.partition(b'"part"')[0]
            engine.released.set()
            seen += response.read()
        contents = [piece.partition(b'"')[0] for piece in seen.split(b'"content": "')[1:]]
        assert b"".join(contents) == rb"late\n\ndogs\n\nadvice"


def test_plain_streams_are_passed_on_with_the_tokens_of_the_outline(front):
    def script(body):
        return outline() if is_outline(body) else Reply(chunks("Hel", "lo"))

    with front(script) as (server, engine):
        found = server.stream(QUESTION, stream_options={"include_usage": True}, temperature=0.3)
    assert found.text() == "Hello" and found.reasons() == ["stop"] and found[-1] == "[DONE]"
    usage = found[-2]["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (13, 9, 22)
    assert engine.bodies[1] == asked(stream=True, stream_options={"include_usage": True}, temperature=0.3)


@pytest.mark.parametrize(
    "reply",
    [Reply(chunks("Hel", reason=None)), Reply(chunks("Hel", reason=None, done=False), cut=True),
     Reply(chunks("Hel", reason=None, done=False) + b"data: {no json\n\n"),
     Reply(chunks("Hel", reason=None, done=False) + chunks("\ud800")),
     Reply(chunks("Hel", reason=None, done=False) + b'data: {"error": {"message": "secret"}}\n\n')],
)  # fmt: skip
def test_a_plain_stream_that_breaks_off_ends_in_an_error(reply, front):
    with front(lambda body: reply) as (server, engine):
        text = server.ask(CHAT, asked(stream=True, decoding="autoregressive"))[2]
        events = [json.loads(one.removeprefix("data: ")) for one in text.strip().split("\n\n")]
        assert events[0]["choices"][0]["delta"]["content"] == "Hel" and "secret" not in text
        assert events[-1]["error"]["code"] in ("engine_failed", "engine_away")
        give_up = time.monotonic() + 5
        while server.service.places.taken["engine"] and time.monotonic() < give_up:  # the place is given back behind it
            time.sleep(0.01)
        assert not server.service.places.taken["engine"]


def test_streams_that_have_nothing_to_say_are_kept_alive_and_end_in_time(front):
    limits = Limits(keep_alive_seconds=0.05, answer_seconds=0.6)
    with front(lambda body: ..., limits) as (server, _):
        text = server.ask(CHAT, asked(plan=PLAN, stream=True))[2]
        assert ": keep-alive" in text and json.loads(text.strip().rpartition("data: ")[2])["error"]["code"] == "timeout"
        for fields in (
            {"plan": PLAN},
            {},
            {"decoding": "autoregressive"},
            {"decoding": "autoregressive", "stream": True},
        ):
            status, answer = server.post(CHAT, asked(**fields))
            assert status == 504 and answer["error"]["code"] == "timeout"
        assert not server.service.places.taken["engine"]


# Failures


@pytest.mark.parametrize(
    "reply",
    [
        BROKEN,
        Reply(b"<html>"),
        Reply({"choices": []}),
        completion("  "),
        completion("\ud800"),
        completion("a", extra=NAN),
    ],
)
def test_a_part_is_asked_for_again(reply, front):
    replies = [reply, "Cats."]
    with front(by_topic(cats=lambda body: replies.pop(0)), retries=1) as (server, engine):
        [choice] = server.chat(QUESTION, plan=PLAN)["choices"]
        assert choice["message"]["content"] == "Cats.\n\ndogs\n\nadvice" and not replies


@pytest.mark.parametrize(
    ("reply", "status", "code"),
    [
        (BROKEN, 502, "engine_failed"),
        (Reply(b"<html>"), 502, "engine_failed"),
        (Reply(b"{", cut=True), 503, "engine_away"),
        (Reply({}, 401), 502, "engine_failed"),
        (Reply({}, 404), 502, "engine_failed"),
        (Reply({"error": {"message": "busy"}}, 429, {"Retry-After": "9", **RETRY_AT_ONCE}), 429, "rate_limit_exceeded"),
        (Reply({"error": {"message": "too long", "param": "messages"}}, 400), 400, None),
        (completion(""), 502, "engine_failed"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_part_that_fails_leaves_the_others_which_can_be_sent_again(reply, status, code, stream, front):
    with front(by_topic(dogs=reply), retries=0) as (server, engine):
        given, headers, text = server.ask(CHAT, asked(plan=PLAN, stream=stream))
        assert given == (200 if stream else status)
        answer = json.loads(text.strip().rpartition("data: ")[2] if stream else text)
        error = answer["error"]
        assert error["code"] == code and engine.url not in text and error["message"].count(".") <= 2
        assert status != 400 or ("too long" in error["message"] and error["param"] == "messages")
        assert stream or status != 429 or headers["retry-after"] == "9"
        assert answer["plan"] == [
            [{**PLAN[0][0], "text": "cats", "keep": True}, PLAN[0][1]], PLAN[1],
        ]  # fmt: skip
        engine.script = by_topic(dogs="Dogs.")
        engine.bodies.clear()
        [choice] = server.chat(QUESTION, plan=answer["plan"])["choices"]
        assert choice["message"]["content"] == "cats\n\nDogs.\n\nadvice"
        assert [*map(part_of, engine.bodies)] == ["dogs", "advice"]


def test_an_engine_that_is_slow_is_not_waited_for_without_end(front):
    with front(by_topic(cats=lambda body: ...), seconds=0.2, retries=0) as (server, engine):
        status, answer = server.post(CHAT, asked(plan=PLAN))
        assert status == 504 and answer["error"]["message"].startswith("The engine took more than 0.2 seconds")


def test_an_engine_that_is_away_is_told_and_waited_for(start_app):
    with scripted_engine(by_topic()) as gone:
        url = gone.url
    with start_app(build_front(Front(EngineAddress(url, retries=0)))) as server:
        for body in (asked(), asked(plan=PLAN), asked(stream=True, decoding="autoregressive")):
            status, headers, text = server.ask(CHAT, body)
            error = json.loads(text)["error"]
            assert status == 503 and error["code"] == "engine_away" and int(headers["retry-after"]) > 0
            assert url not in text and error["message"].count(".") == 1
        assert server.ask("/health")[0] == 503 and server.ask("/v1/models")[0] == 503
        assert server.ask("/metrics")[0] == 200


# Bounds, keys, bodies


def test_too_many_answers_are_refused(front):
    with front(by_topic(cats=lambda body: ...), Limits(live=1, queue=1, choices=2)) as (server, engine):
        status, answer = server.post(CHAT, asked(n=3, temperature=1.0))
        assert status == 400 and answer["error"]["param"] == "n"
        with server.sent(asked(plan=PLAN)), server.sent(asked(plan=PLAN)):
            while server.service.places.taken.get("engine", 0) < 2:
                time.sleep(0.01)
            status, headers, _ = server.ask(CHAT, asked())
            assert status == 429 and int(headers["retry-after"]) >= 1
        while server.service.places.taken["engine"]:
            time.sleep(0.01)
        assert not server.service.engine.turns.running.total() and not len(server.service.engine.turns)


def test_the_engines_key_and_models_are_its_own(front):
    with front(by_topic(), key="secret", models=("facts",), access=Access(api_key="ours")) as (server, engine):
        assert server.ask("/v1/models")[0] == 401
        ours = {"Authorization": "Bearer ours"}
        status, answer = server.post(CHAT, asked(plan=PLAN), **ours)
        assert status == 200 and set(engine.keys) == {"Bearer secret"}
        status, answer = server.post(CHAT, asked() | {"model": "other"}, **ours)
        assert status == 404 and answer["error"]["code"] == "model_not_found"
        assert server.ask("/v1/models/facts", **ours)[0] == 200


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{}]}, "tools"),
        ({"lora_path": "/etc"}, "lora_path"),
        ({"stream_plan": "drafts", "stream": True}, "stream_plan"),
        ({"stream_plan": "parts"}, "stream_plan"),
        ({"stream_options": {}}, "stream_options"),
        ({"plan": []}, "plan"),
        ({"plan": PLAN, "logprobs": True}, "plan"),
        ({"plan": [[{"topic": "a"}]]}, "plan[0][0]"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": 0, "n": 2}, "n"),
        ({"max_tokens": 5000}, "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
        ({"logit_bias": {"1": 200}}, "logit_bias.1"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "messages[0].content"),
        ({"model": "../x"}, "model"),
    ],
)
def test_bodies_are_as_strict_as_ours(fields, param, front):
    with front(by_topic()) as (server, engine):
        status, answer = server.post(CHAT, asked() | fields)
        assert status in (400, 404) and answer["error"]["param"] == param and not engine.bodies


@pytest.mark.parametrize("address", [{"url": "localhost"}, {"seconds": 0}, {"retries": -1}])
def test_an_address_that_cannot_be_used_is_refused(address):
    with pytest.raises(ValueError, match="--engine"):
        EngineAddress(**{"url": "http://localhost/v1", **address})
