"""Drafts from a scripted model: right, wrong or mixed guesses change the count of forwards and nothing else."""

from dataclasses import dataclass, field, replace
from random import Random

import pytest
import torch

from planned_diffusion.generation.decoders.acceptance import FORWARDS_WITHOUT, Acceptance
from planned_diffusion.generation.decoders.autoregressive import autoregressive
from planned_diffusion.generation.decoders.drafting import Pace, Thread
from planned_diffusion.generation.decoders.parallel_autoregressive import parallel_autoregressive
from planned_diffusion.generation.decoders.parallel_speculative import parallel_speculative
from planned_diffusion.generation.decoders.speculative import speculative
from planned_diffusion.generation.engine.guess_rows import room_for_guesses, row_costs
from planned_diffusion.generation.events import DraftsChecked, SpanClosed, Text, TokensBlanked, TokensWritten
from planned_diffusion.generation.live_state import LiveState
from planned_diffusion.generation.query import Query, Reply
from planned_diffusion.generation.streaming import StreamerListener
from planned_diffusion.generation.trace import TraceRecorder
from planned_diffusion.generation.visibility import DRAFT

SHARE = 32


@dataclass
class Guesser:
    """Says the text that stands in `truth` (prompt included) where all before it is right, "?" behind a wrong guess.

    guess: position -> token that a blank says there.
    """

    truth: str
    guess: object
    share: int = SHARE
    queries: list[Query] = field(default_factory=list)

    def __call__(self, query: Query) -> Reply:
        self.queries.append(query)
        ran = list(zip(query.positions, query.streams, query.token_ids, strict=True))
        wrong = [
            position
            for position, stream, token in ran
            if stream < DRAFT and chr(token) != self.truth[position : position + 1]
        ]
        tokens = []
        for number, row in enumerate(query.wanted):
            position = query.positions[row] + 1
            spoilt = any(self._sees(query, row, place) for place in wrong)
            truth = ord("?") if spoilt or position >= len(self.truth) else ord(self.truth[position])
            tokens.append(self.guess(position, truth) if number >= len(query.wanted) - query.drafts else truth)
        return Reply(tokens, [0.5] * len(tokens), [0.5] * len(tokens), self.share)

    @staticmethod
    def _sees(query: Query, row: int, place: int) -> bool:
        """Whether a row that is no draft sees a token: one before it, of its own span or of none."""
        same = query.spans[query.positions.index(place)] == query.spans[row]
        return query.streams[row] < DRAFT and place <= query.positions[row] and same


def right(position: int, truth: int) -> int:
    return truth


def wrong(position: int, truth: int) -> int:
    return ord("!")


def mixed(seed: int):
    choose = Random(seed)
    return lambda position, truth: truth if choose.random() < 0.6 else ord(choose.choice("!xyz.$"))


TEXT = "P" + "the quick brown fox jumps over it" + "$"
PLAN = "<a9><b5><c1>$"
SPANS = "P" + PLAN[:-1] + "[quickfox.][lazy.][.]$"


def answer_text(drive, request_in_letters, guess, decoder=speculative, truth=TEXT, share=SHARE, **settings):
    model = Guesser(truth, guess, share)
    return drive(decoder(request_in_letters(**settings)), model), model


def test_right_guesses_write_many_tokens_a_forward(drive, request_in_letters):
    """34 tokens: 1; 3; then more at a time, as the guesses turn out right."""
    played, model = answer_text(drive, request_in_letters, right)
    assert played.answer == TEXT[1:] and played.ended.reason == "eos"
    checked = played.of(DraftsChecked)
    assert checked[0].accepted == (2,) and all(event.accepted == event.offered for event in checked)
    assert len(model.queries) <= 10


def test_wrong_guesses_write_one_token_a_forward(drive, request_in_letters):
    played, model = answer_text(drive, request_in_letters, wrong)
    assert played.answer == TEXT[1:]
    assert len(model.queries) == len(TEXT) - 1
    assert not any(event.accepted[0] for event in played.of(DraftsChecked))


def test_guesses_that_fail_are_given_up_and_tried_again(drive, request_in_letters):
    text = "P" + "".join(map(chr, range(200, 400))) + "$"  # no pair stands twice
    _, model = answer_text(drive, request_in_letters, wrong, truth=text, max_new_tokens=300)
    drafted = [query.drafts for query in model.queries]
    given_up = drafted.index(0)
    assert given_up < 60
    later = drafted[given_up:]
    assert sum(count > 0 for count in later) <= 4 + 3 * len(later) // FORWARDS_WITHOUT and any(later)


