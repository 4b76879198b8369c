"""Guesses by lookup: by hand, against a search from the definition, and in decoders."""

from random import Random

import pytest

from planned_diffusion.generation.decoders.autoregressive import autoregressive
from planned_diffusion.generation.decoders.canvas import Canvas
from planned_diffusion.generation.decoders.drafting import Drafting, Thread
from planned_diffusion.generation.decoders.parallel_autoregressive import parallel_autoregressive
from planned_diffusion.generation.decoders.parallel_speculative import parallel_speculative
from planned_diffusion.generation.decoders.prompt_lookup import PromptLookup
from planned_diffusion.generation.decoders.speculative import speculative
from planned_diffusion.generation.events import DraftsChecked
from planned_diffusion.generation.query import Reply


def lookup_of(request_in_letters, text: str, most: int = 8) -> PromptLookup:
    return PromptLookup(Canvas(request_in_letters(prompt=text)), most)


def guessed(lookup: PromptLookup, chain: str = "") -> str:
    return "".join(map(chr, lookup.guesses(len(lookup.canvas.ids), list(map(ord, chain)))))


@pytest.mark.parametrize(
    ("text", "chain", "expected"),
    [
        ("abcdefXab", "", "cdefXabc"),  # through its own beginning, and on
        ("abc1abc2ab", "", "c2abc2ab"),  # the latest place
        ("xyxyxy", "", "xyxyxyxy"),
        ("aaaa", "", "aaaaaaaa"),
        ("abcdef", "", ""),
        ("a", "", ""),
        ("", "", ""),
        ("abcdefXa", "b", "cdefXabc"),  # behind a guess
        ("abcdefX", "ab", "cdefXabc"),
        ("abcdefX", "b", ""),
        ("ab]cab", "", ""),  # a tag ends what is guessed
        ("abc]xab", "", "c"),
    ],
)
def test_by_hand(text, chain, expected, request_in_letters):
    assert guessed(lookup_of(request_in_letters, text), chain) == expected


def test_so_many_at_most(request_in_letters):
    assert guessed(lookup_of(request_in_letters, "abcdefXab", most=3)) == "cde"
    assert guessed(lookup_of(request_in_letters, "abcdefXab", most=0)) == ""


@pytest.mark.parametrize("seed", range(20))
def test_against_the_definition(seed, request_in_letters):
    """The token behind the latest earlier place of the last two, again and again, each guess standing as if written."""
    choose = Random(seed)
    text = "".join(choose.choice("abc") for _ in range(choose.randint(0, 30)))
    expected, ahead = "", text
    place = max((p for p in range(2, len(text)) if text[p - 2 : p] == text[-2:]), default=None)
    while place is not None and len(expected) < 5:
        expected, ahead, place = expected + ahead[place], ahead + ahead[place], place + 1
    assert guessed(lookup_of(request_in_letters, text, most=5)) == expected


class Writer:
    """A model that writes a text and draws what it wrote wherever it is asked; its blanks guess a wrong letter."""

    def __init__(self, truth: str, live: int = 1) -> None:
        self.truth, self.live, self.queries = truth, live, []

    def __call__(self, query) -> Reply:
        self.queries.append(query)
        tokens = []
        for number, row in enumerate(query.wanted):
            position = query.positions[row] + 1
            is_draft = number >= len(query.wanted) - query.drafts
            tokens.append(ord("!" if is_draft or position >= len(self.truth) else self.truth[position]))
        return Reply(tokens, [0.5] * len(tokens), [0.5] * len(tokens), free_rows=32, live=self.live)


REPEATED = "P" + "the cat and the dog; " * 4 + "$"
PLAN = "<a9><b9>$"
PARTS = "P" + PLAN[:-1] + "[abcabcab.][abcabcabc]$"


def test_a_repetition_is_written_in_few_forwards(drive, request_in_letters):
    """21 of 84 letters are new; of the others up to 8 are guessed at a time, by lookup alone."""
    model = Writer(REPEATED)
    request = request_in_letters(draft_tokens=0, max_new_tokens=len(REPEATED) - 1)
    played = drive(speculative(request), model)
    assert played.answer == REPEATED[1:]
    assert len(model.queries) <= 21 + 11 and not any(query.drafts for query in model.queries)
    assert sum(sum(event.accepted) for event in played.of(DraftsChecked)) >= 50


@pytest.mark.parametrize(("drafts", "lookups"), [(0, 0), (0, 3), (4, 0), (4, 8)])
@pytest.mark.parametrize("live", [1, 8])
def test_the_text_is_the_same(drafts, lookups, live, drive, request_in_letters):
    fields = {"draft_tokens": drafts, "draft_lookup": lookups, "max_new_tokens": len(REPEATED) - 1}
    model, twin = Writer(REPEATED, live), Writer(REPEATED)
    played = drive(speculative(request_in_letters(**fields)), model)
    assert played.answer == drive(autoregressive(request_in_letters(**fields)), twin).answer == REPEATED[1:]
    assert len(model.queries) <= len(twin.queries) and (lookups > 0) == (len(model.queries) < len(twin.queries))


@pytest.mark.parametrize("lookups", [0, 2, 8])
def test_parts_are_the_same_and_look_each_other_up(lookups, drive, request_in_letters):
    fields = {"plan": [PLAN], "draft_tokens": 0, "draft_lookup": lookups, "max_new_tokens": len(PARTS) - 1}
    model, twin = Writer(PARTS), Writer(PARTS)
    played = drive(parallel_speculative(request_in_letters(**fields)), model)
    assert played.written == drive(parallel_autoregressive(request_in_letters(**fields)), twin).written == PARTS[1:]
    assert (len(model.queries) < len(twin.queries)) == (lookups > 0)


def test_the_likelier_guess_is_made(request_in_letters):
    """The lookup goes first at the start, the blanks where it was wrong, and the lookup behind their guess."""
    canvas = Canvas(request_in_letters(prompt="abcdab"))
    drafting = Drafting(canvas, 2, canvas_settings(request_in_letters), lookups=3)
    drafting.free_rows = 32
    thread = Thread(6, 30, drafted=[ord("x"), ord("y")])
    drafting.prepare([thread])
    assert "".join(map(chr, thread.guesses)) == "cda"
    for _ in range(8):
        drafting.lookup_acceptance.learn(1, 0)
    drafting.prepare([thread])
    assert "".join(map(chr, thread.guesses)) == "xy"
    thread.drafted = [ord("d"), ord("a")]
    canvas.append(map(ord, "c"))
    thread.next = 7
    drafting.lookup_acceptance.judge("a", "a")
    drafting.prepare([thread])
    assert "".join(map(chr, thread.guesses)).startswith("da")


def canvas_settings(request_in_letters):
    return request_in_letters().settings


def test_guesses_are_judged_whether_they_were_made_or_not(request_in_letters):
    canvas = Canvas(request_in_letters(prompt="abcdab"))
    drafting = Drafting(canvas, 2, canvas_settings(request_in_letters), lookups=3)
    thread = Thread(6, 30, drafted=[ord("x")], found=[ord("c"), ord("d")], guesses=[ord("x")], blanks=[0, 0])
    before = drafting.acceptance.shares[0], drafting.lookup_acceptance.shares[0]
    drafting.read([thread], Reply([ord("c"), ord("z")], [0.5] * 2, [0.5] * 2, 32))
    assert thread.next == 7
    assert drafting.acceptance.shares[0] < before[0] and drafting.lookup_acceptance.shares[0] > before[1]
    assert drafting.lookup_acceptance.shares[1] == drafting.lookup_acceptance.shares[0]  # the second was not reached
