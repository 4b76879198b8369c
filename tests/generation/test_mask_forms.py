"""One rule, four forms: bool, additive, FlexAttention's BlockMask, and labels that move together."""

import itertools

import pytest
import torch
from torch.nn.attention.flex_attention import create_block_mask

from planned_diffusion.generation.visibility import (
    NO_SPAN,
    Labels,
    additive_mask,
    attention_mask,
    dense_mask,
    flex_mask,
)


def random_labels(noise: torch.Generator, count: int) -> Labels:
    ranges = ((-1, 2), (-1, 3), (0, 3), (0, 3), (0, 10))  # document, span, round, stream, position
    return Labels(*(torch.randint(low, high, (count,), generator=noise) for low, high in ranges))


def batch_of_labels(keys: int = 20) -> tuple[Labels, Labels]:
    noise = torch.Generator().manual_seed(2)
    rows = [random_labels(noise, keys) for _ in range(3)]
    key = Labels(*(torch.stack([getattr(row, name) for row in rows]) for name in rows[0].__dict__))
    return key.each(lambda label: label[:, 5:12]), key


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_forms_of_the_mask_agree(dtype):
    query, key = batch_of_labels()
    expected = dense_mask(query, key)[:, None]
    assert attention_mask(query, key, "sdpa", dtype).equal(expected)
    eager = attention_mask(query, key, "eager", dtype)
    assert eager.dtype == dtype and eager.shape == (3, 1, 7, 20)
    assert (eager == 0).equal(expected)
    assert (eager[~expected] == torch.finfo(dtype).min).all()
    assert additive_mask(expected, dtype).equal(eager)


def test_flex_mask_is_the_same_rule():
    query, key = batch_of_labels()
    mask = attention_mask(query, key, "flex_attention", torch.float32)
    assert mask.shape == (3, 1, 7, 20)
    batch, row, column = torch.arange(3)[:, None, None], torch.arange(7)[:, None], torch.arange(20)
    assert mask.mask_mod(batch, torch.tensor(0), row, column).equal(dense_mask(query, key))


def test_flex_blocks_hold_every_visible_pair():
    """The blocks that FlexAttention skips hold nothing visible."""
    positions = torch.arange(300)[None]
    zero = torch.zeros_like(positions)
    spans = torch.where(positions >= 130, positions // 130, NO_SPAN)
    labels = Labels(zero, spans, zero, zero, positions)
    blocks = flex_mask(labels, labels).to_dense()[0, 0].bool()  # [3, 3]
    visible = dense_mask(labels, labels)[0]
    for row, column in itertools.product(range(3), repeat=2):
        block = visible[row * 128 : (row + 1) * 128, column * 128 : (column + 1) * 128]
        assert blocks[row, column] == block.any()


@pytest.mark.parametrize("queries, keys", [(130, 512), (256, 700), (7, 128)])
def test_flex_blocks_are_those_of_torch(queries, keys):
    """Which blocks are skipped, masked or seen whole, for many documents and one: as torch's own maker finds them."""
    noise = torch.Generator().manual_seed(3)

    def labels(count: int) -> Labels:
        many = torch.randint(0, 6, (1, count), generator=noise).sort().values
        documents = torch.cat([many, torch.zeros(1, count, dtype=torch.long)])  # of two rows, [2, N]
        spans = torch.randint(-1, 2, (2, count), generator=noise)
        positions = torch.arange(count).expand(2, -1)
        return Labels(documents, spans, spans.clamp(min=0), torch.zeros_like(spans), positions)

    query, key = labels(queries), labels(keys)
    ours = flex_mask(query, key)
    theirs = create_block_mask(ours.mask_mod, 2, None, queries, keys, device="cpu")
    assert ours.seq_lengths == theirs.seq_lengths and ours.to_dense().equal(theirs.to_dense())
    for name in ("kv_num_blocks", "full_kv_num_blocks", "q_num_blocks", "full_q_num_blocks"):
        assert getattr(ours, name).equal(getattr(theirs, name)), name


@pytest.mark.parametrize("implementation", ["flash_attention_2", "flash_attention_3", "paged|sdpa"])
def test_implementations_that_cannot_express_spans_are_refused(implementation):
    query, key = batch_of_labels()
    with pytest.raises(ValueError, match=r"cannot express spans.*attn_implementation=\"sdpa\", \"eager\""):
        attention_mask(query, key, implementation, torch.float32)


def test_labels_move_together():
    labels = random_labels(torch.Generator(), 8)
    assert labels.to("meta").span.device.type == "meta"
    assert labels.each(lambda label: label[:3]).position.equal(labels.position[:3])
