"""The loss: visibility, weights, and ordinary next-token training where there are no spans."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from planned_diffusion.generation.visibility import CAUSAL, NOISY, Labels, dense_mask
from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM
from planned_diffusion.training.collator import PlannedDiffusionCollator, as_batch
from planned_diffusion.training.loss import planned_diffusion_loss
from planned_diffusion.training.objective import Objective
from planned_diffusion.training.row import LOSS_PARTS
from planned_diffusion.training.rows import draw_row

TWO_ROUNDS = "pqPa1TPb2T<xy><z>SPc1T<w>E"  # see test_corruption.py


@pytest.fixture(scope="module")
def model(config):
    torch.manual_seed(0)
    return PlannedDiffusionForCausalLM(config)


def labels_of(batch):
    return Labels(*(batch[name] for name in ("document", "span", "round", "stream")), position=batch["position_ids"])


@pytest.mark.parametrize("attention", ["sparse", "dense"])
def test_a_training_row_sees_what_generation_shows(attention, example_of, row_of):
    """Every clean or noisy token against the formulas of generation, on the text as written out."""
    example = example_of(TWO_ROUNDS)
    span, round_id = example.span, example.round  # no pads: index == position
    row = row_of(TWO_ROUNDS, span_padding=[0, 0], span_attention=attention, span_next_token_weight=1.0)
    batch = as_batch([row])
    mask = dense_mask(labels_of(batch), labels_of(batch))[0]
    for query in range(len(row.ids)):
        q = int(row.position[query])
        seen = sorted(int(row.position[key]) for key in range(len(row.ids)) if mask[query, key])
        shown = []
        for k in range(len(span)):
            same_span = span[q] == span[k] != -1
            if attention == "dense":
                same_span = span[q] != -1 and span[k] != -1 and round_id[q] == round_id[k]
            if row.stream[query] == CAUSAL:
                same_span = same_span and k <= q and row_has_causal(row, k)
            public = span[k] == -1 or round_id[k] < round_id[q]
            if same_span or (k <= q and public):
                shown.append(k)
        assert seen == shown, (query, q)
        if row.stream[query] != NOISY:
            assert not mask[query, : len(row.ids)][torch.from_numpy(row.stream == NOISY)].any()
    assert not mask[: len(row.ids), len(row.ids) :].any()  # nobody sees padding


def row_has_causal(row, position):
    return bool(((row.position == position) & (row.stream == CAUSAL)).any())


def test_the_loss_by_hand(model, row_of):
    rows = [row_of(TWO_ROUNDS, seed, noise_range=[0.3, 0.9], plan_loss_weight=0.5) for seed in (1, 2)]
    batch = as_batch(rows)
    mask = dense_mask(labels_of(batch), labels_of(batch))[:, None]
    with torch.no_grad():
        output = model(input_ids=batch["input_ids"], attention_mask=mask, position_ids=batch["position_ids"])
        loss = planned_diffusion_loss(model, batch)
    log_probabilities = output.logits.log_softmax(-1)
    total, by_loss_part = 0.0, [0.0] * len(LOSS_PARTS)
    for b, row in enumerate(rows):
        for place, (label, weight, loss_part) in enumerate(zip(row.labels, row.weights, row.loss_part, strict=True)):
            if label != -100:
                surprise = -log_probabilities[b, place, label].item()
                total += weight * surprise
                by_loss_part[loss_part] += surprise * (weight if loss_part == 1 else 1)
    assert loss.total.item() == pytest.approx(total, rel=1e-5)
    assert loss.by_loss_part.tolist() == pytest.approx(by_loss_part, rel=1e-5)
    assert batch["num_targets"] == 2 * (14 + 7) and batch["input_ids"].shape[1] % 8 == 0


def test_on_plain_text_it_is_the_native_loss(model, config, example_of, row_of):
    texts = ["pqxyE", "pqxyzwxyzE"]
    batch = as_batch([row_of(text) for text in texts])
    native = AutoModelForCausalLM.from_config(config.backbone_config)
    native.load_state_dict(model.state_dict())
    longest = max(map(len, texts))
    ids, labels, mask = (torch.zeros(2, longest, dtype=torch.long) for _ in range(3))
    labels -= 100
    for line, text in enumerate(texts):
        example = example_of(text)
        ids[line, : len(text)] = torch.from_numpy(example.ids)
        labels[line, 2 : len(text)] = ids[line, 2 : len(text)]
        mask[line, : len(text)] = 1
    with torch.no_grad():
        expected = native(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss = planned_diffusion_loss(model, batch).total / batch["num_targets"]
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_sparse_equals_dense_with_one_span(model, row_of):
    losses = [
        planned_diffusion_loss(
            model, as_batch([row_of("pqPa1T<xyz>E", 3, noise_range=[0.5, 0.5], span_attention=attention)])
        ).total.item()
        for attention in ("sparse", "dense")
    ]
    assert losses[0] == losses[1] > 0


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_padding_changes_nothing_and_gets_no_gradient(implementation, config, control, row_of):
    torch.manual_seed(0)
    model = PlannedDiffusionForCausalLM(config)
    model.set_attn_implementation(implementation)
    short, long = row_of("pqPa1T<x>E"), row_of(TWO_ROUNDS)
    alone, together = as_batch([short]), as_batch([short, long])
    together["labels"][1] = -100
    hidden = []

    def remember(module, inputs, output):
        output.last_hidden_state.retain_grad()
        hidden.append(output.last_hidden_state)

    model.model.register_forward_hook(remember)
    expected = planned_diffusion_loss(model, alone).total
    loss = planned_diffusion_loss(model, together).total
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    loss.backward()
    has_gradient = hidden[1].grad.abs().sum(-1) > 0
    assert torch.equal(has_gradient, together["labels"] != -100)
    together["input_ids"][0, len(short.ids) :] = control.sync  # other padding
    assert planned_diffusion_loss(model, together).total.item() == loss.item()


@pytest.mark.parametrize("chunk_size", [1, 7, 1000])
def test_the_head_in_chunks_changes_neither_loss_nor_gradient(chunk_size, model, row_of):
    """Against the head on all rows of the batch, with the wrappers of a head kept in place."""
    batch = as_batch([row_of(TWO_ROUNDS, seed, noise_range=[0.3, 0.9]) for seed in (1, 2)])
    mask = dense_mask(labels_of(batch), labels_of(batch))[:, None]
    output = model(input_ids=batch["input_ids"], attention_mask=mask, position_ids=batch["position_ids"])
    surprise = torch.nn.functional.cross_entropy(output.logits.transpose(1, 2), batch["labels"], reduction="none")
    expected = (surprise * batch["loss_weights"]).sum()
    parameters = [model.lm_head.weight, model.model.layers[0].mlp.up_proj.weight]
    gradients = torch.autograd.grad(expected, parameters)
    loss = planned_diffusion_loss(model, batch, chunk_size=chunk_size).total
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6) and "forward" not in vars(model.lm_head)
    for ours, theirs in zip(torch.autograd.grad(loss, parameters), gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert "forward" not in vars(model.lm_head)


def test_only_one_chunk_of_logits_exists_at_a_time(model, row_of):
    """The widest tensor that is made, forward and backward, has as many lines as a chunk."""
    from torch.utils._python_dispatch import TorchDispatchMode

    vocabulary, widest = model.config.vocab_size, 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal widest
            made = function(*args, **(kwargs or {}))
            for tensor in made if isinstance(made, (tuple, list)) else [made]:
                if isinstance(tensor, torch.Tensor) and tensor.dim() == 2 and tensor.shape[1] == vocabulary:
                    is_weight = tensor.shape[0] == model.config.hidden_size
                    widest = max(widest, 0 if is_weight else tensor.shape[0])
            return made

    batch = as_batch([row_of(TWO_ROUNDS, seed) for seed in range(6)])
    with Watch():
        planned_diffusion_loss(model, batch, chunk_size=5).total.backward()
    model.zero_grad()
    assert (batch["labels"] != -100).sum() > 50 and widest == 5


@pytest.mark.parametrize("tie", [True, False])
def test_a_head_wrapped_by_peft_gives_its_own_losses(tie, config_for, tokenizer, control, row_of):
    """Rows of new tokens trained beside LoRA: the losses are those of the wrapped model's own logits."""
    peft = pytest.importorskip("peft")
    config = config_for(tokenizer)
    config.tie_word_embeddings = config.backbone_config.tie_word_embeddings = tie
    rows_of = {"embed_tokens": [*control.tags]} | ({} if tie else {"lm_head": [*control.tags]})
    settings = peft.LoraConfig(r=2, target_modules="all-linear", trainable_token_indices=rows_of)
    model = peft.get_peft_model(PlannedDiffusionForCausalLM(config), settings)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "trainable_tokens" in name:
                parameter.normal_()
    batch = as_batch([row_of(TWO_ROUNDS)])
    mask = dense_mask(labels_of(batch), labels_of(batch))[:, None]
    with torch.no_grad():
        output = model(input_ids=batch["input_ids"], attention_mask=mask, position_ids=batch["position_ids"])
    surprise = torch.nn.functional.cross_entropy(output.logits.transpose(1, 2), batch["labels"], reduction="none")
    loss = planned_diffusion_loss(model, batch, chunk_size=3).total
    assert loss.item() == pytest.approx((surprise * batch["loss_weights"]).sum().item(), rel=1e-5)
    loss.backward()
    touched = {name.split(".")[-3] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert "token_adapter" in touched


ROWS = ("pqPa1T<x>E", TWO_ROUNDS, "pqxyzE", "pqPa1T<xyz>E", "pqPa1TPb2T<xy><z>E")


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("packed_length", [10, 60, 1000])
def test_packed_equals_unpacked(packed_length, implementation, config, row_of):
    """The same loss, parts, counts and gradients, whatever shares a row; a row longer than the room has its own."""
    torch.manual_seed(0)
    model = PlannedDiffusionForCausalLM(config)
    model.set_attn_implementation(implementation)
    rows = [row_of(text, seed, noise_range=[0.3, 0.9]) for seed, text in enumerate(ROWS * 2)]
    results = []
    for batch in (as_batch(rows), as_batch(rows, packed_length)):
        model.zero_grad()
        loss = planned_diffusion_loss(model, batch)
        loss.total.backward()
        gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
        results.append(
            (loss.total.item(), loss.by_loss_part, batch["loss_part_targets"], batch["num_targets"], gradient)
        )
    (total, by_loss_part, targets, number, gradient), packed = results
    assert packed[0] == pytest.approx(total, rel=1e-6)
    torch.testing.assert_close(packed[1], by_loss_part)
    assert torch.equal(packed[2], targets) and packed[3] == number
    torch.testing.assert_close(packed[4], gradient, rtol=1e-4, atol=1e-5)


def test_packed_rows_are_full_and_keep_every_token(row_of):
    rows = [row_of(text, seed) for seed, text in enumerate(ROWS * 8)]
    alone, packed = as_batch(rows), as_batch(rows, 64)
    tokens = sum(len(row.ids) for row in rows)
    assert (packed["document"] > 0).sum() == (alone["document"] > 0).sum() == tokens
    assert packed["input_ids"].shape[1] <= 64 and tokens / packed["input_ids"].numel() > 0.9
    found = sorted(
        tuple(line[documents == number].tolist())
        for line, documents in zip(packed["input_ids"], packed["document"], strict=True)
        for number in documents.unique().tolist()
        if number
    )
    assert found == sorted(tuple(row.ids.tolist()) for row in rows)


def test_rows_are_packed_into_the_longest_one_at_least(row_of):
    rows = [row_of(text) for text in (TWO_ROUNDS, "pqPa1T<x>E", "pqPa1T<x>E")]
    lengths = [len(row.ids) for row in rows]
    assert lengths == [37, 10, 10]
    assert as_batch(rows, 1)["input_ids"].shape == (2, 40)  # the short ones share a row
    assert as_batch(rows[1:], 1)["input_ids"].shape == (2, 16) and as_batch(rows[:1], 1)["input_ids"].shape == (1, 40)


def test_a_batch_without_labels_gives_zero_and_a_gradient(model, row_of):
    batch = as_batch([row_of("pqPa1T<x>E")])
    batch["labels"][:] = -100
    loss = planned_diffusion_loss(model, batch).total
    loss.backward()
    assert loss.item() == 0.0


def test_draws_depend_on_seed_epoch_and_index_alone(control, example_of):
    example = example_of(TWO_ROUNDS)
    items = [{"index": index} for index in range(4)]

    def drawn(items, epoch=0, is_evaluation=False, seed=0):
        objective = Objective(plain_share=0.5, complementary_masks=False, seed=seed)
        collator = PlannedDiffusionCollator([example] * 4, objective, control, is_evaluation, epoch)
        return [collator([item])["input_ids"].tolist() for item in items]

    assert drawn(items) == drawn(items) == drawn(items[::-1])[::-1]
    assert drawn(items) != drawn(items, epoch=1) and drawn(items) != drawn(items, seed=1)
    assert drawn(items, epoch=1, is_evaluation=True) == drawn(items, is_evaluation=True)
    assert all(control.async_start in ids[0] for ids in drawn(items, is_evaluation=True))  # never as plain text


def test_a_row_is_drawn_in_well_under_a_millisecond(control, example_of):
    import time

    example, rng, objective = example_of(TWO_ROUNDS), np.random.default_rng(0), Objective(complementary_masks=False)
    start = time.process_time()
    for _ in range(200):
        draw_row(example, objective, control, rng)
    assert (time.process_time() - start) / 200 < 1e-3
