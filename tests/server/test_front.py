"""In front of our own server as another engine: parts in parallel equal parts one by one."""

import pytest
from openai import OpenAI

from planned_diffusion.inference.front.engine_client import EngineAddress
from planned_diffusion.inference.front.front_app import Front, build_front
from planned_diffusion.inference.front.part_request import part_chat
from planned_diffusion.inference.front.planned_parts import PlannedPart

QUESTION = "What are the capital and the currency of Kenya?"
CHAT = [{"role": "user", "content": QUESTION}]
GIVEN = [[{"topic": "capital", "length": 20}, {"topic": "currency", "length": 16}], [{"topic": "more", "length": 12}]]


@pytest.fixture(scope="module")
def front(facts, facts_server, start_app):
    """A server in front of the included model, which plans as well."""
    with start_app(build_front(Front(EngineAddress(f"{facts_server.url}/v1"), facts))) as server:
        yield server


def one_by_one(engine, plan, **fields) -> list[str]:
    """Return the texts of a plan's parts, each asked of the engine alone and in order."""
    rounds = [[PlannedPart(part["topic"], part["length"]) for part in parts] for parts in plan]
    texts: list[str | None] = [None] * sum(map(len, rounds))
    number = 0
    for parts in rounds:
        seen = list(texts)
        for _ in parts:
            chat = part_chat(CHAT, rounds, seen, number)
            _, reply = engine.post("/v1/chat/completions", {"model": "facts", "messages": chat, **fields})
            text = reply["choices"][0]["message"]["content"].strip()
            texts[number] = f"\n\n{text}" if number else text
            number += 1
    return [text or "" for text in texts]


@pytest.mark.parametrize("fields", [{"temperature": 0}, {"temperature": 0.8, "seed": 3}])
def test_parallel_parts_are_those_that_are_asked_one_by_one(fields, front, facts_server):
    [choice] = front.chat(QUESTION, plan=GIVEN, **fields)["choices"]
    parts = [part["text"] for parts in choice["plan"] for part in parts]
    assert parts == one_by_one(facts_server, GIVEN, **fields) and all(parts)
    assert choice["message"]["content"] == "".join(parts) and choice["finish_reason"] == "stop"
    assert [[part["topic"] for part in parts] for parts in choice["plan"]] == [["capital", "currency"], ["more"]]


def test_our_model_plans_what_the_engine_writes(front, facts_server):
    answer = front.chat(QUESTION)
    [choice] = answer["choices"]
    [own] = facts_server.chat(QUESTION)["choices"]
    promised = [[(part["topic"], part["length"]) for part in parts] for parts in own["plan"]]
    assert [[(part["topic"], part["length"]) for part in parts] for parts in choice["plan"]] == promised
    assert [part["text"] for parts in choice["plan"] for part in parts] == one_by_one(facts_server, own["plan"])
    plan_tokens = facts_server.chat(QUESTION)["usage"]["completion_tokens_details"]["plan_tokens"]
    assert answer["usage"]["completion_tokens_details"]["plan_tokens"] == plan_tokens


def test_a_question_without_a_plan_is_passed_on(front, facts_server):
    plain = {"decoding": "autoregressive", "temperature": 0}
    question = "What is the capital of Kenya?"
    for fields in ({}, plain):
        [choice] = front.chat(question, **fields)["choices"]
        [alone] = facts_server.chat(question)["choices"]
        assert choice["message"] == alone["message"] and front.chat(question, **fields)["model"] == "facts"


def test_a_stream_is_the_whole_answer(front):
    whole = front.chat(QUESTION, plan=GIVEN, temperature=0)
    asked = {"plan": GIVEN, "temperature": 0, "stream_plan": "parts", "stream_options": {"include_usage": True}}
    chunks = front.stream(QUESTION, **asked)
    [choice] = whole["choices"]
    assert chunks.text() == choice["message"]["content"] and chunks.reasons() == ["stop"] and chunks[-1] == "[DONE]"
    assert chunks[-2]["usage"] == whole["usage"]
    events = [one["delta"]["plan"] for one in chunks.choices if "plan" in one["delta"]]
    outlines = [[part["topic"] for part in event["parts"]] for event in events if event["event"] == "outline"]
    assert outlines == [["capital", "currency"], ["more"]] and events[0]["event"] == "outline"
    parts = {(one["round"], one["part"]): one["text"] for one in events if one["event"] == "part"}
    assert parts == {(r, p): part["text"] for r, parts in enumerate(choice["plan"]) for p, part in enumerate(parts)}


def test_an_answer_can_be_edited_and_sent_again(front):
    [choice] = front.chat(QUESTION, plan=GIVEN, temperature=0)["choices"]
    plan = choice["plan"]
    plan[0][0] |= {"text": "Nairobi it is.", "keep": True}
    plan[1][0]["keep"] = True
    [again] = front.chat(QUESTION, plan=plan, temperature=0)["choices"]
    assert again["message"]["content"] == "Nairobi it is." + again["plan"][0][1]["text"] + plan[1][0]["text"]


def test_the_public_client_works(front):
    with OpenAI(base_url=f"{front.url}/v1", api_key="none", max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["facts"] and client.models.retrieve(
            "facts"
        ).id == "facts"
        answer = client.chat.completions.create(model="facts", messages=CHAT, extra_body={"plan": GIVEN})
        assert answer.usage and answer.choices[0].message.content
        pieces = client.chat.completions.create(model="facts", messages=CHAT, extra_body={"plan": GIVEN}, stream=True)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in pieces if chunk.choices)
        assert text == answer.choices[0].message.content
        text = client.completions.create(model="facts", prompt=QUESTION, max_tokens=8)
        assert text.object == "text_completion" and text.usage


def test_whoever_leaves_frees_the_engine(facts_server, front):
    body = {"model": "facts", "messages": CHAT, "plan": [[{"topic": "long", "length": 2000}] * 2], "temperature": 1.0}
    for stream in (False, True):
        with front.sent({**body, "stream": stream}) as connection:
            while not facts_server.leaks:
                connection.settimeout(5)
        assert facts_server.settled() == {}
    assert front.service.places.taken["engine"] == 0 and not front.service.engine.turns.running.total()
