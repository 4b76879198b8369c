"""Tagged text: grammar, parser, writer, and the way back to plain text."""

import pytest

from planned_diffusion.records.tagged import TaggedSpan, parse_tagged, plain_text, write_tagged

P, T, A, Z, S = "<promise>-<topic>", "</topic>", "<async>", "</async>", "<sync/>"
ONE = f"{P}cause 2{T}{A}The sun.{Z}"


def test_parses_rounds_topics_numbers_and_texts():
    text = f"{P}step 1 7{T}{P}10{T}{A}First. {Z}{A}[PAD] second\n{Z}{S}{ONE}"
    assert parse_tagged(text) == (
        (TaggedSpan("step 1", 7, "First. "), TaggedSpan("", 10, "[PAD] second\n")),
        (TaggedSpan("cause", 2, "The sun."),),
    )
    assert plain_text(text) == "First. [PAD] second\nThe sun."


def test_text_without_tags_is_an_ordinary_answer():
    assert parse_tagged("Two < three.") == ()
    assert plain_text("Two < three.") == "Two < three."


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (f"{P}cause 2", "never closed"),
        (f"{P}cause 2{T}{A}The sun.", "never closed"),
        (f"{P}cause 1{P}2{T}", "do not nest"),
        (f"{P}cause 2{T}{A}The {A}sun{Z}{Z}", "do not nest"),
        (f"{P}cause 2{Z}", "do not nest"),
        (f"{T}", "closes nothing"),
        (f"{ONE}{Z}", "closes nothing"),
        (f"{P}cause{T}{A}The sun.{Z}", "has no number"),
        (f"{P}cause2{T}{A}The sun.{Z}", "has no number"),
        (f"{P}cause 0{T}{A}The sun.{Z}", "at least 1"),
        (f"{P}cause 2{T}{ONE}{A}b{Z}{A}c{Z}", "2 promises and 3 spans"),
        (f"{P}cause 2{T}{ONE}", "2 promises and 1 spans"),
        (f"{A}The sun.{Z}", "0 promises and 1 spans"),
        (f"{ONE}{ONE}", "before its spans"),
        (f"{S}{ONE}", "0 promises and 0 spans"),
        (f"{ONE}{S}", "announces another round"),
        (f"{ONE}{S}{S}{ONE}", "0 promises and 0 spans"),
        (f"Well: {ONE}", "outside the spans"),
        (f"{ONE}\n", "outside the spans"),
        (f"{P}cause 2{T} {A}The sun.{Z}", "outside the spans"),
        (f"{P}cause 2{T}{A}{Z}", "is empty"),
    ],
)
def test_refuses_what_is_not_the_grammar(text, complaint):
    with pytest.raises(ValueError, match=complaint):
        parse_tagged(text)


@pytest.mark.parametrize("unit", [1, 3, 10])
def test_written_numbers_round_up_so_that_room_is_never_short(unit):
    texts = ["x" * length for length in (1, 2, 3, 9, 10, 11, 30)]
    rounds = parse_tagged(write_tagged([[("t", text) for text in texts], [("u", "y")]], len, unit))
    for part in (part for parts in rounds for part in parts):
        assert (part.number - 1) * unit < len(part.text) <= part.number * unit


def test_writing_and_reading_give_the_answer_back():
    rounds = [[("a 1", " One,\n"), ("", "two. ")], [("c", "Three")]]
    text = write_tagged(rounds, len, 4)
    assert text == f"{P}a 1 2{T}{P}2{T}{A} One,\n{Z}{A}two. {Z}{S}{P}c 2{T}{A}Three{Z}"
    assert plain_text(text) == " One,\ntwo. Three"


@pytest.mark.parametrize(
    ("rounds", "complaint"),
    [
        ([], "nothing to write"),
        ([[("a", "b")], []], "announces another round"),
        ([[("a", "")]], "is empty"),
        ([[(f"a{T}", "b")]], "spells one of the tags"),
        ([[("a", f"b {S}")]], "spells one of the tags"),
    ],
)
def test_refuses_to_write_what_cannot_be_read(rounds, complaint):
    with pytest.raises(ValueError, match=complaint):
        write_tagged(rounds, len, 4)