@pytest.mark.parametrize("share", [1, 2, 3, 8, 32, 500])
@pytest.mark.parametrize("seed", range(4))
def test_mixed_guesses_change_nothing(seed, share, drive, request_in_letters):
    played, model = answer_text(drive, request_in_letters, mixed(seed), share=share)
    assert played.answer == TEXT[1:] and played.ended.reason == "eos"
    assert "".join("".join(map(chr, text.token_ids)) for text in played.of(Text)) == TEXT[1:-1]
    assert all(len(query.wanted) <= max(share, 1) for query in model.queries[1:])
    if share == 1:
        assert not any(query.drafts for query in model.queries[1:])


class Shown:
    """A streamer that keeps what it is given."""

    def __init__(self) -> None:
        self.text, self.drafts = "", []

    def put(self, ids) -> None:
        self.text += "".join(map(chr, ids.tolist()))

    def put_draft(self, ids) -> None:
        self.drafts.append("".join(map(chr, ids.tolist())))


@pytest.mark.parametrize("guess", [right, wrong, mixed(1), mixed(2)], ids=["right", "wrong", "mixed", "mixed too"])
@pytest.mark.parametrize(("decoder", "truth"), [(speculative, TEXT), (parallel_speculative, SPANS)])
def test_a_rejected_guess_is_never_shown(decoder, truth, guess, drive, request_in_letters):
    """Views are folded from events: what they show at any time is that of the finished answer, and stays."""
    plan = [PLAN] if decoder is parallel_speculative else ()
    played, _ = answer_text(drive, request_in_letters, guess, decoder, truth, share=40, plan=plan)
    assert played.of(DraftsChecked) and not played.of(TokensBlanked)
    state, shown, text, known = LiveState(), Shown(), "", {}
    follow = StreamerListener(shown, ord("_"))
    for event in played.events:
        state.add(event)
        follow(0, event)
        if isinstance(event, TokensWritten):
            assert known.keys().isdisjoint(event.positions)
            known |= zip(event.positions, map(chr, event.token_ids), strict=True)
        if isinstance(event, Text):
            text += "".join(map(chr, event.token_ids))
        assert shown.text == text == "".join(map(chr, state.text_ids))
        assert played.answer.startswith(text)
        assert all(truth[position] == chr(token) for position, token in state.tokens.items())
    assert {position: truth[position] for position in known} == known
    assert all(set(draft) <= {*truth, "_"} for draft in shown.drafts)
    assert bool(shown.drafts) == (decoder is parallel_speculative)


@pytest.mark.parametrize("share", [3, 9, 40])
@pytest.mark.parametrize("guess", [right, wrong, mixed(1), mixed(2)], ids=["right", "wrong", "mixed", "mixed too"])
def test_parts_are_those_of_parallel_autoregression(guess, share, drive, request_in_letters):
    plan = {"plan": [PLAN], "truth": SPANS}
    played, model = answer_text(drive, request_in_letters, guess, parallel_speculative, share=share, **plan)
    twin, slower = answer_text(drive, request_in_letters, wrong, parallel_autoregressive, **plan)
    assert played.written == twin.written == SPANS[1:]
    assert sorted(map(repr, played.of(SpanClosed))) == sorted(map(repr, twin.of(SpanClosed)))
    assert len(model.queries) <= len(slower.queries)
    assert not any(query.drafts for query in slower.queries)


def test_right_guesses_in_parts(drive, request_in_letters):
    """9, 5 and 1 tokens of room: one of each, then as many as were guessed."""
    played, model = answer_text(
        drive, request_in_letters, right, parallel_speculative, share=40, plan=[PLAN], truth=SPANS
    )
    assert len(model.queries) <= 5
    assert [len(step.positions) for step in played.of(TokensWritten)][0] == 3
    assert all(event.accepted == event.offered for event in played.of(DraftsChecked))


@pytest.mark.parametrize(("drafts", "most"), [(0, 13), (6, 5)])
def test_right_guesses_in_a_plan_whose_parts_are_not_drafted(drafts, most, drive, request_in_letters):
    """13 tokens of a plan; the parts take 9 forwards, the longest one's tokens."""
    fields = {"plan_drafts": drafts, "draft_acceptance": 0.9, "max_new_tokens": len(SPANS) - 1}
    plan, parts = Guesser("P" + PLAN, right), Guesser(SPANS, right)
    played = drive(
        parallel_autoregressive(request_in_letters(**fields)),
        lambda query: (plan if query.purpose == "planning" else parts)(query),
    )
    assert played.written == SPANS[1:]
    assert len(parts.queries) == 9 and len(plan.queries) <= most
    assert bool(drafts) == any(query.drafts for query in plan.queries)
    assert all(event.accepted == event.offered for event in played.of(DraftsChecked))


