"""Products in 8 bits: arithmetic by hand, rows on their own, whole models, and CPUs that cannot."""

import pytest
import torch
from torch import nn
from transformers import CompileConfig

from planned_diffusion.facts.generator import held_out_questions
from planned_diffusion.inference.answer import ask, open_checkpoint
from planned_diffusion.loading import eight_bits
from planned_diffusion.loading.embedded import EMBEDDED
from planned_diffusion.loading.int8_products import STEPS, W8A8, Int8ProductLinear, multiplies_exactly
from planned_diffusion.loading.int8_weights import rounded_rows
from planned_diffusion.loading.load import load

pytestmark = pytest.mark.skipif(not multiplies_exactly(), reason="this CPU does not multiply 8-bit numbers")


def test_by_hand():
    layer = nn.Linear(3, 2)
    layer.weight.data = torch.tensor([[1.27, -0.5, 0.0], [0.0, 2.0, -254.0]])
    layer.bias.data = torch.tensor([0.0, 1.5])
    # Numbers 127, -50, 0 of scale 0.01 and 0, 1, -127 of scale 2; activations -1, 254, 50.2 are 0, 255, 51.2 steps of 1
    # above -1, the last of which is rounded to 51.
    out = Int8ProductLinear(layer)(torch.tensor([[[-1.0, 254.0, 50.2]]]))
    assert out.shape == (1, 1, 2)
    assert out.flatten().tolist() == pytest.approx([0.01 * (-127 - 50 * 254), 2 * (254 - 127 * 50) + 1.5])


def by_definition(layer: nn.Linear, states: torch.Tensor) -> torch.Tensor:
    numbers, scale = rounded_rows(layer.weight.detach())
    rows = []
    for row in states.double():
        step = (row.max() - row.min()) / STEPS
        steps = torch.round((row - row.min()) / step) if step else torch.zeros_like(row)
        rows.append((row.min() + step * steps) @ (numbers.double() * scale.double()[:, None]).T)
    return torch.stack(rows) + (0 if layer.bias is None else layer.bias.double())


@pytest.mark.parametrize("shape", [(1, 1), (48, 80), (192, 576), (577, 33)])
@pytest.mark.parametrize("rows", [1, 2, 7, 33, 130])
@pytest.mark.parametrize("bias", [True, False])
def test_products_are_those_of_rounded_numbers(rows, shape, bias):
    torch.manual_seed(rows)
    layer, states = nn.Linear(*shape[::-1], bias=bias), torch.randn(rows, shape[1]) * 3 + 1
    expected = by_definition(layer, states)
    step = ((states.amax(dim=1) - states.amin(dim=1)) / STEPS).double()[:, None]
    off = (Int8ProductLinear(layer)(states).double() - expected).abs()
    exact = off <= 1e-5 * (1 + expected.abs())
    assert (exact | (off <= 1.01 * step * layer.weight.abs().max())).all()  # halfway between two steps, either is right
    assert exact.double().mean() > 0.9


def test_a_row_does_not_depend_on_the_rows_beside_it():
    torch.manual_seed(0)
    layer, states = Int8ProductLinear(nn.Linear(576, 192)), torch.randn(40, 576)
    together = layer(states)
    for row in range(40):
        assert torch.equal(layer(states[row : row + 1])[0], together[row])


@pytest.mark.parametrize("states", [torch.zeros(2, 48), torch.full((2, 48), -3.5), torch.full((2, 48), 1e30)])
def test_rows_without_a_spread(states):
    layer = nn.Linear(48, 16, bias=False)
    numbers, scale = rounded_rows(layer.weight.detach())
    expected = states.double() @ (numbers.double() * scale.double()[:, None]).T
    assert torch.allclose(Int8ProductLinear(layer)(states).double(), expected, rtol=1e-4, atol=1e-6)


def test_a_row_with_nan_stays_nan_and_spoils_no_other():
    layer, states = Int8ProductLinear(nn.Linear(48, 16)), torch.randn(3, 48)
    clean = layer(states)
    states[1, 5] = float("nan")
    out = layer(states)
    assert out[1].isnan().all() and torch.equal(out[[0, 2]], clean[[0, 2]])


def test_the_included_model_knows_its_facts_as_before():
    checkpoint = open_checkpoint(str(EMBEDDED), W8A8, "cpu")
    model = checkpoint.model
    plain = [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    assert not plain and type(model.lm_head) is Int8ProductLinear
    questions = held_out_questions(24, 3)
    right = [ask(checkpoint, question.prompt, {}).text == question.answer for question in questions]
    assert sum(right) >= 22


def test_a_batch_gives_the_answers_of_single_requests():
    model, tokenizer = load(str(EMBEDDED), W8A8)
    questions = [question.prompt for question in held_out_questions(6, 3)]
    asked = tokenizer(questions, return_tensors="pt", padding=True, padding_side="left")
    together = model.eval().generate(**asked, do_sample=False)
    for row, question in enumerate(questions):
        ids = tokenizer(question, return_tensors="pt")["input_ids"]
        alone = model.generate(ids, do_sample=False)[0, ids.shape[1] :].tolist()
        answer = together[row, asked["input_ids"].shape[1] :].tolist()
        assert answer[: len(alone)] == alone and set(answer[len(alone) :]) <= {tokenizer.pad_token_id}


def test_a_cpu_without_such_products_is_refused(monkeypatch):
    monkeypatch.setattr(eight_bits, "multiplies_exactly", lambda: False)
    with pytest.raises(ValueError, match="w8a8 needs a CPU that multiplies 8-bit numbers .*; give w8a16 or bfloat16"):
        load("nowhere/nothing", W8A8)


def test_products_that_overflow_are_noticed(monkeypatch):
    def overflowing(numbers, weight, scale, zero_points):  # sums of two products, kept in 16 bits
        return torch.full((len(numbers), len(scale)), 32767.0 * numbers.shape[1] / 2)

    monkeypatch.setattr("planned_diffusion.loading.int8_products.multiply", overflowing)
    assert not multiplies_exactly()


@pytest.mark.slow
@pytest.mark.parametrize("options", [None, {"freezing": True}])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:To copy construct:UserWarning")  # torch's own
def test_compiled_code_gives_the_same_answers(options):
    checkpoint = open_checkpoint(str(EMBEDDED), W8A8, "cpu")
    questions = [question.prompt for question in held_out_questions(2, 5)]
    eager = [ask(checkpoint, question, {}).text for question in questions]
    checkpoint.model.generation_config.compile_config = CompileConfig(mode=None, options=options)
    assert [ask(checkpoint, question, {}).text for question in questions] == eager
