"""Heads that share keys as rows of one product: the attention of transformers, and the same answers."""

import pytest
import torch
from torch import nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from planned_diffusion.generation.engine import grouped_heads, runner
from planned_diffusion.generation.engine.grouped_heads import GROUPED, can_group, grouped_attention, grouping


class Layer(nn.Module):
    """A layer of attention, as transformers' functions look at one."""

    def __init__(self, sharing: int) -> None:
        super().__init__()
        self.num_key_value_groups = sharing


def heads_of(sharing: int, rows: int, slots: int, dtype=torch.float32) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(rows)
    query = torch.randn(2, 2 * sharing, rows, 16, dtype=dtype)
    key, value = torch.randn(2, 2, 2, slots, 16, dtype=dtype)
    visible = torch.rand(2, 1, rows, slots) < 0.6
    visible[..., 0] = True
    return query, key, value, visible


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("is_bool", [True, False])
@pytest.mark.parametrize(("sharing", "rows", "slots"), [(1, 4, 9), (3, 1, 9), (3, 2, 9), (3, 8, 70), (4, 40, 150)])
def test_it_is_the_attention_of_transformers(sharing, rows, slots, is_bool, dtype):
    query, key, value, visible = heads_of(sharing, rows, slots, dtype)
    mask = visible if is_bool else torch.zeros(visible.shape).masked_fill(~visible, -torch.inf).to(dtype)
    given = (Layer(sharing), query, key, value, mask)
    ours, theirs = (attend(*given, scaling=0.3)[0] for attend in (grouped_attention, sdpa_attention_forward))
    assert ours.shape == theirs.shape and ours.is_contiguous()
    assert torch.allclose(ours, theirs, atol=1e-6 if dtype == torch.float32 else 1e-2)


@pytest.mark.parametrize(
    "more", [{"position_bias": torch.zeros(2, 6, 4, 9)}, {"softcap": 3.0}, {"unheard_of": torch.ones(2)}]
)
def test_what_it_does_not_know_is_left_to_transformers(more, monkeypatch):
    asked = []
    monkeypatch.setattr(
        grouped_heads, "sdpa_attention_forward", lambda *given, **named: asked.append(named) or "theirs"
    )
    query, key, value, visible = heads_of(3, 4, 9)
    assert grouped_attention(Layer(3), query, key, value, visible, **more) == "theirs"
    assert list(asked[0]) == list(more)
    grouped_attention(Layer(3), query, key, value, visible, sliding_window=7, use_cache=True)
    assert len(asked) == 1


def test_the_configuration_is_as_before_after_a_forward(build_model):
    config = build_model().model.config
    with pytest.raises(KeyError), grouping(config):
        assert config._attn_implementation == GROUPED
        raise KeyError
    assert config._attn_implementation == "sdpa"


@pytest.mark.parametrize("mask", [None, torch.tensor([[0, 1, 1, 1, 1]])])
def test_a_forward_of_another_thread_is_as_ever(mask, build_model):
    """Its mask is made by transformers, for the function that the configuration names meanwhile."""
    model, ids = build_model(), torch.tensor([[3, 5, 7, 9, 11]])
    with torch.no_grad():
        expected = model.model(input_ids=ids, attention_mask=mask).last_hidden_state
        with grouping(model.model.config):
            found = model.model(input_ids=ids, attention_mask=mask).last_hidden_state
    assert torch.allclose(found[:, 1:], expected[:, 1:], atol=1e-6)


def test_where_it_applies(build_model):
    grouped = build_model(backbone={"num_attention_heads": 4, "num_key_value_heads": 2}).model.config
    assert can_group(grouped, torch.device("cpu")) and not can_group(grouped, torch.device("cuda"))
    alone = build_model(backbone={"num_attention_heads": 4, "num_key_value_heads": 4}).model.config
    assert not can_group(alone, torch.device("cpu"))
    grouped._attn_implementation = "eager"
    assert not can_group(grouped, torch.device("cpu"))


@pytest.mark.parametrize("decoding", ["autoregressive", "speculative", "parallel_speculative", "planned"])
@pytest.mark.parametrize("lines", [1, 3])
def test_answers_are_those_of_transformers_attention(decoding, lines, build_model, prompts, monkeypatch):
    model = build_model(tokens_per_length_unit=1)
    ids, answers, used = torch.tensor(prompts(lines, 12, seed=4)[:1] * lines), [], []
    monkeypatch.setattr(
        grouped_heads, "scaled_dot_product_attention", count_calls(used, grouped_heads.scaled_dot_product_attention)
    )
    for groups in (True, False):
        monkeypatch.setattr(runner, "can_group", lambda *given, groups=groups: groups and can_group(*given))
        answers.append(model.generate(ids, decoding=decoding, max_new_tokens=40, do_sample=False))
        if groups:
            assert used or decoding == "autoregressive"
            used.clear()
    assert answers[0].equal(answers[1]) and not used


def count_calls(calls: list, function):
    return lambda *given, **named: calls.append(None) or function(*given, **named)