def test_a_guessed_pad_ends_a_part_once(drive, request_in_letters):
    truth = "P<a9>[fox......]$"
    played, model = answer_text(drive, request_in_letters, right, parallel_speculative, plan=["<a9>$"], truth=truth)
    twin, _ = answer_text(drive, request_in_letters, wrong, parallel_autoregressive, plan=["<a9>$"], truth=truth)
    assert played.written == twin.written
    assert len(model.queries) < 4


def test_a_stop_inside_a_draft(drive, request_in_letters):
    def stop(ids):
        return bytes(ids).endswith(b"qu")

    played, _ = answer_text(drive, request_in_letters, right, should_stop=stop)
    assert (played.answer, played.ended.reason) == ("the qu", "stop")
    parts, _ = answer_text(
        drive, request_in_letters, right, parallel_speculative, plan=[PLAN], truth=SPANS, should_stop=stop
    )
    assert (parts.answer, parts.ended.reason) == ("qu", "stop")


@pytest.mark.parametrize("room", [1, 2, 3, 9, 10, 33, 34])
def test_the_room_ends_a_draft(room, drive, request_in_letters):
    played, model = answer_text(drive, request_in_letters, right, max_new_tokens=room)
    twin, _ = answer_text(drive, request_in_letters, right, autoregressive, max_new_tokens=room)
    assert (played.answer, played.ended.reason) == (twin.answer, twin.ended.reason)
    last = len(TEXT[:1]) + room - 1
    assert all(position < last for query in model.queries for position in query.positions if position)


def test_a_blank_sees_its_anchor_and_is_asked_for_the_token_after_next(drive, request_in_letters):
    _, model = answer_text(drive, request_in_letters, right, draft_tokens=2)
    second = model.queries[1]  # `t` was written at 1, and `h`, `e` guessed
    assert [*zip(second.positions, second.streams, strict=True)][:3] == [(1, 0), (2, 0), (3, 0)]
    blanks = [*zip(second.positions, second.streams, second.token_ids, strict=True)][3:]
    assert set(token for _, _, token in blanks) == {ord("_")}
    assert all(position > stream - DRAFT for position, stream, _ in blanks)
    assert second.drafts == len(blanks) and second.wanted == list(range(3 + len(blanks)))


def test_a_trace_counts_drafts_by_offset(drive, request_in_letters):
    played, _ = answer_text(drive, request_in_letters, mixed(3))
    recorder = TraceRecorder()
    for event in played.events:
        recorder.add(event)
    trace, checked = recorder.trace(), played.of(DraftsChecked)
    assert trace.drafts_checked[0] == sum(event.offered[0] > 0 for event in checked)
    assert sum(trace.drafts_checked) == sum(sum(event.offered) for event in checked)
    assert sum(trace.drafts_accepted) == sum(sum(event.accepted) for event in checked)
    assert all(a >= b for a, b in zip(trace.drafts_accepted, trace.drafts_accepted[1:], strict=False))


def test_acceptance_by_hand():
    acceptance = Acceptance(3, expected=0.5)
    assert acceptance.rates == pytest.approx([1.0, 0.5, 0.25, 0.125])
    acceptance.learn(2, 1)
    shares = [
        (0.5 + 1) / 2,
        (0.75 + 0) / 2,
        0.375,
    ]  # the third guess was not made: expected to be as good as the second
    assert acceptance.rates == pytest.approx([1.0, shares[0], shares[0] * shares[1], shares[0] * shares[1] * shares[2]])
    acceptance.learn(3, 0)  # the guesses behind the wrong one tell nothing
    shares[0] = (0.5 + 0.95) / (1 + 1.95)
    shares[1] = (shares[0] + 0) / 2
    assert acceptance.rates[1:3] == pytest.approx([shares[0], shares[0] * shares[1]])


def test_right_guesses_are_soon_trusted_further_than_they_were_tried():
    acceptance = Acceptance(8, expected=0.5)
    for _ in range(3):
        acceptance.learn(2, 2)
    assert acceptance.rates[8] > 0.5 > Acceptance(8, expected=0.5).rates[2]


def test_the_first_guesses_follow_what_is_expected(drive, request_in_letters):
    """A text is written in fewer forwards where the guesses are expected to be right, as they are."""
    forwards = [len(answer_text(drive, request_in_letters, right, draft_acceptance=e)[1].queries) for e in (0.1, 0.9)]
    assert forwards[1] < forwards[0]


