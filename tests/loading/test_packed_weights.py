"""Packed weights: products are those of plain ones, models keep their answers, and can be copied and saved."""

import copy
import pickle

import peft
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import CompileConfig

from planned_diffusion.facts.generator import held_out_questions
from planned_diffusion.inference.answer import Checkpoint, ask, open_checkpoint
from planned_diffusion.loading.embedded import EMBEDDED
from planned_diffusion.loading.load import load
from planned_diffusion.loading.packed_weights import PackedLinear, pack_weights, packs

pytestmark = pytest.mark.skipif(not packs(), reason="oneDNN does not multiply bfloat16 here")
QUESTIONS = [question.prompt for question in held_out_questions(6, 3)]


def linear_layers(model) -> set[type]:
    return {type(layer) for layer in model.modules() if isinstance(layer, (nn.Linear, PackedLinear))}


@pytest.mark.parametrize("shape", [(1, 1), (48, 80), (192, 576), (577, 33)])
@pytest.mark.parametrize("rows", [1, 2, 7, 16, 33, 130])
@pytest.mark.parametrize("bias", [True, False])
def test_products_are_those_of_the_plain_weights(rows, shape, bias):
    torch.manual_seed(rows)
    layer, states = nn.Linear(*shape[::-1], bias=bias).bfloat16(), torch.randn(1, rows, shape[1]).bfloat16()
    product = PackedLinear(layer)(states)
    exact = states.double() @ layer.weight.double().T + (layer.bias.double() if bias else 0)
    assert product.shape == exact.shape and product.dtype == torch.bfloat16
    assert torch.allclose(product.double(), exact, rtol=2**-8, atol=1e-3)  # rounded once, to 8 bits


def test_a_model_in_bfloat16_is_opened_packed_and_answers_as_before():
    opened, (plain, tokenizer) = open_checkpoint(str(EMBEDDED), "bfloat16", "cpu"), load(str(EMBEDDED), "bfloat16")
    assert linear_layers(opened.model) == {PackedLinear} and linear_layers(plain) == {nn.Linear}
    ids = tokenizer(" ".join(QUESTIONS), return_tensors="pt").input_ids
    with torch.no_grad():
        ours, theirs = (model(input_ids=ids).logits.float() for model in (opened.model, plain))
    assert (ours - theirs).abs().max() < 0.02 * theirs.abs().max()
    expected = [ask(Checkpoint(plain.eval(), tokenizer, ""), question, {}).text for question in QUESTIONS]
    assert [ask(opened, question, {}).text for question in QUESTIONS] == expected


def test_float32_is_not_packed():
    assert linear_layers(open_checkpoint(str(EMBEDDED), "float32", "cpu").model) == {nn.Linear}


def test_of_a_model_that_will_be_compiled_the_head_is_packed():
    model = open_checkpoint(str(EMBEDDED), "bfloat16", "cpu", compiled=True).model
    assert linear_layers(model.model) == {nn.Linear} and type(model.lm_head) is PackedLinear


def test_a_packed_model_is_saved_as_it_was_loaded(tmp_path):
    opened, (plain, _) = open_checkpoint(str(EMBEDDED), "bfloat16", "cpu"), load(str(EMBEDDED), "bfloat16")
    opened.model.save_pretrained(tmp_path)
    saved, loaded = load_file(tmp_path / "model.safetensors"), plain.state_dict()
    assert saved.keys() == {name for name in loaded if name != "lm_head.weight"}  # that is the embedding's
    assert all(weight.equal(loaded[name]) for name, weight in saved.items())


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_layers_can_be_copied(copied):
    layer = PackedLinear(nn.Linear(48, 80).bfloat16())
    states = torch.randn(3, 48).bfloat16()
    assert copied(layer)(states).equal(layer(states))


def test_an_adapter_stays_beside_packed_weights(build_model):
    model = build_model(dtype=torch.bfloat16)
    settings = peft.LoraConfig(r=2, target_modules=["q_proj", "up_proj"], init_lora_weights=False)
    peft.get_peft_model(model, settings)
    ids = torch.randint(0, 90, (1, 12))
    before = model(input_ids=ids).logits
    pack_weights(model)
    named = dict(model.named_modules())
    assert isinstance(named["model.layers.0.self_attn.q_proj.base_layer"], PackedLinear)
    assert isinstance(named["model.layers.0.self_attn.q_proj.lora_A.default"], nn.Linear)
    with torch.no_grad():
        assert (model(input_ids=ids).logits - before).abs().max() <= 0.02 * before.abs().max()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own code generation
def test_code_compiled_later_gives_the_same_answers():
    opened = open_checkpoint(str(EMBEDDED), "bfloat16", "cpu")
    eager = [ask(opened, question, {}).text for question in QUESTIONS[:2]]
    opened.model.generation_config.compile_config = CompileConfig(mode=None)
    assert [ask(opened, question, {}).text for question in QUESTIONS[:2]] == eager
