"""Whether the promises of training data fit its spans, in the tokens and length units of the model that learns them."""

from collections.abc import Sequence

import numpy as np

from ..records.tagged import parse_tagged
from .examples import Example

SHORT_SHARE = 0.05  # of the spans; annotate never promises too little
WIDE = 4  # times the units that a span needs, in the median


def misfit(records: Sequence[dict], examples: Sequence[Example], tokens_per_length_unit: int) -> str | None:
    """What is wrong with the promises of records and their examples, with a span to see it by; None if they fit."""
    answers = [parse_tagged(record["messages"][-1]["content"]) for record in records]
    parts = [part for rounds in answers for parts in rounds for part in parts]
    if not parts:
        return None
    tags = 2  # <async> and </async> belong to the span and need no room
    used = np.concatenate([np.bincount(example.span[example.span >= 0]) - tags for example in examples])
    promised = np.array([float(part.number) for part in parts])
    needed = np.ceil(used / tokens_per_length_unit)
    short = promised < needed
    if short.mean() > SHORT_SHARE:
        shown = int(np.argmax(needed / promised))
        fault = f"{short.mean():.0%} of the spans have more tokens than their promised room"
    elif np.median(promised / np.maximum(needed, 1)) > WIDE:
        shown = int(np.argmax(promised / np.maximum(needed, 1)))
        fault = f"half of the promises are more than {WIDE} times what their spans need"
    else:
        return None
    return (
        f"{fault}, such as {parts[shown].topic!r}: {used[shown]} tokens, promised {parts[shown].number} units of "
        f"{tokens_per_length_unit}"
    )
