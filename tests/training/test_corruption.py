"""Rows: padding, noise, streams, labels and weights."""

import numpy as np
import pytest

from planned_diffusion.generation.visibility import CAUSAL, CLEAN, NOISY, Labels, dense_mask
from planned_diffusion.training.collator import as_batch
from planned_diffusion.training.objective import Objective
from planned_diffusion.training.row import NEXT_TOKEN, PLAIN, PLAN, SPAN
from planned_diffusion.training.rows import draw_row

# p q = prompt, P = promise, a b c = topics, 1 2 = digits, T = </topic>, < > = <async>, </async>, S = <sync/>, E = EOS
TWO_ROUNDS = "pqPa1TPb2T<xy><z>SPc1T<w>E"


def test_a_row_by_hand(row_of, written):
    row = row_of(TWO_ROUNDS, plan_loss_weight=0.5)
    #                                       clean, last round's span and EOS left out | noisy copies of all spans
    assert written(row.ids) == "pqPa1TPb2T<xy_><z_>SPc1T" + "<###><##><##>"
    assert written(row.labels) == ".Pa1TPb2TS.........Pc1TE" + "xy_..z_..w_.."
    # Position is the place in the padded text, as if written out.
    assert row.position.tolist() == [*range(24), *range(10, 15), *range(15, 19), *range(24, 28)]
    assert row.stream.tolist() == [CLEAN] * 24 + [NOISY] * 13
    assert row.span.tolist() == [-1] * 10 + [0] * 5 + [1] * 4 + [-1] * 5 + [0] * 5 + [1] * 4 + [2] * 4
    assert row.round.tolist() == [0] * 19 + [1] * 5 + [0] * 9 + [1] * 4
    expected = [0.0 if letter == "." else 0.5 for letter in ".Pa1TPb2TS.........Pc1TE"]
    expected += [0.0 if letter == "." else 1.0 for letter in "xy_..z_..w_.."]
    assert row.weights.tolist() == expected
    assert row.targets.tolist() == [14, 7, 0, 0, 0]  # plan tokens, content with pads


def test_dense_spans_of_a_round_share_a_label(row_of):
    row = row_of(TWO_ROUNDS, span_attention="dense")
    assert row.span.tolist() == [-1] * 10 + [0] * 9 + [-1] * 5 + [0] * 9 + [1] * 4


def test_causal_copies_are_read_left_to_right_without_pads(row_of, written):
    row = row_of(TWO_ROUNDS, span_next_token_weight=0.25)
    copies = row.stream == CAUSAL
    assert written(row.ids[copies]) == "<xy<z<w"
    assert written(row.labels[copies]) == "xy_z_w_"  # the last token of each predicts its end
    assert row.weights[copies].tolist() == [0.25] * 7
    assert row.position[copies].tolist() == [10, 11, 12, 15, 16, 24, 25]
    assert (row.loss_part[copies] == NEXT_TOKEN).all() and row.targets.tolist() == [14, 7, 7, 0, 0]


@pytest.mark.parametrize("text", ["pqxyE", TWO_ROUNDS])
def test_plain_answers_and_tagged_ones_used_as_plain_text(text, row_of, written):
    row = row_of(text, plain_share=1.0)
    answer = "xy" if text == "pqxyE" else "xyzw"
    assert written(row.ids) == "pq" + answer
    assert written(row.labels) == "." + answer + "E"
    assert row.weights.tolist() == [0.0] + [1.0] * (len(answer) + 1)
    assert (row.loss_part == PLAIN).all() and row.targets.tolist() == [0, 0, 0, len(answer) + 1, 0]


@pytest.mark.parametrize(
    "use", [{"plain_share": 1.0}, {"block_share": 1.0, "block_sizes": [2]}], ids=["plain", "blocks"]
)
def test_plain_uses_of_tagged_answers_may_leave_the_decision_to_plan_alone(use, row_of):
    """Only the label at the prompt's last token weighs less; an answer that has no plan still teaches to write none."""
    row, full = row_of(TWO_ROUNDS, plain_start_weight=0.2, **use), row_of(TWO_ROUNDS, **use)
    assert full.weights[1] == 1 and row.weights[1] == pytest.approx(0.2)
    assert row.weights[[0, *range(2, len(row.ids))]].tolist() == full.weights[[0, *range(2, len(row.ids))]].tolist()
    assert row.targets.tolist() == full.targets.tolist()
    assert row_of("pqxyE", plain_start_weight=0.2, **use).weights.tolist() == row_of("pqxyE", **use).weights.tolist()


