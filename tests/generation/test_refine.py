"""Draft and refine: what is blanked again, what runs, when text comes; a scripted model, in letters."""

import pytest
import torch

from planned_diffusion.generation.decoders.block_diffusion import block_diffusion
from planned_diffusion.generation.events import Text, TokensBlanked
from planned_diffusion.generation.live_state import LiveState

ONE_ROUND = {"says": "<a3><b1>$", "fills": "P<a3><b1>[xyz][w]$", "scores": ".........." + "517" + ".." + "3"}


def test_the_least_sure_tokens_of_the_whole_answer_are_written_again(play):
    played = play(**ONE_ROUND, refine_share=0.5)
    assert [event.positions for event in played.of(TokensBlanked)] == [(11, 15)]
    assert played.steps == ["12:z 15:w", "10:x", "11:y", "15:w", "11:y"]
    assert played.written == "<a3><b1>[xyz][w]$"


def test_everything_sees_everything_then(play):
    last = [query for query in play(**ONE_ROUND, refine_share=0.5).queries if query.purpose == "denoising"][-2:]
    for query in last:
        assert query.positions == list(range(9, 17))  # from the first span on
        assert len(set(query.spans)) == 1 and not query.commits
    assert [[query.positions[index] + 1 for index in query.wanted] for query in last] == [[11, 15], [11]]
    assert [last[0].token_ids.count(ord("_")), last[1].token_ids.count(ord("_"))] == [2, 1]


def test_plans_of_later_rounds_stay_public_and_run_again(play):
    played = play(says="<a2>|<b1>$", fills="P<a2>[xy]|<b1>[z]$", refine_share=0.3)
    last = played.queries[-1]
    assert last.positions == list(range(5, 17))  # both spans, and the plan between them
    assert {span for span, place in zip(last.spans, last.positions, strict=True) if place in (9, 10, 13)} == {-1}
    assert [last.rounds[last.positions.index(place)] for place in (6, 13, 15)] == [0, 1, 1]


def test_nothing_is_blanked_without_a_share(play):
    plain, refined = play(**ONE_ROUND), play(**ONE_ROUND, refine_share=0.01)
    assert not plain.of(TokensBlanked) and len(refined.of(TokensBlanked)[0].positions) == 1  # at least one


def test_pads_that_closed_a_span_are_left_alone(play):
    script = {"says": "<a5>$", "fills": "P<a5>[xy.qr]$", "scores": "......21976"}
    assert play(**script, refine_share=1.0).of(TokensBlanked)[0].positions == (6, 7, 8)


def test_text_comes_at_the_end(play):
    played = play(**ONE_ROUND, refine_share=0.5)
    assert [text.token_ids for text in played.of(Text)] == [tuple(map(ord, "xyzw"))]
    assert played.events.index(played.of(Text)[0]) > played.events.index(played.of(TokensBlanked)[0])


def test_text_that_declines_to_plan_comes_at_once(play):
    played = play(says="xyz$", refine_share=0.5)
    assert [text.token_ids for text in played.of(Text)] == [(ord("x"),), (ord("y"),), (ord("z"),)]


def test_what_was_written_is_handed_out_when_time_is_up(play):
    asked, third_step = [], len("<a3><b1>") + 3
    played = play(**ONE_ROUND, refine_share=0.5, should_stop=lambda ids: asked.append(ids) or len(asked) == third_step)
    assert (played.answer, played.ended.reason) == ("xyz", "stop") or played.answer == "xyzw"
    assert not played.of(TokensBlanked)
    assert "".join(chr(token) for text in played.of(Text) for token in text.token_ids) == played.answer


def test_a_board_forgets_what_is_blanked(play):
    board = LiveState()
    for event in play(**ONE_ROUND, refine_share=0.5).events:
        if isinstance(event, TokensBlanked):
            board.add(event)
            assert 11 not in board.tokens and 15 not in board.tokens and 10 in board.tokens
        else:
            board.add(event)
    assert board.tokens[11] == ord("y")


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_is_a_share(share, model):
    with pytest.raises(ValueError, match=f"refine_share is {share}; give a number of at least 0 and at most 1"):
        model.generate(torch.tensor([[1, 2, 3]]), refine_share=share)


def test_block_diffusion_refines_as_one_span(play, letters):
    played = play(
        decoder=block_diffusion, fills="Pabcd", scores=".9192", max_new_tokens=4, block_size=2, refine_share=0.5,
        suppress_in_spans=letters.tags - {letters.span_pad},
    )  # fmt: skip
    assert played.of(TokensBlanked)[0].positions == (2, 4)
    assert played.steps == ["1:a", "2:b", "3:c", "4:d", "4:d", "2:b"]
    assert played.queries[-1].positions == [1, 2, 3, 4] and set(played.queries[-1].spans) == {2}
