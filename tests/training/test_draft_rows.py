"""Drafts: blanks behind anchors, what they see, what they learn and how much it counts."""

import numpy as np
import pytest
import torch

from planned_diffusion.generation.visibility import CAUSAL, CLEAN, DRAFT, NOISY, Labels, dense_mask
from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM
from planned_diffusion.training import row as parts
from planned_diffusion.training.collator import as_batch
from planned_diffusion.training.dataset import positions_at_most, within
from planned_diffusion.training.loss import planned_diffusion_loss
from planned_diffusion.training.objective import Objective
from planned_diffusion.training.rows import draw_row

TWO_ROUNDS = "pqPa1TPb2T<xy><z>SPc1T<w>E"  # see test_corruption.py
EVERYWHERE = {"draft_weight": 1.0, "draft_anchors": 99}


@pytest.fixture(scope="module")
def model(config):
    torch.manual_seed(0)
    return PlannedDiffusionForCausalLM(config)


def labels_of(batch):
    return Labels(*(batch[name] for name in ("document", "span", "round", "stream")), position=batch["position_ids"])


def logits_of(model, batch):
    mask = dense_mask(labels_of(batch), labels_of(batch))[:, None]
    with torch.no_grad():
        return model(input_ids=batch["input_ids"], attention_mask=mask, position_ids=batch["position_ids"]).logits


def groups_of(row):
    """The indices of the blanks behind each anchor: (span, anchor's position) -> indices in the row."""
    blanks = np.flatnonzero(row.stream >= DRAFT).tolist()
    groups = {}
    for index in blanks:
        groups.setdefault((int(row.span[index]), int(row.stream[index]) - DRAFT), []).append(index)
    return groups


def labels_behind_anchors(row, written):
    """The labels of each group as letters, by the position of its anchor."""
    return {anchor: written(row.labels[indices]) for (_, anchor), indices in groups_of(row).items()}


# Anchors, labels and weights


def test_every_group_of_a_planned_row_by_hand(row_of, written):
    """pqPa1TPb2T<xy_><z_>SPc1T<w_>E: the anchor predicts the next token itself, its blanks what comes after that."""
    row = row_of(TWO_ROUNDS, **EVERYWHERE, draft_tokens=3)
    plan = {1: "a1T", 2: "1TP", 3: "TPb", 4: "Pb2", 5: "b2T", 6: "2TS", 7: "TS.", 8: "S.."}  # from `q` to `2`
    second_plan = {19: "c1T", 20: "1TE", 21: "TE.", 22: "E.."}  # from `S`; its position is behind the spans
    spans = {10: "y_.", 11: "_..", 15: "_..", 24: "_.."}  # [PAD] once, where left to right a span ends
    assert labels_behind_anchors(row, written) == plan | second_plan | spans
    for (span, anchor), indices in groups_of(row).items():
        assert written(row.ids[indices]) == "###"
        assert row.position[indices].tolist() == [anchor + 1, anchor + 2, anchor + 3]
        assert span == {10: 0, 11: 0, 15: 1, 24: 2}.get(anchor, -1)
        assert set(row.round[indices].tolist()) == {int(anchor >= 19)}


@pytest.mark.parametrize("text", ["pqxyzE", "pqPa1TPb2T<xy><z>E"], ids=["plain", "tagged, used as plain text"])
def test_every_group_of_a_plain_row_by_hand(text, row_of, written):
    row = row_of(text, **EVERYWHERE, draft_tokens=2, plain_share=1.0, plain_start_weight=0.5)
    assert labels_behind_anchors(row, written) == {1: "yz", 2: "zE", 3: "E."}
    assert {span for span, _ in groups_of(row)} == {-1} and not row.round.any()
    assert row.targets[[parts.PLAIN, parts.DRAFT]].tolist() == [4, 5]


def test_a_part_of_one_token_has_one_anchor_and_an_empty_span_none(row_of, written):
    assert labels_behind_anchors(row_of("pqxE", **EVERYWHERE, draft_tokens=2), written) == {1: "E."}
    row = row_of("pqPa1TPb2T<><x>E", **EVERYWHERE, draft_tokens=2)
    assert {anchor for span, anchor in groups_of(row) if span != -1} == {13}  # the second <async>, behind a pad


