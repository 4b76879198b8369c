"""Show a training batch as text: what the model reads, stream by stream, with blanks where tokens are masked."""

from collections.abc import Iterator, Sequence

import torch
from transformers import PreTrainedTokenizerBase

from ..generation.tokens import ControlTokens
from ..generation.visibility import CAUSAL, CLEAN, DRAFT, NOISY
from .collator import PADDING_DOCUMENT
from .row import LOSS_NAMES

STREAMS = {CLEAN: "clean", NOISY: "noisy", CAUSAL: "causal", DRAFT: "drafts"}
BLANK = "░"
SHOWN = 3  # examples


def batch_lines(
    batch: dict[str, torch.Tensor], tokenizer: PreTrainedTokenizerBase, control: ControlTokens
) -> Iterator[str]:
    """Yield a batch as lines of text: its size, the tokens that are learnt, and its first examples.

    A line per stream of an example; `░` is a masked token. Several lines with one name are copies, such as the two
    views of complementary masks.
    """
    lines, length = batch["input_ids"].shape
    documents = batch["document"]
    padding = (documents == PADDING_DOCUMENT).float().mean().item()
    counts = zip(LOSS_NAMES.values(), batch["loss_part_targets"].tolist(), strict=True)
    learnt = ", ".join(f"{count} for {name}" for name, count in counts if count)
    yield f"batch    {lines} lines of {length} tokens, {padding:.0%} padding; learns {learnt}"
    shown = 0
    for line in range(lines):
        for document in range(PADDING_DOCUMENT + 1, int(documents[line].max()) + 1):
            if shown == SHOWN:
                return
            shown += 1
            yield f"  example {shown}"
            inside = documents[line] == document
            ids, streams = (batch[name][line][inside].tolist() for name in ("input_ids", "stream"))
            for stream, piece in _pieces(ids, streams):
                yield f"    {STREAMS[stream]:7} {_as_text(piece, tokenizer, control)}"


def _pieces(ids: Sequence[int], streams: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
    """Yield the stream and ids of neighbours that share a stream; all drafts are one."""
    start = 0
    kinds = [min(stream, DRAFT) for stream in streams]
    for place in range(1, len(ids) + 1):
        if place == len(ids) or kinds[place] != kinds[start]:
            yield kinds[start], list(ids[start:place])
            start = place


def _as_text(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase, control: ControlTokens) -> str:
    """Return ids as one line of text with blanks; line breaks and characters that a terminal obeys are escaped."""
    text, start = "", 0
    for place in range(len(ids) + 1):
        if place == len(ids) or ids[place] == control.mask:
            text += str(tokenizer.decode(list(ids[start:place]), skip_special_tokens=False)) if place > start else ""
            text += BLANK if place < len(ids) else ""
            start = place + 1
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