def test_a_masked_token_is_labelled_at_its_left_neighbour_and_weighs_one_over_t(control, example_of):
    example, objective = (
        example_of(TWO_ROUNDS),
        Objective(span_padding=[0, 3], noise_range=[0.1, 0.9], complementary_masks=False),
    )
    rng = np.random.default_rng(0)
    for _ in range(50):
        row = draw_row(example, objective, control, rng)
        noisy = np.flatnonzero(row.stream == NOISY)
        levels = {}
        for index in noisy:
            is_labelled = row.labels[index] != -100
            assert is_labelled == (index + 1 < len(row.ids) and row.ids[index + 1] == control.mask)
            if is_labelled:
                level = levels.setdefault(row.span[index], row.weights[index])  # one t per span
                assert row.weights[index] == level and 1 / 0.9 <= level <= 1 / 0.1
        assert (row.loss_part[noisy] == SPAN).all() and (row.loss_part[row.stream == CLEAN] == PLAN).all()


@pytest.mark.parametrize("attention", ["sparse", "dense"])
def test_the_expected_weight_of_a_content_token_is_one(attention, control, example_of):
    example = example_of("pqPa1TPb1T<xy><z>E")
    objective = Objective(
        span_attention=attention, span_padding=[0, 0], noise_range=[0.05, 1.0], complementary_masks=False
    )
    rng, total = np.random.default_rng(1), 0.0
    for _ in range(6000):
        row = draw_row(example, objective, control, rng)
        total += row.weights[row.stream == NOISY].sum()
    assert total / 6000 / 3 == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("attention", ["sparse", "dense"])
def test_complementary_views_mask_every_content_token_once(attention, control, example_of):
    fields = {"span_attention": attention, "span_padding": [0, 2], "noise_range": [0.2, 0.8]}
    example, rng = example_of(TWO_ROUNDS), np.random.default_rng(0)
    for _ in range(20):
        row = draw_row(example, Objective(**fields, complementary_masks=True), control, rng)
        noisy = np.flatnonzero(row.stream == NOISY)
        first, second = np.split(noisy, 2)
        assert not set(row.span[first]) & set(row.span[second])  # they do not see each other
        assert (row.position[first] == row.position[second]).all()
        is_masked = row.ids[noisy] == control.mask
        masked_in = is_masked[: len(first)].astype(int) + is_masked[len(first) :]
        tags = np.isin(row.ids[first], [control.async_start, control.async_end])
        assert (masked_in == ~tags).all() and row.targets[SPAN] == (~tags).sum()
        for index in np.flatnonzero(row.weights[first] * np.append(row.weights[second][1:], 0)):
            t = 0.5 / row.weights[first[index]]  # both views of this span have labels: t and 1 - t
            others = row.weights[second][row.span[second] == row.span[second[index]]]
            assert others[others > 0] == pytest.approx(0.5 / (1 - t), rel=1e-5)


def test_the_expected_weight_over_both_views_is_one(control, example_of):
    example = example_of("pqPa1TPb1T<xy><z>E")
    objective = Objective(span_padding=[0, 0], noise_range=[0.05, 0.95], complementary_masks=True)
    rng, total = np.random.default_rng(1), 0.0
    for _ in range(4000):
        row = draw_row(example, objective, control, rng)
        total += row.weights[row.stream == NOISY].sum()
    assert total / 4000 / 3 == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("complementary", [False, True])
def test_a_share_of_spans_is_masked_whole_and_the_expected_weight_stays_one(complementary, control, example_of):
    example = example_of("pqPa1TPb1T<xy><z>E")
    objective = Objective(
        span_padding=[0, 0], noise_range=[0.05, 0.5], fully_masked_share=0.4, complementary_masks=complementary
    )
    rng, total, whole, draws = np.random.default_rng(1), 0.0, 0, 4000
    for _ in range(draws):
        row = draw_row(example, objective, control, rng)
        noisy = row.stream == NOISY
        first = row.span[noisy] == 0
        total += row.weights[noisy].sum()
        is_masked = (row.ids[noisy][first] == control.mask)[1:3]
        whole += is_masked.all() and row.weights[noisy][first].max() == 1.0
    assert total / draws / 3 == pytest.approx(1.0, abs=0.05)
    assert whole / draws == pytest.approx(0.4, abs=0.03)


def test_padding_covers_its_whole_range(row_of):
    drawn = {int(row_of("pqPa1T<x>E", seed, span_padding=[1, 4]).targets[SPAN]) - 1 for seed in range(60)}
    assert drawn == {1, 2, 3, 4}


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"span_attention": "causal"}, "span_attention is 'causal'"),
        ({"span_padding": [3, 1]}, "span_padding"),
        ({"tokens_per_length_unit": 0}, "tokens_per_length_unit"),
        ({"noise_range": [0.0, 1.0]}, "noise_range"),
        ({"noise_range": [0.5, 1.5]}, "noise_range"),
        ({"plan_loss_weight": -1.0}, "plan_loss_weight"),
        ({"span_next_token_weight": float("nan")}, "span_next_token_weight"),
        ({"plain_share": 1.1}, "plain_share"),
        ({"plain_start_weight": -0.1}, "plain_start_weight"),
        ({"fully_masked_share": -0.1}, "fully_masked_share"),
        ({"block_share": -0.1}, "block_share"),
        ({"draft_weight": -1.0}, "draft_weight is -1.0; give a finite number"),
        ({"draft_weight": float("inf")}, "draft_weight is inf; give a finite number"),
        ({"draft_anchors": 0}, "draft_anchors is 0; give a number of tokens, at least 1"),
        ({"draft_tokens": 0}, "draft_tokens is 0; give a number of tokens, at least 1"),
        ({"draft_decay": 0.0}, "draft_decay is 0.0; give a fraction above 0"),
        ({"draft_decay": 1.5}, "draft_decay is 1.5; give a fraction above 0"),
        ({"draft_decay": float("nan")}, "draft_decay is nan; give a fraction above 0"),
        ({"block_sizes": []}, "block_sizes"),
        ({"block_sizes": [4, 0]}, "block_sizes"),
        ({"seed": -1}, "seed"),
    ],
)
def test_refuses_objectives_outside_their_range(fields, complaint):
    with pytest.raises(ValueError, match=complaint):
        Objective(**fields)


