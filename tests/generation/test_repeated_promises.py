"""Spans that begin with their promise again: given tokens, which are paid for, run once and are no part of the text."""

from functools import partial

import pytest

from planned_diffusion.configuration_planned_diffusion import PlannedDiffusionConfig
from planned_diffusion.generation.decoders.parallel_autoregressive import parallel_autoregressive
from planned_diffusion.generation.events import PlanDone
from planned_diffusion.generation.tokens import ControlTokens
from planned_diffusion.generation.visibility import CAUSAL, CLEAN

CANVAS = "P<a2>[a2>xy]|<b1><c3>[b1>z][c3>uvw]$"


@pytest.fixture
def repeated(play):
    """repeated(says, fills, decoder=planned, **of request_in_letters) -> what a model in letters played."""
    return partial(play, repeat_promises=True)


def test_the_promise_stands_in_its_span_and_not_in_the_answer(repeated):
    played = repeated(says="<a2>|<b1><c3>$", fills=CANVAS)
    assert played.steps == ["9:x", "10:y", "25:z 31:u", "32:v", "33:w"]
    assert (played.answer, played.ended.reason) == ("xyzuvw$", "eos")
    assert played.written == "<a2>[xy]|<b1><c3>[z][uvw]$"
    assert [[(span.start, span.stop) for span in one] for one in played.ended.plans] == [[(0, 2)], [(2, 3), (3, 6)]]
    spans = [span for one in played.ended.written_plans for span in one]
    assert [played.written[span.start : span.stop] for span in spans] == ["xy", "z", "uvw"]
    first, second = played.of(PlanDone)
    assert [(span.opened, span.extent) for span in first.spans] == [(range(5, 9), range(5, 12))]
    assert [span.opened for span in second.spans] == [range(21, 25), range(27, 31)]


def test_a_form_or_separator_sees_the_text_alone(repeated):
    assert repeated(says="<a2>|<b1><c3>$", fills=CANVAS, separator="-").answer == "xy-z-uvw$"


def test_left_to_right_the_opening_runs_once(repeated):
    played = repeated(says="<a2><b1>$", fills="P<a2><b1>[a2>xy][b1>z]$", decoder=parallel_autoregressive)
    ran = [
        [
            f"{position}{chr(token)}{'' if stream == CLEAN else '<'}"
            for position, token, stream in zip(query.positions, query.token_ids, query.streams, strict=True)
        ]
        for query in played.queries
        if CAUSAL in query.streams
    ]
    assert ran == [["9[<", "10a<", "112<", "12><", "16[<", "17b<", "181<", "19><"], ["13x<"]]
    assert played.answer == "xyz$"


@pytest.mark.parametrize("room", range(1, 30))
def test_the_room_of_a_plan_counts_what_is_repeated(room, repeated):
    """<a2> takes 4 tokens of plan, 4 of opening, 2 of room and a closing tag; <b3> one more; and EOS must fit."""
    fits = {24: "<a2><b3>[xy][zzz]$", 12: "<a2>[xy]"}
    written = next((text for least, text in fits.items() if room >= least), None)
    begun = "<a2><b3>$"[: next(count for count, least in ((1, 9), (2, 11), (3, 12), (9, 30)) if room < least)]
    says = begun + "w" * 30  # plain text, where not even the cheapest end of the first promise fits
    fills = "P<a2><b3>[a2>xy][b3>zzz]$" if room >= 24 else "P<a2>[a2>xy]"
    played = repeated(says=says, fills=fills, max_new_tokens=room)
    assert (played.written if written else None) == written
    assert played.ended.reason == ("eos" if room >= 24 else "length")


def test_the_configuration_says_so():
    tags = {name: index for index, name in enumerate(("mask", "promise_start", "topic_end", "async_start"))}
    tags |= {"async_end": 4, "sync": 5, "span_pad": 6, "eos": 7}
    fields = {f"{name}_token_id": token for name, token in tags.items()} | {"digit_token_ids": list(range(10, 20))}
    for repeats in (False, True):
        config = PlannedDiffusionConfig.from_dict(PlannedDiffusionConfig(**fields, repeat_promises=repeats).to_dict())
        assert ControlTokens.from_config(config).repeat_promises is repeats
    with pytest.raises(ValueError, match="repeat_promises is 'yes'; give true or false"):
        PlannedDiffusionConfig(**fields, repeat_promises="yes")
