"""Rows of spans that begin with their promise again: it is seen, and never noised, padded, learnt or a guess."""

from dataclasses import replace

import numpy as np
import pytest

from planned_diffusion.generation.visibility import CAUSAL, CLEAN, DRAFT, NOISY
from planned_diffusion.training.examples import encode_example
from planned_diffusion.training.objective import Objective
from planned_diffusion.training.row import NO_LABEL
from planned_diffusion.training.rows import draw_row

ANSWER = (
    "<promise>-<topic>a 2</topic><promise>-<topic>12 1</topic><async>xyz</async><async>u</async><sync/>"
    "<promise>-<topic>b 1</topic><async>vw</async>"
)


@pytest.fixture
def row(tokenizer, control):
    """row(**fields of the objective): the row of ANSWER, all content masked, no pads beyond whole units."""
    control = replace(control, repeat_promises=True)
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": ANSWER}]
    example = encode_example(messages, tokenizer, control)
    fixed = {"span_padding": [0, 0], "noise_range": [1.0, 1.0], "complementary_masks": False}
    return lambda **fields: draw_row(example, Objective(**{**fixed, **fields}), control, np.random.default_rng(0))


@pytest.fixture
def spelled(tokenizer):
    """spelled(ids): their text with one sign for each tag; `.` where there is no label."""
    signs = {"<promise>-<topic>": "P", "</topic>": "T", "<async>": "<", "</async>": ">", "<sync/>": "S"}
    signs |= {"[PAD]": "_", "<|mask|>": "#", "<|im_end|>": "E"}

    def spell(ids):
        words = ("." if token == NO_LABEL else tokenizer.decode([int(token)]) for token in ids)
        return "".join(signs.get(word, word) for word in words)

    return spell


def test_a_row_by_hand(row, spelled):
    made = row()
    noisy = made.stream == NOISY
    clean = spelled(made.ids[made.stream == CLEAN])
    assert clean.endswith("Pa 2TP12 1T<a 2Txyz><12 1Tu>SPb 1T")
    labels = spelled(made.labels[made.stream == CLEAN])
    assert labels.endswith("Pa 2TP12 1TS" + "." * len("<a 2Txyz><12 1Tu>") + "Pb 1TE")
    assert spelled(made.ids[noisy]) == "<a 2T###><12 1T#><b 1T##>"
    assert spelled(made.labels[noisy]) == "....xyz.." + ".....u.." + "....vw.."
    assert made.targets[1] == 6


def test_left_to_right_the_promise_is_no_label(row, spelled):
    made = row(span_next_token_weight=0.5)
    causal = made.stream == CAUSAL
    assert spelled(made.ids[causal]) == "<a 2Txyz<12 1Tu<b 1Tvw"
    labels = spelled(made.labels[causal])
    assert labels == "....xyz_" + ".....u_" + "....vw_"
    weights = made.weights[causal]
    assert weights.tolist() == [0.0 if label == "." else 0.5 for label in labels]
    assert made.targets[2] == 9


def test_room_counts_content_alone(row, spelled):
    made = row(fill_promised_room=True, tokens_per_length_unit=4)
    assert spelled(made.ids[made.stream == NOISY]) == "<a 2T####><12 1T####><b 1T####>"


def test_guesses_stand_behind_text_alone(row, spelled):
    """All places of a part but its last may be an anchor: the end of the promise, and the text."""
    made = row(draft_weight=1.0, draft_anchors=99, draft_tokens=2)
    anchors = {int(stream) - DRAFT for stream in made.stream if stream >= DRAFT}
    causal = made.stream == CAUSAL
    places = dict(zip(made.position[causal].tolist(), made.ids[causal].tolist(), strict=True))
    assert spelled([token for place, token in places.items() if place in anchors]) == "Txy" + "T" + "Tv"