def test_a_thread_takes_the_agreeing_guesses_and_one_token_more():
    thread = Thread(5, 20, guesses=[1, 2, 3])
    assert thread.predicted == [5, 6, 7, 8] and thread.guessed == {5: 1, 6: 2, 7: 3}
    assert thread.take([1, 2, 9, 9], [(), (), (7, 8), (6,)]) == 2
    assert (thread.next, thread.drafted) == (8, [7, 8])


def test_rows_for_guesses_may_be_given_and_are_shared(drive, request_in_letters):
    """`draft_rows` bounds a forward's checked guesses and blanks; with two live requests each has half of them."""
    for live, rows in ((1, 9), (2, 9), (1, 1)):
        model = Guesser(TEXT, right)

        def answer(query, model=model, live=live):
            return replace(model(query), live=live)

        request = request_in_letters(prompt=TEXT[:1], max_new_tokens=len(TEXT) - 1, draft_rows=rows)
        played = drive(speculative(request), answer)
        assert played.answer == TEXT[1:]
        widths = [len(query.token_ids) for query in model.queries[2:]]
        assert max(widths) <= max(1, rows // live) and (rows // live < 4 or max(widths) > 1)


@pytest.mark.parametrize(
    ("device", "dtype", "rounded", "costs"),
    [
        ("cpu", torch.bfloat16, False, (0.03, 0.5)),
        ("cpu", torch.float32, False, (0.3, 0.5)),
        ("cpu", torch.bfloat16, True, (0.08, 0.5)),
        ("cuda", torch.bfloat16, False, (0.002, 0.002)),
        ("mps", torch.bfloat16, False, (0.03, 0.03)),
    ],
)
def test_what_a_row_costs(device, dtype, rounded, costs):
    """A backbone of 100 M weights, of which only the shapes are there, and one of 4 M."""
    for layers, expected in ((100, costs), (4, (0.015, 0.015) if device == "cpu" else costs)):
        backbone = torch.nn.Sequential(*(torch.nn.Linear(1000, 1000, device="meta") for _ in range(layers)))
        if rounded:
            backbone.register_buffer("numbers", torch.ones(2, dtype=torch.int8))
        assert row_costs(backbone, dtype, device) == expected


def test_rows_for_guesses_by_hand():
    assert room_for_guesses("cpu", (0.25, 0.5), 0) == (32, 0.2) and room_for_guesses("cpu", (0.25, 0.5), 1)[1] == 0.2
    assert room_for_guesses("cpu", (0.1, 0.25), 4) == (8, 0.5)
    assert room_for_guesses("cuda", (0.25, 0.25), 4) == (32, 0.5)


def test_a_try_lasts_until_its_guess_is_checked():
    acceptance = Acceptance(2, 0.1)
    for _ in range(FORWARDS_WITHOUT + 1):
        acceptance.learn(0, 0)
        acceptance.try_again(has_guesses=False, worth=0.6)
    assert acceptance.rates[1] > 0.6  # the next forward makes a guess ...
    acceptance.learn(0, 0)  # ... and checks none
    assert acceptance.rates[1] > 0.6
    acceptance.learn(1, 0)
    assert acceptance.rates[1] < 0.6


@pytest.mark.parametrize(
    ("tokens", "rows", "worth"),
    [(1, 1, 0.1 / 1.1), (2, 1, 0.2 / 1.1), (1, 6, 0.1 / 1.6), (2, 6, 0.2 / 1.6)],  # tokens x c / (1 + c rows)
)
def test_a_row_is_worth_the_tokens_of_its_share_of_the_time(tokens, rows, worth):
    """A row costs a tenth of a forward of one."""
    pace = Pace()
    assert pace.worth(0.1 / 1.1) == pytest.approx(0.1 / 1.1)  # before anything was learnt
    for _ in range(400):
        pace.learn(tokens, rows)
    assert pace.worth(0.1 / 1.1) == pytest.approx(worth)
    assert pace.worth(0.1 / 1.1, shared=True) == pytest.approx(tokens * 0.1 / 1.1)
    assert pace.worth(0.9, shared=True) == pytest.approx(min(1.0, tokens * 0.9))  # certain, at most


def test_an_extra_row_at_its_worth_leaves_tokens_per_second_as_they_are():
    """The definition, numerically: with worth tokens more, (t + worth e) / (1 + c (r + e)) does not change."""
    cost, pace = 0.07, Pace()
    for tokens, rows in [(1, 3), (3, 8), (2, 5), (1, 2)] * 5:
        pace.learn(tokens, rows)
    more, speed = 1e-6, pace.tokens / (1 + cost * pace.rows)
    worth = pace.worth(cost / (1 + cost))
    assert (pace.tokens + worth * more) / (1 + cost * (pace.rows + more)) == pytest.approx(speed, abs=1e-12)
