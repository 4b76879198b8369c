"""An edited outline: only parts that are not kept are written again; nonsense is one sentence, and loses nothing."""

import json

import pytest

from planned_diffusion.app.finished import Remembered

PROMPT = "What are the capital, the currency, the continent and the main language of Kenya?"


@pytest.fixture(scope="module")
def first(facts_desk):
    """The first answer, with four parts: its name, and its outline as the page has it."""
    view = facts_desk.ask(PROMPT)
    finished = facts_desk.desk.remembered.find(view["name"])
    outline = [
        [
            {"topic": part.topic, "length": part.length, "keep": True, "was": [number, index]}
            for index, part in enumerate(parts)
        ]
        for number, parts in enumerate(finished.answers[0].parts())
    ]
    assert [len(parts) for parts in outline] == [4]
    return view["name"], outline


@pytest.fixture
def outline(first):
    """A copy of the outline to change."""
    return json.loads(json.dumps(first[1]))


def parts_of(desk, name):
    """Return the tokens of every part of an answer."""
    ended = desk.desk.remembered.find(name).answers[0].ended
    return [[ended.written_ids[span.start : span.stop] for span in spans] for spans in ended.written_plans]


@pytest.mark.parametrize("changed", range(4))
def test_only_the_changed_part_is_written_again(facts_desk, folded, first, outline, changed):
    outline[0][changed] |= {"keep": False, "length": outline[0][changed]["length"] + 8}
    view = facts_desk.fill(first[0], outline)
    [before], [after] = parts_of(facts_desk, first[0]), parts_of(facts_desk, view["name"])
    assert [one for place, one in enumerate(after) if place != changed] == [
        one for place, one in enumerate(before) if place != changed
    ]
    seen = folded(view["lanes"][0])
    span = seen.spans()[changed]
    assert seen.steps and all(position in span for step in seen.steps for position in step)
    assert seen.end["counts"]["planning"] == 0 and seen.forwards == len(seen.steps)


@pytest.mark.parametrize("again", range(4))
def test_the_forwards_are_those_of_the_part(facts_desk, folded, first, outline, again):
    """A part that is released without a change is written as before, in the forwards in which it was written before."""
    before = folded(facts_desk.ask(PROMPT)["lanes"][0])
    span = before.spans()[again]
    steps = [[position for position in step if position in span] for step in before.steps]
    outline[0][again]["keep"] = False
    view = facts_desk.fill(first[0], outline)
    after = folded(view["lanes"][0])
    assert parts_of(facts_desk, view["name"]) == parts_of(facts_desk, first[0])
    shift = after.spans()[again].start - span.start
    assert after.steps == [[position + shift for position in step] for step in steps if step]
    assert after.forwards == len(after.steps) < before.forwards


def test_rename_reorder_add_and_delete(facts_desk, folded, first, outline):
    capital, currency, continent, language = outline[0]
    assert [one["topic"] for one in outline[0]][:2] == ["capital", "currency"]
    edited = [[language, {**currency, "topic": "region", "keep": False}, capital, {"topic": "code", "length": 16}]]
    view = facts_desk.fill(first[0], edited)
    [before], [after] = parts_of(facts_desk, first[0]), parts_of(facts_desk, view["name"])
    seen = folded(view["lanes"][0])
    assert [part["topic"] for _, _, part in seen.parts] == [language["topic"], "region", "capital", "code"]
    assert after[0] == before[3] and after[2] == before[0] and after[1] and after[3]


def test_a_kept_part_may_have_another_name(facts_desk, folded, first, outline):
    outline[0][0]["topic"] = "seat of government"
    outline[0][1]["keep"] = False
    view = facts_desk.fill(first[0], outline)
    assert parts_of(facts_desk, view["name"])[0][0] == parts_of(facts_desk, first[0])[0][0]
    assert folded(view["lanes"][0]).parts[0][2]["topic"] == "seat of government"


