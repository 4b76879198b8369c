"""The checks that several rooms share."""

import pytest

from planned_diffusion.records.checks import check_utf8, first_line


@pytest.mark.parametrize("text", ["", "plain", "\U0001f600"])
def test_whole_characters_pass(text):
    assert check_utf8(text, "The prompt") is None  # and nothing raised


@pytest.mark.parametrize("half", ["\ud83d", "\ude00"])
def test_half_a_character_is_shown(half):
    with pytest.raises(
        ValueError, match=rf"The prompt holds half a character; remove the lone surrogate .*{ascii(half)[2:-1]}"
    ):
        check_utf8(f"a{half}b", "The prompt")


@pytest.mark.parametrize(
    ("message", "line"),
    [("One.\nTwo.", "One"), ("\n  Three:\n", "Three"), ("", "KeyError"), (" \n", "KeyError"), ("Plain", "Plain")],
)
def test_the_first_line_of_an_error(message, line):
    error = type("KeyError", (Exception,), {})(message)
    assert first_line(error) == line