def test_weights_fall_with_the_offset(row_of):
    row = row_of(TWO_ROUNDS, draft_weight=0.5, draft_anchors=99, draft_tokens=4, draft_decay=0.8)
    for indices in groups_of(row).values():
        counts = row.labels[indices] != -100
        assert row.weights[indices] == pytest.approx(counts * np.array([0.5, 0.4, 0.32, 0.256]))
        assert counts.any() and (np.diff(counts.astype(int)) <= 0).all()  # first those with a label
    assert (row.loss_part[row.stream >= DRAFT] == parts.DRAFT).all()
    assert row.targets[parts.DRAFT] == np.count_nonzero(row.labels[row.stream >= DRAFT] != -100)


def test_every_anchor_is_drawn_equally_often_and_never_twice(control, example_of):
    """Two anchors of each part: 8 candidates in the plan of the first round, 4 in the second, 2, 1 and 1 in spans."""
    objective = Objective(draft_weight=1.0, draft_anchors=2, draft_tokens=2, span_padding=[0, 0])
    example, rng, draws, counted = example_of(TWO_ROUNDS), np.random.default_rng(0), 2000, {}
    for _ in range(draws):
        row = draw_row(example, objective, control, rng)
        groups = groups_of(row)
        assert len(groups) == 2 + 2 + 2 + 1 + 1 and all(len(indices) == 2 for indices in groups.values())
        for _, anchor in groups:
            counted[anchor] = counted.get(anchor, 0) + 1 / draws
    expected = {**dict.fromkeys(range(1, 9), 2 / 8), **dict.fromkeys(range(17, 21), 2 / 4)}
    expected |= dict.fromkeys((10, 11, 14, 22), 1.0)
    assert counted == pytest.approx(expected, abs=0.04)


def test_drafts_need_causal_copies_which_do_not_count_without_a_weight_of_their_own(row_of, written):
    row = row_of(TWO_ROUNDS, **EVERYWHERE)
    copies = row.stream == CAUSAL
    assert written(row.ids[copies]) == "<xy<z<w" and not row.weights[copies].any()
    weighed = row_of(TWO_ROUNDS, **EVERYWHERE, span_next_token_weight=0.5)
    assert (weighed.weights[copies] == 0.5).all() and written(weighed.ids) == written(row.ids)


def test_answers_in_blocks_have_no_drafts(row_of):
    row = row_of("pqxyzwE", **EVERYWHERE, block_share=1.0, block_sizes=[2])
    assert set(row.stream.tolist()) == {CLEAN, NOISY} and row.targets[parts.DRAFT] == 0


@pytest.mark.parametrize("text", [TWO_ROUNDS, "pqxyzE"])
@pytest.mark.parametrize("attention", ["sparse", "dense"])
def test_everything_else_is_drawn_as_without_drafts(text, attention, control, example_of):
    example = example_of(text)
    fields = {"plain_share": 0.3, "block_share": 0.2, "span_attention": attention, "span_next_token_weight": 0.1}
    for seed in range(20):
        with_drafts, without = (
            draw_row(example, Objective(**fields, draft_weight=weight), control, np.random.default_rng(seed))
            for weight in (0.5, 0.0)
        )
        for name in ("ids", "span", "round", "stream", "position", "labels", "weights", "loss_part"):
            array = getattr(without, name)
            assert np.array_equal(getattr(with_drafts, name)[: len(array)], array), name
        assert (without.stream < DRAFT).all() and (with_drafts.stream[len(without.ids) :] >= DRAFT).all()
        assert np.array_equal(with_drafts.targets[: parts.DRAFT], without.targets[: parts.DRAFT])


# What a blank sees

