"""Masks that `forward` takes, over every attention implementation: equal where they can be, refused elsewhere."""

import pytest
import torch

from planned_diffusion.generation.visibility import Labels, additive_mask, dense_mask, flex_mask

IDS = torch.tensor([[5, 60, 33, 97, 12, 80, 2, 41]])


@pytest.fixture(scope="module")
def labels() -> Labels:
    """p p A A B B s p: [1, 8]."""
    zero = torch.zeros(1, 8, dtype=torch.long)
    span = torch.tensor([[-1, -1, 0, 0, 1, 1, -1, -1]])
    return Labels(zero, span, torch.tensor([[0] * 6 + [1] * 2]), zero, torch.arange(8)[None])


@pytest.fixture
def model(build_model):
    return build_model()


def with_implementation(model, implementation: str, mask, dtype=torch.float32):
    model.set_attn_implementation(implementation)
    with torch.no_grad():
        return model(IDS, attention_mask=mask, position_ids=torch.arange(8)[None]).logits


@pytest.mark.parametrize("architecture", ["qwen2", "qwen3", "llama"])
def test_bool_masks_mean_the_same_for_sdpa_and_eager(architecture, build_model, labels):
    model, mask = build_model(architecture), dense_mask(labels, labels)[:, None]
    sdpa = with_implementation(model, "sdpa", mask)
    torch.testing.assert_close(with_implementation(model, "eager", mask), sdpa, atol=1e-5, rtol=0)
    assert not torch.allclose(sdpa, with_implementation(model, "sdpa", None), atol=1e-2)  # the mask matters


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_additive_masks_are_taken_as_they_are(implementation, model, labels):
    mask = dense_mask(labels, labels)[:, None]
    additive = additive_mask(mask, torch.float32)
    torch.testing.assert_close(
        with_implementation(model, implementation, additive),
        with_implementation(model, "sdpa", mask),
        atol=1e-5,
        rtol=0,
    )


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_a_causal_4d_mask_is_no_mask(implementation, model):
    causal = torch.ones(8, 8, dtype=torch.bool).tril()[None, None]
    torch.testing.assert_close(
        with_implementation(model, implementation, causal),
        with_implementation(model, implementation, None),
        atol=1e-5,
        rtol=0,
    )


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_padded_rows_equal_the_row_alone(implementation, model):
    model.set_attn_implementation(implementation)
    with torch.no_grad():
        alone = model(IDS[:, 3:]).logits
        mask = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1]])
        padded = model(IDS, attention_mask=mask, position_ids=(mask.cumsum(-1) - 1).clamp(min=0)).logits
    torch.testing.assert_close(padded[:, 3:], alone, atol=1e-5, rtol=0)


def test_packed_documents_equal_the_documents_alone(model):
    """Two rows of different length in one sequence, kept apart by their labels alone."""
    first, second = IDS[:, :5], IDS[:, 5:]
    zero = torch.zeros(1, 8, dtype=torch.long)
    positions = torch.tensor([[0, 1, 2, 3, 4, 0, 1, 2]])
    labels = Labels(torch.tensor([[0] * 5 + [1] * 3]), zero - 1, zero, zero, positions)
    with torch.no_grad():
        packed = model(IDS, attention_mask=dense_mask(labels, labels)[:, None], position_ids=positions).logits
        torch.testing.assert_close(packed[:, :5], model(first).logits, atol=1e-5, rtol=0)
        torch.testing.assert_close(packed[:, 5:], model(second).logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32])
def test_flex_attention_refuses_a_4d_tensor(dtype, model):
    model.set_attn_implementation("flex_attention")
    with pytest.raises(
        ValueError, match=r"flex_attention reads a BlockMask, not a 4-D tensor; build one with flex_mask"
    ):
        model(IDS, attention_mask=torch.ones(1, 1, 8, 8, dtype=dtype))


@pytest.mark.filterwarnings("ignore")  # that FlexAttention without a compiled kernel is slow
def test_flex_attention_with_a_block_mask(model, labels):
    expected = with_implementation(model, "sdpa", dense_mask(labels, labels)[:, None])
    with torch.compiler.set_stance("force_eager"):  # compiling takes half a minute on a CPU
        out = with_implementation(model, "flex_attention", flex_mask(labels, labels))
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=0)


@pytest.mark.filterwarnings("ignore")
def test_flex_attention_generates_what_sdpa_generates(model):
    plan = [[[104, 30, 16, 105, 104, 31, 16, 105, 106], [104, 16, 105, 100]]]
    expected = model.generate(IDS, plan=plan, max_new_tokens=80, steps_ratio=0.2)
    model.set_attn_implementation("flex_attention")
    with torch.compiler.set_stance("force_eager"):
        assert model.generate(IDS, plan=plan, max_new_tokens=80, steps_ratio=0.2).equal(expected)


def test_gradients_flow_through_a_bool_mask(model, labels):
    grads = []
    for implementation in ("sdpa", "eager"):
        model.set_attn_implementation(implementation)
        model.zero_grad()
        mask = dense_mask(labels, labels)[:, None]
        model(IDS, attention_mask=mask, labels=IDS).loss.backward()
        grads.append(model.model.embed_tokens.weight.grad.clone())
    torch.testing.assert_close(*grads, atol=1e-5, rtol=1e-4)
