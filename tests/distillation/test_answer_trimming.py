"""Where an answer is ended that repeats itself or reached its token limit, against answers cut by hand."""

import pytest

from planned_diffusion.distillation.answer_trimming import sentences_of, trimmed

STORY = (
    "An owl named Elfrida was afraid of the dark and never left her tree at night.\n\n"
    "One evening a mouse brought her a candle, and she flew out to look at the moon."
)
AGAIN = "\n\nOne evening a mouse brought her a candle, and she flew out to look at the stars."
LIST = "1. Warmth: A blanket keeps people warm at night.\n\n2. Comfort: A blanket is a soft place for a cat to sleep."


@pytest.mark.parametrize(
    ("answer", "ended", "expected"),
    [
        (STORY, "eos", None),  # nothing has to go
        (STORY + AGAIN, "eos", STORY),
        (STORY + AGAIN + " Then she slept.", "length", STORY),
        (STORY + " Then she found a", "length", STORY),
        (STORY + " Then she found a", "eos", None),  # it ended by itself, as it is
        (STORY + " Then she slept.", "length", None),  # the limit fell on the end of a sentence
        (f"{LIST}\n\n3. Comfort: A blanket is a soft place for a dog to sleep.", "eos", LIST),
        (f"{LIST}\n\n3. ", "length", LIST),  # no number is left without its item
        (f"{LIST}\n\n10. **", "length", LIST),
        (f"It rained on her wings. {AGAIN}{AGAIN}", "eos", "It rained on her wings. " + AGAIN),
        ("No, no, no. No, no, no. No, no, no.", "length", None),  # too little is left
        ("", "length", None),
    ],
)
def test_an_answer_ends_before_it_repeats_itself(answer, ended, expected):
    assert trimmed(answer, ended) == (expected and expected.strip())


def test_no_answer_ends_in_a_promise():
    opening = f"{STORY} Here are the ten things that she saw on her way over the dark wood, one after the other:"
    assert trimmed(f"{opening}\n1. One evening a mouse brought her a candle.", "eos") is None


@pytest.mark.parametrize("text", [STORY + AGAIN, LIST, "a\n\n\nb. C d.\n", "  \n  x", "One.Two. Three! Four"])
def test_the_sentences_of_a_text_are_the_text(text):
    assert "".join(sentences_of(text)).rstrip() == text.rstrip()


def test_a_sentence_ends_at_a_mark_or_a_line_not_behind_a_number_or_title():
    assert sentences_of("1. Dr. Who came. He left.\n- a") == ["1. Dr. Who came.", " He left.", "\n- a"]