TABLE = """
         p q P a 1 T  < # # >  < x y  q q P P a a 1 1 < < x x
    q    # # . . . .  . . . .  . . .  # # . . . . . . . . . .
    q    # # . . . .  . . . .  . . .  # # . . . . . . . . . .
    P    # # # . . .  . . . .  . . .  . . # # . . . . . . . .
    P    # # # . . .  . . . .  . . .  . . # # . . . . . . . .
    a    # # # # . .  . . . .  . . .  . . . . # # . . . . . .
    a    # # # # . .  . . . .  . . .  . . . . # # . . . . . .
    1    # # # # # .  . . . .  . . .  . . . . . . # # . . . .
    1    # # # # # .  . . . .  . . .  . . . . . . # # . . . .
    <    # # # # # #  . . . .  # . .  . . . . . . . . # # . .
    <    # # # # # #  . . . .  # . .  . . . . . . . . # # . .
    x    # # # # # #  . . . .  # # .  . . . . . . . . . . # #
    x    # # # # # #  . . . .  # # .  . . . . . . . . . . # #
"""


@pytest.mark.parametrize("attention", ["sparse", "dense"])
def test_what_blanks_see_by_hand(attention, row_of):
    """Blanks are named after their anchors; clean, noisy and causal tokens see none of them."""
    row = row_of("pqPa1T<xy>E", **EVERYWHERE, draft_tokens=2, span_padding=[0, 0], span_attention=attention)
    batch = as_batch([row])
    mask = dense_mask(labels_of(batch), labels_of(batch))[0, : len(row.ids), : len(row.ids)]
    blanks = torch.from_numpy(row.stream >= DRAFT)
    drawn = ["".join(".#"[int(is_seen)] for is_seen in line) for line in mask[blanks]]
    assert drawn == ["".join(line.split()[1:]) for line in TABLE.strip().splitlines()[1:]]
    assert not mask[~blanks][:, blanks].any()


def sees(row, query, key):
    """The rule in words, of two tokens of one row.

    A blank is seen by the blanks behind its anchor, and by nobody else. A blank sees besides what its anchor sees.
    """
    span, round_id, stream, position = (getattr(row, name) for name in ("span", "round", "stream", "position"))
    if stream[key] >= DRAFT:
        return stream[query] == stream[key] and span[query] == span[key]
    if stream[query] >= DRAFT:
        home = CLEAN if span[query] == -1 else CAUSAL
        is_anchor = (span == span[query]) & (position == stream[query] - DRAFT) & (stream == home)
        [anchor] = np.flatnonzero(is_anchor)
        return sees(row, anchor, key)
    is_inside = span[query] == span[key] != -1 and stream[query] == stream[key]
    if is_inside and (stream[query] != CAUSAL or position[key] <= position[query]):
        return True
    is_public = span[key] == -1 or round_id[key] < round_id[query]
    return stream[key] == CLEAN and is_public and position[key] <= position[query]


@pytest.mark.parametrize("fields", [{}, {"complementary_masks": True, "noise_range": [0.3, 0.7]}])
@pytest.mark.parametrize("attention", ["sparse", "dense"])
def test_whole_packed_rows_against_a_double_loop(attention, fields, row_of):
    texts = ("pqPa1TPb2T<xy><z>SPc1T<w>E", "pqxyzE", "pqPa1TPb2T<xyz><xyz>E")
    rows = [
        row_of(text, seed, draft_weight=1.0, draft_anchors=2, draft_tokens=2, span_attention=attention, **fields)
        for seed, text in enumerate(texts)
    ]
    batch = as_batch(rows, packed_length=1000)
    mask = dense_mask(labels_of(batch), labels_of(batch))
    [line], [documents] = mask, batch["document"]
    for row in rows:
        [start] = [
            start
            for number in documents.unique().tolist()
            for start in torch.nonzero(documents == number).flatten()[:1].tolist()
            if number and batch["input_ids"][0, start : start + len(row.ids)].tolist() == row.ids.tolist()
        ]
        shown = np.zeros(len(documents), dtype=bool)
        for query in range(len(row.ids)):
            shown[start : start + len(row.ids)] = [sees(row, query, key) for key in range(len(row.ids))]
            assert line[start + query].tolist() == shown.tolist(), (query, row.stream[query], row.position[query])