@pytest.mark.parametrize("padding, content", [([0, 0], 4), ([1, 1], 4), ([2, 2], 4), ([3, 3], 8)])
def test_spans_fill_the_room_that_a_promise_gives(row_of, padding, content):
    """Two content tokens and the pads drawn, filled to a multiple of the length unit."""
    row = row_of("pqPa1T<xy>E", 0, span_padding=padding, fill_promised_room=True, tokens_per_length_unit=4)
    assert int(row.targets[SPAN]) == content


# Answers in blocks


@pytest.mark.parametrize("text", ["pqxyzwE", "pqPa1TPb2T<xy><z>SPc1T<w>E"], ids=["plain", "tagged"])
def test_an_answer_in_blocks_by_hand(text, row_of, written):
    """x y z w EOS in blocks of three: the second is filled with one pad."""
    row = row_of(text, block_share=1.0, block_sizes=[3])
    #                    clean: prompt and first block | noisy
    assert written(row.ids) == "pqxyz" + "######"
    assert written(row.labels) == ".x..w" + "yz.E_."
    assert row.position.tolist() == [0, 1, 2, 3, 4, 2, 3, 4, 5, 6, 7]
    assert row.span.tolist() == [-1, -1, 0, 0, 0, 0, 0, 0, 1, 1, 1]
    assert row.round.tolist() == [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1]
    assert row.stream.tolist() == [CLEAN] * 5 + [NOISY] * 6
    assert row.weights.tolist() == [0, 1, 0, 0, 1] + [1, 1, 0, 1, 1, 0]
    assert (row.loss_part == SPAN).all() and row.targets.tolist() == [0, 6, 0, 0, 0]


def test_a_block_for_everything_is_a_canvas_of_plain_diffusion(row_of, written):
    row = row_of("pqxyE", block_share=1.0, block_sizes=[8])
    assert written(row.ids) == "pq" + "#" * 8
    assert written(row.labels) == ".x" + "yE_____."
    assert row.weights.tolist() == pytest.approx([0, 1, 1, 1, *[0.2] * 5, 0])  # five pads weigh as one token
    assert row.targets.tolist() == [0, 4, 0, 0, 0]


def test_blocks_of_one_are_left_to_right_training(row_of, written):
    row, plain = row_of("pqxyzE", block_share=1.0, block_sizes=[1]), row_of("pqxyzE")
    clean = row.stream == CLEAN
    assert written(row.labels[clean]) == written(plain.labels) == ".xyzE"
    assert row.weights[clean].tolist() == plain.weights.tolist() and not row.weights[~clean].any()


def test_the_expected_weight_of_every_token_in_blocks_is_one(control, example_of):
    example, rng = example_of("pqxyzwxyzE"), np.random.default_rng(1)
    objective, total = Objective(block_share=1.0, block_sizes=[4], noise_range=[0.05, 1.0]), np.zeros(11)
    for _ in range(4000):
        row = draw_row(example, objective, control, rng)
        np.add.at(total, row.position + 1, row.weights / 4000)
    assert total[2:10] == pytest.approx(np.ones(8), abs=0.15)


def test_a_block_sees_what_generation_shows(row_of):
    """Noisy tokens: their block, both ways, and the clean blocks before it; clean ones never see noisy ones."""
    row = row_of("pqxyzwE", block_share=1.0, block_sizes=[2])
    batch = as_batch([row])
    labels = Labels(*(batch[name] for name in ("document", "span", "round", "stream")), batch["position_ids"])
    mask = dense_mask(labels, labels)[0]
    count = len(row.ids)
    for query in range(count):
        for key in range(count):
            same_block = row.span[query] == row.span[key] != -1 and row.stream[query] == row.stream[key]
            before = row.stream[key] == CLEAN and row.span[key] < row.span[query]
            in_prompt = row.span[key] == -1 and row.position[key] <= row.position[query]
            assert bool(mask[query, key]) == bool(same_block or before or in_prompt), (query, key)
