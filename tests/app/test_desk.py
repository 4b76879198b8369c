"""What a page is shown is the answer: frames fold to it, alone or among others; a closed page leaves nothing."""

import asyncio
import gc
import json

import pytest

from planned_diffusion.app.desk import LONGEST_PROMPT
from planned_diffusion.inference.answer import ask
from planned_diffusion.inference.form import fill_form
from planned_diffusion.inference.recording import Recording
from planned_diffusion.inference.server.limits import Limits

PROMPT = "What are the capital, the currency and the main language of Kenya?"
DECODERS = ("planned", "autoregressive", "parallel_autoregressive", "block_diffusion", "self_verified", "speculative")


@pytest.mark.parametrize("decoding", DECODERS)
def test_frames_fold_to_the_answer(facts, facts_desk, folded, decoding):
    fields = {"decoding": decoding, "max_new_tokens": 160}
    alone = ask(facts, PROMPT, fields)
    view = facts_desk.ask(PROMPT, fields)
    [lane] = view["lanes"]
    seen = folded(lane)
    assert view["note"] is None and lane["decoding"] == decoding
    assert seen.end["text"] == seen.text == alone.text
    assert seen.forwards == seen.end["counts"]["forwards"] == alone.trace.forwards
    assert seen.times == sorted(seen.times) and seen.times[0] > 0
    planned = [(part["topic"], part["length"]) for _, _, part in seen.parts if part["topic"]]
    assert planned == [(part["topic"], part["length"]) for parts in alone.plans for part in parts]
    for number, index, part in seen.parts:
        if part["topic"]:
            text = alone.plans[number][index]["text"]
            assert seen.part_text(part) == text and seen.closed[number, index] == text


def test_answers_that_are_forgotten_leave_nothing(facts_desk, monkeypatch):
    def objects() -> int:
        gc.collect()
        return len(gc.get_objects())

    monkeypatch.setattr(facts_desk.desk.remembered, "most", 3)
    counts = []
    for _ in range(3):
        for _ in range(5):
            facts_desk.ask(PROMPT, {}, {"decoding": "autoregressive"})
            assert facts_desk.held == (0, 0, 0)
        counts.append(objects())
    assert abs(counts[2] - counts[1]) < 100  # an answer has thousands


def test_the_outline_comes_before_any_word(facts_desk, folded):
    kinds = folded(facts_desk.ask(PROMPT)["lanes"][0]).kinds
    assert kinds.index("plan") < kinds.index("outline") < kinds.index("write") < kinds.index("closed")
    assert kinds[-1] == "end"


def test_views_grow_and_the_last_one_has_a_name(facts_desk):
    views = facts_desk.views(lambda: facts_desk.desk.ask(PROMPT, [{}]))
    frames = [view["lanes"][0]["frames"] for view in views]
    assert len(views) > 1 and all(later[: len(one)] == one for one, later in zip(frames, frames[1:], strict=False))
    assert all(view["name"] is None for view in views[:-1]) and views[-1]["name"]
    assert len({view["run"] for view in views}) == 1


def test_a_race_is_both_answers(facts, facts_desk, folded):
    # Guesses of requests that run together share their rows, and so take more forwards: none are made.
    own, left_to_right = {"plan_drafts": 0}, {"decoding": "autoregressive"}
    lanes = facts_desk.ask(PROMPT, own, left_to_right)["lanes"]
    for lane, fields in zip(lanes, (own, left_to_right), strict=True):
        alone = ask(facts, PROMPT, fields)
        assert folded(lane).end["text"] == alone.text and folded(lane).forwards == alone.trace.forwards


def test_people_at_once_get_their_single_answers(facts, facts_desk, folded):
    prompts = [f"Which currency and which capital does {name} have?" for name in ("Peru", "Japan", "Kenya", "Norway")]
    everybody = facts_desk.at_once([lambda one=one: facts_desk.desk.ask(one, [{}]) for one in prompts * 2])
    for prompt, views in zip(prompts * 2, everybody, strict=True):
        assert folded(views[-1]["lanes"][0]).end["text"] == ask(facts, prompt, {}).text
    assert facts_desk.held == (0, 0, 0)