@pytest.mark.parametrize("text", [TWO_ROUNDS, "pqxyzwxE"])
def test_the_logits_of_blanks_are_those_that_generation_computes(text, model, control, row_of):
    """Each group alone, on the text as it stands when its anchor was just written: nothing later exists."""
    row = row_of(text, **EVERYWHERE, draft_tokens=3, span_padding=[0, 0])
    trained = logits_of(model, as_batch([row]))[0]
    for (span, anchor), indices in groups_of(row).items():
        round_id = int(row.round[indices[0]])
        # What is written: everything before the round's spans, which is read clean, and of this span its beginning.
        is_open = (row.span == span) & (row.stream == (CLEAN if span == -1 else CAUSAL)) & (row.position <= anchor)
        is_public = (row.stream == CLEAN) & (row.position <= anchor) & ((row.span == -1) | (row.round < round_id))
        context = np.flatnonzero(is_public | is_open).tolist()
        rows = [*context, *indices]
        labels = Labels(
            torch.zeros(1, len(rows), dtype=torch.long),
            *(torch.from_numpy(getattr(row, name)[rows])[None] for name in ("span", "round", "stream", "position")),
        )
        ids = torch.tensor([[*row.ids[context].tolist(), *[control.mask] * 3]])
        with torch.no_grad():
            output = model(
                input_ids=ids, attention_mask=dense_mask(labels, labels)[:, None], position_ids=labels.position
            )
        torch.testing.assert_close(output.logits[0, -3:], trained[indices], rtol=1e-4, atol=1e-5)


# The loss


def test_drafts_add_their_own_loss_and_no_targets(model, row_of):
    """By hand from the logits; the other parts and the normaliser stay as they are."""
    fields = {"noise_range": [0.3, 0.9], "span_next_token_weight": 0.3, "draft_anchors": 3}
    with_drafts, without = (
        as_batch([row_of(TWO_ROUNDS, seed, draft_weight=weight, **fields) for seed in (1, 2)]) for weight in (0.5, 0.0)
    )
    log_probabilities = logits_of(model, with_drafts).log_softmax(-1)
    total, surprises = 0.0, []
    for line, place in torch.nonzero(with_drafts["stream"] >= DRAFT).tolist():
        label = int(with_drafts["labels"][line, place])
        if label != -100:
            offset = int(with_drafts["position_ids"][line, place] - (with_drafts["stream"][line, place] - DRAFT))
            surprises.append(-log_probabilities[line, place, label].item())
            total += 0.5 * 0.8 ** (offset - 1) * surprises[-1]
    with torch.no_grad():
        ours, base = planned_diffusion_loss(model, with_drafts), planned_diffusion_loss(model, without)
    assert ours.total.item() == pytest.approx(base.total.item() + total, rel=1e-5)
    torch.testing.assert_close(ours.by_loss_part[: parts.DRAFT], base.by_loss_part[: parts.DRAFT])
    assert ours.by_loss_part[parts.DRAFT].item() == pytest.approx(sum(surprises), rel=1e-5)  # reported unweighted
    assert with_drafts["loss_part_targets"][parts.DRAFT] == len(surprises) > 20
    assert with_drafts["num_targets"] == without["num_targets"] > 0


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_rows_without_label_or_weight_get_no_gradient(implementation, config, row_of):
    torch.manual_seed(0)
    model = PlannedDiffusionForCausalLM(config)
    model.set_attn_implementation(implementation)
    batch = as_batch([row_of(TWO_ROUNDS, **EVERYWHERE, plan_loss_weight=0.0), row_of("pqxyE", **EVERYWHERE)])
    hidden = []

    def remember(module, inputs, output):
        output.last_hidden_state.retain_grad()
        hidden.append(output.last_hidden_state)

    model.model.register_forward_hook(remember)
    planned_diffusion_loss(model, batch).total.backward()
    has_gradient = hidden[0].grad.abs().sum(-1) > 0
    assert torch.equal(has_gradient, (batch["labels"] != -100) & (batch["loss_weights"] > 0))
    blanks = batch["stream"] >= DRAFT
    assert has_gradient[blanks].any() and not has_gradient[blanks].all() and not has_gradient[0, :10].any()


