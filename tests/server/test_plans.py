"""Plans in the API: given, edited with parts to keep, and told while an answer is written."""

import json
from pathlib import Path

import jsonschema
import pytest

from planned_diffusion.generation.decoders.table import DECODERS
from planned_diffusion.inference.answer import ask
from planned_diffusion.inference.server.plan_forms import plan_schema

ROOT = Path(__file__).resolve().parents[2]
QUESTION = "What are the capital and the currency of Kenya?"
PLANNERS = [name for name, decoder in DECODERS.items() if decoder.plans]
GIVEN = [[{"topic": "a", "length": 8}, {"topic": "b", "length": 5}], [{"topic": "c", "length": 6}]]


def checks(name: str) -> jsonschema.Draft202012Validator:
    """Return the check of one form of a plan."""
    schema = plan_schema()
    return jsonschema.Draft202012Validator({**schema["properties"][name], "$defs": schema["$defs"]})


def told(chunks) -> list[dict]:
    """Return what a stream tells of the plan."""
    return [choice["delta"]["plan"] for choice in chunks.choices if "plan" in choice["delta"]]


@pytest.mark.parametrize("decoding", PLANNERS)
def test_a_given_plan_is_carried_out_as_by_generate(decoding, tiny, tiny_server):
    [choice] = tiny_server.chat("abc", plan=GIVEN, decoding=decoding)["choices"]
    plan = [[[part["topic"], part["length"]] for part in parts] for parts in GIVEN]
    alone = ask(tiny, "abc", {"decoding": decoding}, plan=plan)
    assert choice["message"]["content"] == alone.text and choice["plan"] == alone.plans
    assert [[part["topic"] for part in parts] for parts in choice["plan"]] == [["a", "b"], ["c"]]
    usage = tiny_server.chat("abc", plan=GIVEN, decoding=decoding)["usage"]
    assert usage["completion_tokens_details"]["plan_tokens"] == 0  # the model wrote none


@pytest.mark.parametrize("decoding", PLANNERS)
def test_parts_that_are_kept_keep_their_text(decoding, facts_server):
    [choice] = facts_server.chat(QUESTION, decoding=decoding)["choices"]
    plan = choice["plan"]
    checks("choice").validate(plan)
    plan[0][0] |= {"text": "Nairobi it is.", "keep": True}
    written = dict(plan[0][1])
    plan[0][1]["text"] = "not read"
    checks("request").validate(plan)
    asked = {"decoding": decoding, "plan": plan, "logprobs": True, "top_logprobs": 1}
    whole = facts_server.chat(QUESTION, **asked)
    [answer], details = whole["choices"], whole["usage"]["completion_tokens_details"]
    usage = {**details, "text": whole["usage"]["completion_tokens"] - details["plan_tokens"]}
    [first, second] = answer["plan"][0]
    assert first["text"] == "Nairobi it is." and second == written
    assert answer["message"]["content"] == first["text"] + second["text"]
    entries = answer["logprobs"]["content"]
    drawn = sum(bool(entry["top_logprobs"]) for entry in entries)
    assert usage == {"plan_tokens": 0, "text": drawn} and 0 < drawn < len(entries)
    kept = "".join(entry["token"] for entry in entries if entry["logprob"] == 0 and not entry["top_logprobs"])
    assert kept.startswith("Nairobi it is.")


