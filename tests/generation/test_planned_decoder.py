"""What a planner writes, exactly, from a scripted model.

Answers are drawn in letters: `<a2>` promises 2 tokens on topic "a", `[xy]` is a span, `.` a pad, `_` a blank, `|` a
<sync/>, `$` EOS. Prompts are one token, so that the plan starts at position 1.
"""

import pytest

from planned_diffusion.generation.decoders.parallel_autoregressive import parallel_autoregressive
from planned_diffusion.generation.decoders.planned import planned
from planned_diffusion.generation.events import PlanDone, PlanShortened, PlanToken
from planned_diffusion.generation.live_state import LiveState

ONE_ROUND = {"says": "<a2><b1>$", "fills": "P<a2><b1>[xy][z]$"}
TWO_ROUNDS = {"says": "<a2>|<b1>$", "fills": "P<a2>[xy]|<b1>[z]$"}


def test_one_round(play):
    played = play(**ONE_ROUND)
    assert played.written == "<a2><b1>[xy][z]$"
    assert played.answer == "xyz$"
    assert played.steps == ["10:x 14:z", "11:y"]
    assert played.ended.reason == "eos"


def test_two_rounds(play):
    played = play(**TWO_ROUNDS)
    assert played.written == "<a2>[xy]|<b1>[z]$"
    assert played.answer == "xyz$"
    assert played.steps == ["6:x", "7:y", "15:z"]


def test_an_unpromised_last_round_is_an_ending(play):
    played = play(says="<a2>|$", fills="P<a2>[xy]|$")
    assert (played.written, played.answer, played.ended.reason) == ("<a2>[xy]|$", "xy$", "eos")


def test_plain_text_instead_of_a_plan(play):
    played = play(says="xyz$")
    assert (played.written, played.answer, played.ended.reason) == ("xyz$", "xyz$", "eos")
    assert [query.purpose for query in played.queries] == ["planning", "decoding", "decoding", "decoding"]


def test_eos_at_once(play):
    played = play(says="$")
    assert (played.written, played.answer, played.ended.reason) == ("$", "$", "eos")
    assert played.ended.plans == ()


def test_a_second_round_may_not_decline_with_text(play):
    second = play(**TWO_ROUNDS).queries[7]
    assert second.purpose == "planning" and second.positions[-1] == 9  # the <sync/>
    assert all(ord(sign) in second.allowed for sign in "<$")
    assert not any(ord(sign) in second.allowed for sign in "xyz012|[]._>")


def test_a_part_that_does_not_fit_is_left_out(play):
    """`<a2><b1>[xy][z]$` are 16 tokens."""
    assert play(**ONE_ROUND, max_new_tokens=16).ended.reason == "eos"
    played = play(says="<a2><b9>", fills="P<a2>[xy]", max_new_tokens=20)
    assert (played.written, played.answer, played.ended.reason) == ("<a2>[xy]", "xy", "length")
    (shortened,) = played.of(PlanShortened)
    assert (shortened.round, shortened.positions) == (0, (5, 6, 7))  # the token that decides is not even written
    assert "".join(map(chr, shortened.token_ids)) == "<b9"


def test_a_plan_that_does_not_fit_is_plain_text(play):
    played = play(says="<a9>xyz$", max_new_tokens=12)
    assert (played.written, played.answer, played.ended.reason) == ("xyz$", "xyz$", "eos")
    assert played.ended.plans == () and played.of(PlanShortened)[0].positions == (1, 2, 3)
    text = [query for query in played.queries if query.purpose == "decoding"]
    assert text[0].positions == [0] and text[0].forget == [1, 2, 3]  # the prompt's last token runs again
    assert not any(ord(tag) in text[0].allowed for tag in "<>[]|._")


@pytest.mark.parametrize("room", [1, 2, 5, 6])
def test_rooms_too_small_for_any_plan_hold_plain_text(room, play):
    played = play(says="<" + "abcdefg", max_new_tokens=room)
    assert (played.written, played.ended.reason) == ("abcdefg"[:room], "length")
    played = play(says="abcdefg", max_new_tokens=room)  # it declines to plan
    assert (played.written, played.ended.reason) == ("abcdefg"[:room], "length")


def test_text_in_place_of_a_plan_stops_where_it_should(play):
    played = play(says="<a9>xyz$", max_new_tokens=12, should_stop=lambda ids: ids[-1] == ord("y"))
    assert (played.written, played.ended.reason) == ("xy", "stop")