def test_blanks_change_no_other_logits(model, row_of):
    row = row_of(TWO_ROUNDS, **EVERYWHERE)
    bare = row_of(TWO_ROUNDS, span_next_token_weight=1.0)
    with_blanks, without = logits_of(model, as_batch([row]))[0], logits_of(model, as_batch([bare]))[0]
    torch.testing.assert_close(with_blanks[: len(bare.ids)], without[: len(bare.ids)], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("packed_length", [10, 1000])
def test_packed_equals_unpacked(packed_length, config, row_of):
    torch.manual_seed(0)
    model = PlannedDiffusionForCausalLM(config)
    texts = ("pqPa1T<x>E", TWO_ROUNDS, "pqxyzE", "pqPa1TPb2T<xy><z>E")
    rows = [
        row_of(text, seed, noise_range=[0.3, 0.9], complementary_masks=seed > 3, draft_weight=0.5, draft_tokens=2)
        for seed, text in enumerate(texts * 2)
    ]
    results = []
    for batch in (as_batch(rows), as_batch(rows, packed_length)):
        model.zero_grad()
        loss = planned_diffusion_loss(model, batch)
        loss.total.backward()
        gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
        results.append((loss.total, loss.by_loss_part, batch["loss_part_targets"], batch["num_targets"], gradient))
    for alone, packed in zip(*results, strict=True):
        torch.testing.assert_close(packed, alone, rtol=1e-4, atol=1e-5)
    assert results[0][1][parts.DRAFT] > 0


def test_flex_attention_reads_the_same_mask(row_of):
    from planned_diffusion.generation.visibility import attention_mask

    batch = as_batch([row_of(TWO_ROUNDS, **EVERYWHERE), row_of("pqxyE", **EVERYWHERE)])
    labels = labels_of(batch)
    block_mask = attention_mask(labels, labels, "flex_attention", torch.float32)
    length = batch["input_ids"].shape[1]
    lines, places = torch.arange(2)[:, None, None], torch.arange(length)
    shown = block_mask.mask_mod(lines, torch.tensor(0), places[:, None], places[None, :])
    assert torch.equal(shown, dense_mask(labels, labels))


# Limits and metrics


@pytest.mark.parametrize(("text", "slack"), [("pqxyzwE", 0), (TWO_ROUNDS, 1), ("pqPa1T<x>E", 1)])
@pytest.mark.parametrize("tokens", [1, 2, 3, 5, 9])
def test_positions_stay_within_those_that_an_example_is_said_to_need(text, slack, tokens, control, example_of):
    """Exactly so behind plain text; a span's last anchor lies one token farther from the end."""
    example = example_of(text)
    objective = Objective(**EVERYWHERE, draft_tokens=tokens, span_padding=[0, 0], plain_share=0.3)
    needed, rng = positions_at_most(example, objective), np.random.default_rng(0)
    used = max(int(draw_row(example, objective, control, rng).position.max()) + 1 for _ in range(30))
    assert used == needed - slack if tokens > 3 else used <= needed


def test_examples_whose_blanks_do_not_fit_are_too_long(example_of):
    examples = [example_of("pqxyzwE"), example_of("pqxE")]
    assert len(within(examples, Objective(), 7, "refuse")) == 2
    assert within(examples, Objective(draft_weight=1.0, draft_tokens=4), 7, "drop") == examples[1:]
    with pytest.raises(ValueError, match="1 of 2 records need more than 7 positions, up to 9"):
        within(examples, Objective(draft_weight=1.0, draft_tokens=4), 7, "refuse")


def test_the_loss_of_drafts_is_logged(tmp_path, trainer_for):
    objective = Objective(span_padding=[0, 2], draft_weight=0.5, draft_tokens=2)
    trainer = trainer_for(tmp_path, objective=objective, max_steps=40, logging_steps=10, learning_rate=2e-2)
    trainer.train()
    logs = [entry["draft_loss"] for entry in trainer.state.log_history if "draft_loss" in entry]
    assert len(logs) > 2 and logs[-1] < 0.8 * logs[0]
    assert trainer.evaluate()["eval_draft_loss"] > 0
