"""Weights in 8 bits: arithmetic by hand, products, whole models, drafters beside them, and what is refused."""

import json

import pytest
import torch
from torch import nn
from transformers import CompileConfig

from planned_diffusion.cli.main import main
from planned_diffusion.facts.generator import held_out_questions
from planned_diffusion.inference.answer import FROZEN, ask, open_checkpoint
from planned_diffusion.loading.eight_bits import EIGHT_BITS, round_model
from planned_diffusion.loading.embedded import EMBEDDED
from planned_diffusion.loading.int8_weights import NARROW, W8A16, Int8Linear
from planned_diffusion.loading.load import load


def layer_of(weight: list[list[float]], bias: list[float] | None = None) -> nn.Linear:
    layer = nn.Linear(len(weight[0]), len(weight), bias=bias is not None)
    layer.weight.data = torch.tensor(weight)
    if bias is not None:
        layer.bias.data = torch.tensor(bias)
    return layer


def test_by_hand():
    rounded = Int8Linear(layer_of([[1.27, -0.504, 0.0], [0.0, 0.0, 0.0], [-25.4, 12.65, 0.09]], [0.0, 1.5, 0.0]))
    assert rounded.weight.tolist() == [[127, -50, 0], [0, 0, 0], [-127, 63, 0]]
    assert rounded.scale.tolist()[::2] == pytest.approx([0.01, 0.2])
    out = rounded(torch.tensor([[[1.0, 2.0, 3.0]]]))
    assert out.shape == (1, 1, 3) and out.flatten().tolist() == pytest.approx([0.27, 1.5, -0.2], abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 2, 3, 7, NARROW, NARROW + 1, 100])
@pytest.mark.parametrize("bias", [True, False])
def test_products_are_those_of_the_rounded_weights(rows, dtype, bias):
    torch.manual_seed(rows)
    layer = nn.Linear(48, 80, bias=bias).to(dtype)
    rounded, states = Int8Linear(layer), torch.randn(1, rows, 48, dtype=dtype)
    weight = rounded.weight.double() * rounded.scale.double()[:, None]
    assert (
        (weight - layer.weight.double()).abs() <= 0.51 * rounded.scale.double()[:, None] + 1e-2 * weight.abs()
    ).all()
    expected = states.double() @ weight.T + (layer.bias.double() if bias else 0)
    tolerance = 1e-5 if dtype == torch.float32 else 3e-2
    assert torch.allclose(rounded(states).double(), expected, rtol=tolerance, atol=tolerance)


def test_wide_products_may_keep_the_weights_as_they_were():
    layer = nn.Linear(48, 80)
    rounded, states = Int8Linear(layer, keep=True), torch.randn(NARROW + 1, 48)
    assert torch.equal(rounded(states), layer(states))
    assert not torch.equal(rounded(states[1:]), layer(states[1:]))


def test_the_included_model_knows_its_facts_as_before():
    checkpoint = open_checkpoint(str(EMBEDDED), W8A16, "cpu")
    model = checkpoint.model
    layers = [layer for layer in model.modules() if isinstance(layer, (nn.Linear, Int8Linear))]
    assert {type(layer) for layer in layers if layer is not model.lm_head.wide} == {Int8Linear}
    assert model.lm_head.wide.weight is model.get_input_embeddings().weight  # no third copy
    assert all(layer.wide is None for layer in layers if layer is not model.lm_head and layer is not model.lm_head.wide)
    questions = held_out_questions(12, 3)
    right = [ask(checkpoint, question.prompt, {}).text == question.answer for question in questions]
    assert sum(right) >= 11


@pytest.mark.parametrize("dtype", EIGHT_BITS)
@pytest.mark.parametrize("decoding", ["speculative", "parallel_speculative"])
def test_drafts_change_no_token(decoding, dtype, build_model, prompts):
    twin = {"speculative": "autoregressive", "parallel_speculative": "parallel_autoregressive"}[decoding]
    model = build_model(tokens_per_length_unit=1)
    round_model(model, dtype)
    for prompt in prompts(3, 12, seed=2):
        ids, fields = torch.tensor([prompt]), {"max_new_tokens": 40, "do_sample": False}
        expected = model.generate(ids, decoding=twin, **fields)
        assert model.generate(ids, decoding=decoding, draft_tokens=3, **fields).equal(expected)


@pytest.mark.parametrize("dtype", EIGHT_BITS)
def test_rounded_weights_are_not_saved(dtype, build_model, tmp_path):
    model = build_model()
    round_model(model, dtype)
    with pytest.raises(ValueError, match="rounded to 8 bits are not saved; load the model in bfloat16"):
        model.save_pretrained(tmp_path / "out")


@pytest.mark.parametrize("dtype", EIGHT_BITS)
def test_a_gpu_is_refused_before_anything_is_loaded(dtype):
    with pytest.raises(ValueError, match=f"{dtype} is faster on a CPU only, and the device is cuda:1; give int8"):
        load("nowhere/nothing", dtype, device="cuda:1")


@pytest.mark.parametrize("dtype", EIGHT_BITS)
def test_from_the_command_line(dtype, capsys):
    assert main(["generate", "What is the capital of Kenya?", "--dtype", dtype, "--device", "cpu", "--json"]) == 0
    assert "Nairobi" in json.loads(capsys.readouterr().out)["text"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own code generation
def test_frozen_code_gives_the_same_answers():
    checkpoint = open_checkpoint(str(EMBEDDED), W8A16, "cpu")
    questions = [question.prompt for question in held_out_questions(3, 5)]
    eager = [ask(checkpoint, question, {}).text for question in questions]
    checkpoint.model.generation_config.compile_config = CompileConfig(**FROZEN)
    assert [ask(checkpoint, question, {}).text for question in questions] == eager
