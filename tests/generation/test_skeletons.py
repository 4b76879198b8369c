"""Partly filled canvases: known text stays, blanks are filled up to it, and everything in the span sees it."""

import pytest
import torch

from planned_diffusion.generation.decoders.table import DECODERS
from planned_diffusion.generation.events import PlanDone, SpanClosed, TokensWritten
from planned_diffusion.generation.live_state import LiveState
from planned_diffusion.generation.plan import Plan, Unit, write_round
from planned_diffusion.generation.skeleton import Blank, Kept, Skeleton, read_skeleton

PROMPT = torch.tensor([[5, 60, 33, 97]])


def spelled(text: str) -> list[int]:
    return list(map(ord, text))


def test_pieces_as_ids(letters):
    skeleton = read_skeleton(["ab", Blank(2), [99], Blank(1, exact=True), "d"], letters, spelled)
    assert skeleton == Skeleton(tuple(spelled("ab__c_d")), frozenset({5}))


@pytest.fixture
def fill(drive, request_in_letters, letters):
    """fill(pieces, model's text for the span) -> Played; the span's content starts at P<a9>[ , position 6."""
    from dataclasses import replace

    from planned_diffusion.generation.decoders.planned import planned
    from tests.generation.conftest import ScriptedModel

    def run(pieces, fills, scores="", **settings):
        part = write_round([(spelled("a"), pieces)], letters.eos[0], letters, Unit(1.0), spelled)
        request = replace(request_in_letters(**settings), plan=Plan((part,)))
        model = ScriptedModel(fills="P<a9>[" + fills + "]", scores="......" + scores)

        def answer(query):
            single = query if not isinstance(query.allowed, list) else replace(query, allowed=query.allowed[0])
            return model(single)

        return drive(planned(request), answer), model

    return run


def test_known_text_stays_and_only_blanks_are_asked_for(fill):
    played, _ = fill(["ab", Blank(2), "c", Blank(1), "d"], "abxyczd")
    assert played.answer == "abxyczd$"
    assert played.steps == ["8:x", "9:y", "11:z"]
    first = played.queries[0]
    assert "".join(map(chr, first.token_ids)).endswith("[ab__c_d]")
    assert [first.positions[index] + 1 for index in first.wanted] == [8, 9, 11]


def test_a_pad_closes_its_own_gap(fill):
    played, _ = fill([Blank(3), "c", Blank(2)], "x.?cyz", scores="19....")
    assert played.steps[0] == "7:. 8:."
    assert played.answer == "xcyz$"


def test_every_gap_may_close_in_one_step(fill):
    played, _ = fill([Blank(3), "c", Blank(3)], "x.?cy.?", scores="1911191", confidence_threshold=0.8)
    assert played.steps[0] == "7:. 8:. 11:. 12:."
    assert played.answer == "xcy$"


def test_an_exact_blank_may_not_hold_a_pad(fill, letters):
    played, _ = fill([Blank(2), "c", Blank(2, exact=True)], "xycuv")
    allowed = played.queries[0].allowed
    assert [letters.span_pad in one for one in allowed] == [True, True, False, False]
    assert [list(rows) for rows, _ in played.queries[0].alike()] == [[0, 1], [2, 3]]


def test_views_show_the_known_text(fill):
    played, _ = fill(["ab", Blank(2)], "abxy")
    board = LiveState()
    for event in played.events:
        board.add(event)
        if isinstance(event, PlanDone):
            assert {place: chr(token) for place, token in board.tokens.items()} == {6: "a", 7: "b"}


# With a model


def generate(model, pieces, **fields):
    fields = {"max_new_tokens": 60, "keep_plan": True, "return_dict_in_generate": True, **fields}
    out = model.generate(PROMPT, plan=[[[([30], pieces), ([31], 4)]]], **fields)
    span = out.plans[0][0][0]
    return out.sequences[0, span.start : span.stop].tolist(), out


@pytest.mark.parametrize("attention", ["sparse", "dense"])
def test_a_canvas_equals_a_slow_reading(attention, build_model):
    """One step at a time by hand, everything recomputed: the known tokens are seen from the first step on."""
    model = build_model(tokens_per_length_unit=1)
    pieces = [[40, 41], Blank(3, exact=True), [42], Blank(2, exact=True)]
    written, _ = generate(model, pieces, span_attention=attention)
    ids = [*PROMPT[0].tolist(), 104, 30, 23, 105, 104, 31, 19, 105]
    plan = len(ids)
    ids += [102, 40, 41, 101, 101, 101, 42, 101, 101, 103, 102, 101, 101, 101, 101, 103]
    inside = torch.zeros(len(ids), len(ids), dtype=torch.bool)
    inside[plan : plan + 10, plan : plan + 10] = inside[plan + 10 :, plan + 10 :] = True
    if attention == "dense":
        inside[plan:, plan:] = True
    visible = torch.ones(len(ids), len(ids), dtype=torch.bool).tril()
    visible[:, plan:] = False
    visible |= inside
    spans = [range(plan + 1, plan + 9), range(plan + 11, plan + 15)]
    blanks = {place for place in range(len(ids)) if ids[place] == 101}
    while blanks:
        with torch.no_grad():
            logits = model(torch.tensor([ids]), attention_mask=visible[None, None]).logits[0].float()
        logits[:, [100, *range(101, 107)]] = -torch.inf
        for span in spans:
            of_span = sorted(blanks.intersection(span))
            if not of_span:
                continue
            rows = {}
            for place in of_span:
                row = logits[place - 1].clone()
                if span is spans[0]:
                    row[107] = -torch.inf  # exact
                rows[place] = row
            best = max(of_span, key=lambda p: float((rows[p].softmax(-1) * rows[p].log_softmax(-1)).nansum()))
            ids[best] = int(rows[best].argmax())
            blanks.discard(best)
            if ids[best] == 107:
                for place in of_span:
                    if place > best:
                        ids[place] = 107
                        blanks.discard(place)
    assert written == ids[plan + 1 : plan + 9]


