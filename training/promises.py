"""Check that the promises of training data fit its spans, in the tokens and length units of the model that learns."""

from collections.abc import Sequence

import numpy as np

from .examples import Example

SHORT_SHARE = 0.05  # of the spans; annotate never promises too little
WIDE = 4  # times the units that a span needs, in the median


def misfit(examples: Sequence[Example], tokens_per_length_unit: int) -> str | None:
    """Return how the promises fail to fit their spans, with the worst span as an example; None if they fit."""
    promises = [promise for example in examples for promise in example.promises]
    if not promises:
        return None
    promised = np.array([float(promise.number) for promise in promises])
    needed = np.ceil(np.array([promise.tokens for promise in promises]) / tokens_per_length_unit)
    short = promised < needed
    if short.mean() > SHORT_SHARE:
        worst = promises[int(np.argmax(needed / promised))]
        fault = f"{short.mean():.0%} of the spans have more tokens than their promised room"
    elif np.median(promised / np.maximum(needed, 1)) > WIDE:
        worst = promises[int(np.argmax(promised / np.maximum(needed, 1)))]
        fault = f"half of the promises are more than {WIDE} times what their spans need"
    else:
        return None
    return (
        f"{fault}, such as {worst.topic!r}: {worst.tokens} tokens, promised {worst.number} units of "
        f"{tokens_per_length_unit}"
    )