@pytest.mark.parametrize("decoder", [planned, parallel_autoregressive])
def test_a_later_round_that_does_not_fit_is_missing(decoder, play):
    played = play(says="<1>|<a9>", fills="P<1>[z]|", max_new_tokens=17, decoder=decoder)
    assert (played.written, played.answer, played.ended.reason) == ("<1>[z]|", "z", "length")
    assert played.of(PlanShortened)[0].positions == (8, 9, 10)


def test_a_round_that_was_to_follow_and_cannot_is_missing(play):
    """`<1>[z]` and EOS are 7 tokens: a <sync/> is not written where no EOS fits behind it."""
    played = play(says="<1>|", fills="P<1>[z]", max_new_tokens=7)
    assert (played.written, played.ended.reason) == ("<1>[z]", "length")


@pytest.mark.parametrize("dense", [False, True])
def test_refining_a_shortened_plan(dense, play):
    played = play(says="<a2><b", fills="P<a2>[xy]", max_new_tokens=15, refine_share=0.5, dense=dense)
    assert (played.written, played.ended.reason) == ("<a2>[xy]", "length")


def test_views_follow_a_plan_that_is_taken_back(play):
    state, seen = LiveState(), []
    for event in play(says="<a2><b9>", fills="P<a2>[xy]", max_new_tokens=20).events:
        if isinstance(event, (PlanToken, PlanShortened, PlanDone)):
            state.add(event)
            seen.append("".join(map(chr, state.plan_ids)))
    assert seen == ["<", "<a", "<a2", "<a2>", "<a2><", "<a2><b", "<a2><b9", "<a2>", ""]


def test_no_room_for_another_promise_is_an_ending(play):
    played = play(says="<1><", fills="P<1>[z]", max_new_tokens=12)
    assert (played.written, played.ended.reason) == ("<1>[z]", "length")


def test_no_room_for_another_round_is_an_ending(play):
    played = play(says="<1>|<", fills="P<1>[z]|", max_new_tokens=12)
    assert (played.written, played.answer, played.ended.reason) == ("<1>[z]|", "z", "length")


def test_a_given_plan_that_takes_all_room_leaves_none_for_an_eos(play):
    """`<1>[z]|` are 7 tokens: an EOS would be the eighth."""
    played = play(says="$", fills="P<1>[z]|", plan=["<1>|"], max_new_tokens=7)
    assert (played.written, played.ended.reason) == ("<1>[z]|", "length")


def test_plain_text_ends_at_the_budget(play):
    played = play(says="abcdefghij", max_new_tokens=8)
    assert (played.written, played.answer, played.ended.reason) == ("abcdefgh", "abcdefgh", "length")


def test_eos_with_the_last_token_is_an_end(play):
    assert play(says="abcdefg$", max_new_tokens=8).ended.reason == "eos"


def test_rounds_are_capped(play):
    played = play(says="<a1>|<b1>$", fills="P<a1>[x]|<b1>[y]$", max_rounds=2)
    assert ord("|") in played.queries[4].allowed
    assert ord("|") not in played.queries[-2].allowed  # where the second round may end


@pytest.mark.parametrize(
    "stop_at, written, answer",
    [
        ("", "<", ""),  # the plan's first token
        ("x", "<a3><b1>[x", "x"),
        ("xyc", "<a3><b1>[xyc", "xyc"),  # z is written too, but the answer ends where it was to stop
    ],
)
def test_a_stop_criterion_keeps_the_text_up_to_the_first_blank(play, stop_at, written, answer):
    prompt_and_text = [ord(sign) for sign in "P" + stop_at]
    played = play(
        says="<a3><b1>$",
        fills="P<a3><b1>[xyc][z]$",
        scores=".........." + "519" + ".." + "5",
        should_stop=lambda ids: ids[: len(prompt_and_text)] == prompt_and_text,
    )
    assert played.ended.reason == "stop"
    assert (played.written, played.answer) == (written, answer)


def test_a_stop_after_a_step_out_of_order_keeps_no_text(play):
    asked = []
    played = play(
        says="<a3><b1>$",
        fills="P<a3><b1>[xyc][z]$",
        scores=".........." + "519" + ".." + "5",
        should_stop=lambda ids: asked.append(ids) or len(asked) > len("<a3><b1>"),  # the first step wrote c
    )
    assert (played.written, played.answer, played.ended.reason) == ("<a3><b1>[", "", "stop")