def test_the_queue_is_told_and_a_full_one_refuses(facts, open_desk):
    with open_desk("facts", facts, Limits(live=1, queue=1, choices=2)) as asked:
        everybody = asked.at_once([lambda: asked.desk.ask(PROMPT, [{}])] * 3)
        notes = [views[-1]["note"] for views in everybody]
        assert notes.count(None) == 2
        [refusal] = filter(None, notes)
        assert refusal.startswith("The server is busy: 2 answers are being written or wait; try again in ")
        places = [[view["lanes"][0]["waiting"] for view in views if view["lanes"]] for views in everybody]
        second = [one for one in places if one][1]
        assert second[0] >= 1 and second[-1] == 0 and second == sorted(second, reverse=True)


@pytest.mark.parametrize("views", [0, 1, 2])
def test_a_page_that_is_closed_frees_its_slots(facts_desk, views):
    async def look_and_leave():
        asking = facts_desk.desk.ask(PROMPT, [{"decoding": "autoregressive"}])
        for _ in range(views):
            await anext(asking)
        await asking.aclose()

    asyncio.run(look_and_leave())
    assert facts_desk.held == (0, 0, 0)


def test_an_answer_that_takes_too_long_is_told(facts, open_desk):
    with open_desk("facts", facts, Limits(answer_seconds=0.01)) as asked:
        assert asked.ask(PROMPT)["note"].startswith("The answer took more than 0.01 seconds")
        assert asked.held == (0, 0, 0)


def test_a_form_is_filled_in(facts, facts_desk, folded):
    schema = {
        "type": "object",
        "properties": {"capital": {"type": "string"}, "continent": {"enum": ["Africa", "Asia"]}},
    }
    views = facts_desk.views(lambda: facts_desk.desk.fill_form(PROMPT, schema, {}))
    [lane] = views[-1]["lanes"]
    seen = folded(lane)
    assert lane["form"] and json.loads(seen.end["text"]) == fill_form(facts, PROMPT, schema, {})
    [(_, _, part)] = seen.parts
    assert "".join(text for _, text in part["given"]) == '{"capital": "", "continent": }'
    [refused] = facts_desk.views(lambda: facts_desk.desk.fill_form(PROMPT, {"type": "fish"}, {}))
    assert refused["lanes"] is None and "fish" in refused["note"]


def test_a_trace_of_the_page_is_the_trace_of_the_answer(facts, facts_desk):
    recording = Recording(facts.tokenizer)
    alone = recording.document(ask(facts, PROMPT, {}, [recording.add]), {})
    [document] = facts_desk.desk.remembered.find(facts_desk.ask(PROMPT)["name"]).documents()
    for one in (alone, document):
        for event in one["events"]:
            assert event.pop("at_seconds") >= 0
        assert one.pop("seconds") > 0
        assert all(seconds >= 0 for seconds in one.pop("felt_seconds").values())
    assert document.pop("model") == "facts" and alone.pop("model") == facts.source
    assert document == alone


REFUSED = {
    " \n": "The question is empty; write some text.",
    "half \ud83d": "The question holds half a character; remove the lone surrogate '\\ud83d', or ",
    "x" * (LONGEST_PROMPT + 1): "The question has 20001 characters; shorten it to 20000.",
    "Kenya " * 3000: "messages has ",
}


@pytest.mark.parametrize("prompt", REFUSED, ids=["empty", "half a character", "characters", "tokens"])
def test_questions_that_cannot_be_asked_get_one_sentence(facts_desk, prompt):
    [view] = facts_desk.views(lambda: facts_desk.desk.ask(prompt, [{}]))
    assert view["lanes"] is None and view["name"] is None and view["note"].startswith(REFUSED[prompt])
    assert view["note"].count("\n") == 0 and facts_desk.held == (0, 0, 0)