@pytest.mark.parametrize("level", ["parts", "drafts"])
@pytest.mark.parametrize("decoding", PLANNERS)
def test_a_stream_tells_outlines_then_parts(decoding, level, tiny, tiny_server):
    asked = {"plan": GIVEN, "decoding": decoding, "confidence_threshold": None} if decoding == "planned" else {
        "plan": GIVEN, "decoding": decoding,
    }  # fmt: skip
    chunks = tiny_server.stream("abc", stream_plan=level, **asked)
    events = told(chunks)
    for event in events:
        checks("delta").validate(event)
    drafts = [event for event in events if event["event"] == "draft"]
    events = [event for event in events if event["event"] != "draft"]
    final = tiny_server.chat("abc", **asked)["choices"][0]["plan"]
    assert level == "drafts" or not drafts
    outlines = [event for event in events if event["event"] == "outline"]
    promised = [[{"topic": part["topic"], "length": part["length"]} for part in parts] for parts in final]
    assert [(event["round"], event["parts"]) for event in outlines] == list(enumerate(promised))
    parts = {(event["round"], event["part"]): event["text"] for event in events if event["event"] == "part"}
    assert parts == {(r, p): part["text"] for r, parts in enumerate(final) for p, part in enumerate(parts)}
    assert len(events) == len(outlines) + len(parts)
    for number in range(len(final)):
        order = [event["event"] for event in events if event["round"] == number]
        assert order[0] == "outline"
    assert chunks.text() == tiny_server.chat("abc", **asked)["choices"][0]["message"]["content"]


def test_a_part_is_told_before_the_text_in_front_of_it_is_final(facts_server):
    """The second part is shorter, so it is finished first."""
    plan = [[{"topic": "capital", "length": 40}, {"topic": "currency", "length": 16}]]
    asked = {"plan": plan, "stream_plan": "parts", "confidence_threshold": None, "close_padding": False}
    choices = facts_server.stream(QUESTION, **asked).choices
    kinds = [choice["delta"].get("plan") or choice["delta"].get("content") for choice in choices]
    second = next(place for place, kind in enumerate(kinds) if isinstance(kind, dict) and kind.get("part") == 1)
    text = next(place for place, kind in enumerate(kinds) if isinstance(kind, str) and kind)
    assert second < text


@pytest.mark.parametrize("fields", [{"stop": "currency"}, {"refine_share": 0.2, "decoding": "planned"}])
def test_parts_that_may_still_change_are_told_at_the_end(fields, facts_server):
    final = facts_server.chat(QUESTION, **fields)["choices"][0]
    chunks = facts_server.stream(QUESTION, stream_plan="parts", **fields)
    parts = [event["text"] for event in told(chunks) if event["event"] == "part"]
    assert parts == [part["text"] for part in final["plan"][0]]
    assert "".join(parts) == final["message"]["content"] == chunks.text()


def test_drafts_fill_up(facts_server):
    asked = {"stream_plan": "drafts", "confidence_threshold": None, "plan_lookahead": 0}
    drafts = [event for event in told(facts_server.stream(QUESTION, **asked)) if event["event"] == "draft"]
    assert len(drafts) > 3
    blanks = [sum(token is None for part in draft["parts"] for token in part) for draft in drafts]
    assert blanks == sorted(blanks, reverse=True) and blanks[0] > blanks[-1]


def test_nothing_is_told_where_nobody_asks_or_nothing_is_planned(facts_server):
    assert told(facts_server.stream(QUESTION)) == []
    assert told(facts_server.stream(QUESTION, stream_plan="parts", decoding="autoregressive")) == []
    blanks = told(facts_server.stream(QUESTION, stream_plan="drafts", decoding="diffusion"))
    assert blanks and all(event["event"] == "draft" and len(event["parts"]) == 1 for event in blanks)
    assert "plan" not in facts_server.chat(QUESTION, decoding="autoregressive")["choices"][0]


def test_texts_are_streamed_with_their_plans_as_well(facts_server):
    body = {"model": "facts", "prompt": QUESTION, "stream": True, "stream_plan": "parts"}
    text = facts_server.ask("/v1/completions", body)[2]
    chunks = [json.loads(data.removeprefix("data: ")) for data in text.split("\n\n")[:-2]]
    plans = [choice["plan"]["event"] for chunk in chunks for choice in chunk["choices"] if "plan" in choice]
    assert plans == ["outline", "part", "part"]


def test_the_documented_schema_is_the_one_that_is_used():
    page = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    block = page.partition("<!-- table plan_forms -->\n```json\n")[2].partition("\n```\n")[0]
    assert json.loads(block) == plan_schema()