def test_mixed_with_other_requests_it_answers_alike(model):
    canvas = [[[([30], [[40, 41], Blank(3), [42], Blank(2, exact=True)])]]]
    plain = [[[([31], 6)]]]
    fields = {"max_new_tokens": 60, "do_sample": True, "seed": 5}
    alone = [model.generate(PROMPT, plan=plan, **fields)[0].tolist() for plan in (canvas, plain)]
    both = model.generate(PROMPT.repeat(2, 1), plan=[canvas[0], plain[0]], pad_token_id=99, **fields)
    for row, expected in zip(both.tolist(), alone, strict=True):
        assert row[: len(expected)] == expected


def test_a_form_in_text(build_model, byte_tokenizer):
    model = build_model(tokens_per_length_unit=4)
    pieces = ['{"name": "', Blank(6), '", "code": "', Blank(2, exact=True), '"}']
    out = model.generate(
        PROMPT, plan=[[[("form", pieces)]]], max_new_tokens=80, tokenizer=byte_tokenizer, return_dict_in_generate=True,
        suppress_in_spans=[1, *range(94, 112)],  # one character per token, and no quotation marks
    )  # fmt: skip
    text = byte_tokenizer.decode(out.sequences[0, 4:], skip_special_tokens=True)
    assert text.startswith('{"name": "') and '", "code": "' in text and text.endswith('"}')
    head, tail = text.removeprefix('{"name": "').removesuffix('"}').split('", "code": "')
    assert (len(head), len(tail)) == (6, 2)


# Parts that are kept

PLANNERS = [name for name, decoder in DECODERS.items() if decoder.plans]
LENGTHS = [[6, 4], [5, 3]]


@pytest.fixture(scope="module")
def padder(build_model):
    """A random model that likes to end its parts early; it leaves one of them empty."""
    model = build_model(tokens_per_length_unit=1, seed=2)
    with torch.no_grad():
        # One constant in every hidden state, so that one column of the head acts as a bias.
        model.model.embed_tokens.weight[:, 0] = 1.0
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight[0] = 0.0
            layer.mlp.down_proj.weight[0] = 0.0
        model.lm_head.weight[:, 0] = 0.0
        model.lm_head.weight[107, 0] = 12.0
    return model


def two_rounds(model, kept: dict, listener=None, **fields):
    """Return the text of every part, as ids, of a plan of two rounds in which some parts are given."""
    plan = [[([30 + part], kept.get((number, part), length)) for part, length in enumerate(lengths)]
            for number, lengths in enumerate(LENGTHS)]  # fmt: skip
    out = model.generate(
        PROMPT, plan=[plan], max_new_tokens=90, return_dict_in_generate=True, listener=listener, **fields
    )
    ids = out.sequences[0].tolist()
    return {
        (number, part): ids[span.start : span.stop]
        for number, spans in enumerate(out.plans[0]) for part, span in enumerate(spans)
    }  # fmt: skip


@pytest.mark.parametrize("decoding", PLANNERS)
@pytest.mark.parametrize("kept", [[(0, 0)], [(0, 1)], [(0, 0), (0, 1)], [(1, 1)], [(1, 0), (1, 1)], [(0, 1), (1, 0)]])
def test_to_keep_what_was_written_changes_nothing(decoding, kept, padder):
    """Parts of a round do not see each other, and later rounds see a kept part as one that was written."""
    answer = two_rounds(padder, {}, decoding=decoding)
    events = []
    given = {(number, part): Kept(answer[number, part], LENGTHS[number][part]) for number, part in kept}
    again = two_rounds(padder, given, lambda _, event: events.append(event), decoding=decoding)
    assert again == answer
    assert any(len(answer[place]) < LENGTHS[place[0]][place[1]] for place in answer)  # pads are kept as well
    placed = {
        (event.round, span.index): span for event in events if isinstance(event, PlanDone) for span in event.spans
    }
    written = {position for event in events if isinstance(event, TokensWritten) for position in event.positions}
    for place, span in placed.items():
        assert written.isdisjoint(span.positions) == (place in kept)
    closed = [(event.round, event.span.index) for event in events if isinstance(event, SpanClosed)]
    assert set(closed) == set(placed)


@pytest.mark.parametrize("attention", ["sparse", "dense"])
def test_another_text_that_is_kept_changes_what_sees_it(attention, build_model):
    model = build_model(tokens_per_length_unit=1)
    answer = two_rounds(model, {}, span_attention=attention)
    other = two_rounds(model, {(0, 0): Kept([50, 51, 52, 53, 54, 55])}, span_attention=attention)
    assert other[0, 0] == [50, 51, 52, 53, 54, 55]
    assert (other[0, 1] == answer[0, 1]) == (attention == "sparse")
    assert other[1, 0] != answer[1, 0]