def test_a_stop_criterion_in_plain_text(play):
    played = play(says="xyz$", should_stop=lambda ids: ids[-1] == ord("y"))
    assert (played.written, played.ended.reason) == ("xy", "stop")


def test_a_separator_stands_between_spans_and_never_first(play):
    played = play(says="<a1><b1>|<c1>$", fills="P<a1><b1>[x][y]|<c1>[z]$", separator=", ")
    assert played.answer == "x, y, z$"
    assert played.written == "<a1><b1>[x][y]|<c1>[z]$"


def ranges(played, plans) -> list[list[str]]:
    text = played.answer if plans is played.ended.plans else played.written
    return [[text[span.start : span.stop] for span in spans] for spans in plans]


def test_where_the_spans_stand(play):
    script = {"says": "<a3><b1>|<c2>$", "fills": "P<a3><b1>[xy.][z]|<c2>[uv]$", "separator": ", "}
    played = play(**script)
    assert ranges(played, played.ended.plans) == [["xy", "z"], ["uv"]]
    assert ranges(played, played.ended.written_plans) == [["xy", "z"], ["uv"]]
    assert [[span.length for span in spans] for spans in played.ended.plans] == [[3, 1], [2]]
    assert [["".join(map(chr, span.topic_ids)) for span in spans] for spans in played.ended.plans] == [
        ["a", "b"],
        ["c"],
    ]


def test_where_the_spans_stand_after_a_stop(play):
    played = play(
        says="<a3><b1>$",
        fills="P<a3><b1>[xyc][z]$",
        scores="..........951..9",
        should_stop=lambda ids: ids[-1] == ord("y"),
    )
    assert played.written == "<a3><b1>[xy"
    assert ranges(played, played.ended.plans) == ranges(played, played.ended.written_plans) == [["xy", ""]]


@pytest.mark.parametrize("plan", [["<a2>|", "<b1>$"], ["<a2>|"]])
def test_given_plans_are_filled_and_the_model_goes_on_after_an_open_end(play, plan):
    says = "" if len(plan) == 2 else "<b1>$"
    played = play(says=says, fills=TWO_ROUNDS["fills"], plan=plan)
    assert played.written == TWO_ROUNDS["fills"][1:]
    assert sum(query.purpose == "planning" for query in played.queries) == len(says)


def test_units_scale_promises(play):
    played = play(says="<a2>$", fills="P<a2>[xyzuv]$", unit=2.5)
    assert played.written == "<a2>[xyzuv]$"
    assert played.ended.plans[0][0].length == 5


def test_planning_runs_new_tokens_only_and_denoising_open_spans_only(play):
    played = play(says="<a3><b1>|<c1>$", fills="P<a3><b1>[xyz][w]|<c1>[u]$")
    asked = [(query.purpose, f"{query.positions[0]}-{query.positions[-1]}", query.commits) for query in played.queries]
    assert asked == [
        ("planning", "0-0", False),
        *[("planning", f"{position}-{position}", False) for position in range(1, 9)],
        ("denoising", "9-16", False),  # with the spans, not the last </topic>: that one was run
        ("denoising", "9-13", False),
        ("denoising", "9-13", False),
        ("planning", "9-17", True),  # the commit of both spans carries the <sync/>
        *[("planning", f"{position}-{position}", False) for position in range(18, 22)],
        ("denoising", "22-24", False),
    ]


def test_dense_spans_run_together_until_all_are_done(play):
    played = play(says="<a3><b1>$", fills="P<a3><b1>[xyz][w]$", dense=True)
    denoising = [query for query in played.queries if query.purpose == "denoising"]
    assert [(query.positions[0], query.positions[-1]) for query in denoising] == [(9, 16)] * 3
    assert {span for query in denoising for span in query.spans} == {0}  # one label: they see each other


def test_labels_of_what_is_run(play):
    played = play(**TWO_ROUNDS)
    commit = next(query for query in played.queries if query.commits)
    assert (commit.spans, commit.rounds) == ([0, 0, 0, 0, -1], [0, 0, 0, 0, 1])
    last = played.queries[-1]
    assert (last.spans, last.rounds) == ([1, 1, 1], [1, 1, 1])
