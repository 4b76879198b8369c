"""LoRA on the rows of drafts alone: all other rows are the base model's, bit for bit, in any forward."""

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM, CompileConfig, LlamaConfig

from planned_diffusion.generation.draft_adapter import new_settings
from planned_diffusion.generation.draft_gate import ARGUMENT, backbone_of, gate_adapter, gate_of
from planned_diffusion.generation.engine.packing import Layout, Packed, Segment
from planned_diffusion.generation.engine.runner import Runner, last_hidden_states
from planned_diffusion.generation.visibility import DRAFT, Labels, attention_mask

peft = pytest.importorskip("peft")

TWINS = {"speculative": "autoregressive", "parallel_speculative": "parallel_autoregressive"}
PLAN = [[[104, 30, 20, 105, 104, 31, 18, 105, 106], [104, 32, 24, 105, 100]]]


def adapted(model, **fields):
    """A copy of a model with a gated adapter that changes a lot where it acts."""
    settings = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **fields}
    torch.manual_seed(1)
    gated = peft.get_peft_model(copy.deepcopy(model), new_settings(init_lora_weights=False, **settings)).eval()
    for name, weight in gated.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight.data, std=0.5)
    gate_adapter(gated)
    return gated


@pytest.fixture(scope="module")
def llama():
    """A tiny Llama of transformers, untouched."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=96, num_key_value_heads=2, initializer_range=0.2, **sizes)
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.fixture(scope="module")
def drafter(llama):
    return adapted(llama)


def draft_rows(lines: int = 1) -> tuple[dict, torch.Tensor]:
    """A text of six tokens with two groups of two blanks: arguments of a forward, and which rows are blanks."""
    stream = torch.tensor([[0] * 6 + [DRAFT + 3] * 2 + [DRAFT + 5] * 2] * lines)
    position = torch.tensor([[*range(6), 4, 5, 6, 7]] * lines)
    nothing = torch.zeros_like(stream)
    labels = Labels(nothing, nothing - 1, nothing, stream, position)
    ids = torch.arange(10 * lines).reshape(lines, 10) * 7 % 90
    ids[stream >= DRAFT] = 95
    mask = attention_mask(labels, labels, "sdpa", torch.float32)
    return {"input_ids": ids, "attention_mask": mask, "position_ids": position}, stream >= DRAFT


def bits(values: torch.Tensor) -> torch.Tensor:
    return values.view(torch.int32)


def by_hand(model, gated, drafts: torch.Tensor, inputs: dict) -> torch.Tensor:
    """The same computation without PEFT: every linear layer has two matrices, and a row takes the one that is its."""
    model, lora = copy.deepcopy(model), dict(gated.get_base_model().named_modules())
    for name, layer in model.named_modules():
        if isinstance(layer, torch.nn.Linear) and name != "lm_head":
            a, b = lora[name].lora_A["default"].weight, lora[name].lora_B["default"].weight
            both = layer.weight + lora[name].scaling["default"] * b @ a
            layer.register_forward_hook(
                lambda layer, given, out, both=both: torch.where(drafts[..., None], given[0] @ both.T, out)
            )
    return model(**inputs).logits


@torch.no_grad()
@pytest.mark.parametrize("lines", [1, 3])
def test_other_rows_of_a_native_llama_are_bit_equal_and_drafts_are_as_by_hand(lines, llama, drafter):
    inputs, drafts = draft_rows(lines)
    plain, gated = llama(**inputs).logits, drafter(**inputs, **{ARGUMENT: drafts}).logits
    assert torch.equal(bits(gated[~drafts]), bits(plain[~drafts]))
    assert ((gated - plain)[drafts].abs().amax(-1) > 0.1).all()
    torch.testing.assert_close(gated, by_hand(llama, drafter, drafts, inputs), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_rows_can_be_told_in_any_form(drafter):
    inputs, drafts = draft_rows()
    expected = drafter(**inputs, **{ARGUMENT: drafts}).logits
    for rows in (slice(6, 10), torch.arange(6, 10)):
        torch.testing.assert_close(drafter(**inputs, **{ARGUMENT: rows}).logits, expected, rtol=1e-5, atol=1e-5)
    compiled = torch.compile(last_hidden_states, backend="eager", fullgraph=True)
    hidden = last_hidden_states(drafter.get_base_model().model, **inputs, **{ARGUMENT: drafts})
    for _ in range(2):
        found = compiled(drafter.get_base_model().model, **inputs, **{ARGUMENT: drafts})
        torch.testing.assert_close(found, hidden, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_without_drafts_no_lora_runs_and_rows_are_forgotten(llama, drafter):
    inputs, drafts = draft_rows()
    ran = []
    hooks = [
        module.register_forward_hook(lambda *_: ran.append(1))
        for name, module in drafter.named_modules()
        if name.endswith("lora_A.default")
    ]
    plain = bits(llama(**inputs).logits)
    drafter(**inputs, **{ARGUMENT: drafts})
    assert len(ran) == len(hooks) == 14
    for nothing in ({}, {ARGUMENT: None}, {ARGUMENT: torch.zeros_like(drafts)}):
        assert torch.equal(bits(drafter(**inputs, **nothing).logits), plain)
    assert len(ran) == 14
    with drafter.disable_adapter():
        assert torch.equal(bits(drafter(**inputs, **{ARGUMENT: drafts}).logits), plain)
    for hook in hooks:
        hook.remove()


def test_a_gated_adapter_is_never_merged(llama):
    gated = adapted(llama)
    for merge in (gated.merge_adapter, gated.merge_and_unload, lambda: gated.merge_and_unload(safe_merge=True)):
        with pytest.raises(ValueError, match="'default' cannot be merged: a gated adapter acts on draft rows"):
            merge()


def test_settings_that_act_on_other_rows_are_refused():
    for field in ({"trainable_token_indices": [3]}, {"modules_to_save": ["lm_head"]}, {"bias": "all"}):
        with pytest.raises(ValueError, match=f"on draft rows alone, and {next(iter(field))} is set; leave it out"):
            new_settings(target_modules="all-linear", **field)


def test_layers_that_are_not_linear_are_refused(llama):
    settings = new_settings(target_modules=["embed_tokens"], task_type="CAUSAL_LM")
    with pytest.raises(ValueError, match="acts on linear layers, and one is of type Embedding; leave it out"):
        gate_adapter(peft.get_peft_model(copy.deepcopy(llama), settings))
    settings = new_settings(target_parameters=["up_proj.weight"], target_modules=[], task_type="CAUSAL_LM")
    with pytest.raises(ValueError, match="acts on linear layers, and one is of type Linear; leave it out"):
        gate_adapter(peft.get_peft_model(copy.deepcopy(llama), settings))


def test_layers_that_get_other_rows_are_refused(drafter):
    inputs, drafts = draft_rows()
    layer = drafter.get_base_model().model.layers[0].mlp.up_proj
    drafter(**inputs, **{ARGUMENT: drafts})
    with pytest.raises(ValueError, match=r"input has the shape \[5, 32\], and cannot tell which .* leave experts out"):
        layer(torch.zeros(5, 32))


# The engine


@torch.no_grad()
@pytest.mark.parametrize("decoding", TWINS)
@pytest.mark.parametrize("batch", [1, 3])
def test_answers_are_the_bases_token_for_token(decoding, batch, build_model, prompts, left_padded):
    base = build_model(seed=5, tokens_per_length_unit=1)
    gated = adapted(base).get_base_model()
    ids, mask = left_padded(prompts(batch, 12, seed=2))
    given = {"plan": PLAN * batch, "keep_plan": True} if decoding.startswith("parallel") else {}
    fields = {"max_new_tokens": 60, "do_sample": False, "attention_mask": mask, **given}
    expected = base.generate(ids, decoding=TWINS[decoding], **fields)
    assert gated.generate(ids, decoding=decoding, draft_tokens=3, **fields).equal(expected)
    assert gated.generate(ids, decoding=TWINS[decoding], **fields).equal(expected)


@torch.no_grad()
def test_every_row_of_the_engine_that_is_no_draft_is_the_bases_bit_for_bit(
    build_model, prompts, left_padded, monkeypatch
):
    """Each forward runs twice, first without the adapter: a state that runs again takes its slot again."""
    gated = adapted(build_model(seed=5, tokens_per_length_unit=1))
    original, seen = Runner.logits, {"text": 0, "drafts": 0, "mixed": 0}

    def both(runner, packed):
        with gated.disable_adapter():
            plain = original(runner, packed).clone()
        found = original(runner, packed)
        is_draft = torch.tensor([packed.layout.streams[row] >= DRAFT for row in packed.wanted])
        assert torch.equal(bits(found[~is_draft]), bits(plain[~is_draft]))
        seen["text"] += int((~is_draft).sum())
        seen["drafts"] += int(((found - plain)[is_draft].abs().amax(-1) > 1e-3).sum()) if is_draft.any() else 0
        assert not is_draft.any() or seen["drafts"]
        streams = [packed.layout.streams[row] >= DRAFT for row in range(len(packed))]
        seen["mixed"] += sum(here and not there for here, there in zip(streams, streams[1:], strict=False))
        return found

    monkeypatch.setattr(Runner, "logits", both)
    ids, mask = left_padded(prompts(3, 12, seed=2))
    gated.get_base_model().generate(ids, attention_mask=mask, decoding="speculative", max_new_tokens=40)
    assert all(seen.values()), seen


@torch.no_grad()
@pytest.mark.slow
def test_a_compiled_backbone_gates_the_same_rows(build_model):
    """Traced, and run as it is; the last row is a draft, so that padding repeats it."""
    gated = adapted(build_model(seed=5)).get_base_model()
    forwards = [
        ([0] * 4, range(4)),
        ([0, DRAFT + 4, DRAFT + 4], (4, 5, 6)),
        ([0] * 2, (5, 6)),
        ([0, DRAFT + 7], (7, 8)),
    ]
    results, config = [], CompileConfig(backend="eager", mode=None)
    torch._dynamo.reset()
    for one in (Runner(gated), Runner(gated, config)):
        found = []
        for streams, positions in forwards:
            inside, rows = [0] * len(streams), list(range(len(streams)))
            slots, before = one.slots.place(0, streams, positions), [-1] * len(streams)
            layout = Layout(slots, inside, before, inside, list(streams), list(positions))
            segment = Segment(range(len(rows)), one.slots.held_by(0))
            found.append(one.logits(Packed([7 + position for position in positions], layout, [segment], rows)))
            one.slots.drop_drafts(0, streams, positions)
        results.append(torch.cat(found))
    torch._dynamo.reset()
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-4)


def test_the_gate_is_found_through_wrappers_and_copies(llama, drafter):
    assert gate_of(backbone_of(llama)) is None
    gate = gate_of(backbone_of(drafter))
    assert gate is gate_of(backbone_of(drafter.get_base_model()))
    other = copy.deepcopy(drafter)
    inputs, drafts = draft_rows()
    other(**inputs, **{ARGUMENT: drafts})
    gate.rows = None
    assert gate_of(backbone_of(other)).rows.tolist() == [6, 7, 8, 9], "a copy has a gate of its own"