def test_an_answer_can_be_edited_again_and_again(facts_desk, first, outline):
    name = first[0]
    for part in range(3):
        rounds = json.loads(json.dumps(outline))
        rounds[0][part]["keep"] = False
        name = facts_desk.fill(name, rounds)["name"]
    assert parts_of(facts_desk, name) == parts_of(facts_desk, first[0])  # written again as they were


NONSENSE = {
    "no rounds": ([], "The outline has no parts; add one."),
    "empty rounds": ([[], []], "The outline has no parts; add one."),
    "no list": ({"topic": "capital"}, "The outline cannot be read; reload the page."),
    "no part": ([["capital"]], "The outline cannot be read; reload the page."),
    "no name": ([[{"topic": " ", "length": 8}]], "A part has no name; give it one, or delete it."),
    "no length": ([[{"topic": "x", "length": None}]], "The part 'x' has no length; give a whole number of tokens, at "),
    "fraction": ([[{"topic": "x", "length": 1.5}]], "The part 'x' has the length 1.5; give a whole number of tokens,"),
    "negative": ([[{"topic": "x", "length": -4}]], "The part 'x' has the length -4; give a whole number of tokens,"),
    "truth": ([[{"topic": "x", "length": True}]], "The part 'x' has the length True; give a whole number of tokens,"),
    "huge": ([[{"topic": "x", "length": 10**9}]], "There is room for 320 new tokens, but the given plan needs 1000"),
    "endless": ([[{"topic": "x", "length": 10**40}]], "The part 'x' of the plan has a length of more than 12 digits;"),
    "long name": ([[{"topic": "x" * 201, "length": 8}]], "The name 'xxxxxxxxxxxxxxxxxxxx'... has 201 characters;"),
    "half a character": ([[{"topic": "\ud83d", "length": 8}]], "The text '\\ud83d' of a plan holds half a character;"),
    "a digit": ([[{"topic": "top 10", "length": 8}]], "The topic 'top 10 ' "),
    "elsewhere": ([[{"topic": "x", "length": 8, "was": [7, 7]}]], "The outline cannot be read; reload the page."),
    "below": ([[{"topic": "x", "length": 8, "was": [-1, 0]}]], "The outline cannot be read; reload the page."),
    "a text for a place": ([[{"topic": "x", "length": 8, "was": "0"}]], "The outline cannot be read; reload the page."),
}  # fmt: skip


@pytest.mark.parametrize("kind", NONSENSE)
def test_nonsense_is_one_sentence_and_loses_nothing(facts_desk, first, outline, kind):
    edited, sentence = NONSENSE[kind]
    view = facts_desk.fill(first[0], edited)
    if kind == "a digit":  # this tokenizer has the space behind it: a name may end so
        assert view["note"] is None or view["note"].startswith(sentence)
        return
    assert view["lanes"] is None and view["note"].startswith(sentence), view["note"]
    assert facts_desk.held == (0, 0, 0)
    outline[0][2]["keep"] = False
    assert facts_desk.fill(first[0], outline)["name"]  # the answer can be edited still


def test_an_outline_with_everything_kept_is_refused(facts_desk, first, outline):
    sentence = "Every part is kept, so there is nothing to write; change, add or release one."
    assert facts_desk.fill(first[0], outline)["note"] == sentence


@pytest.mark.parametrize(
    "topic", ["<sync/>", "</topic><async>", "<script>alert(1)</script>", "\u202eevil", "🦒", "a\nb"]
)
def test_names_are_text_whatever_they_spell(facts_desk, folded, first, outline, topic):
    outline[0][1] |= {"topic": topic, "keep": False}
    seen = folded(facts_desk.fill(first[0], outline)["lanes"][0])
    assert len(seen.parts) == 4 and seen.parts[1][2]["topic"] == " ".join(topic.split())


def test_the_oldest_answers_are_forgotten():
    remembered = Remembered(most=2)
    names = [remembered.add(number) for number in range(3)]
    assert len(remembered) == 2 and remembered.find(names[2]) == 2 and len(set(names)) == 3
    for name in (names[0], "", None, ["x"]):
        with pytest.raises(ValueError, match="This answer is not remembered any more; ask again."):
            remembered.find(name)
