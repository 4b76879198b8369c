"""Draw one training row of an example: padding, noise, two streams, labels, weights (arXiv 2510.18087, section 3).

A row holds the clean sequence and behind it a noisy copy of every span with its original's positions (`#` = mask):

    ids       p  P  a  T  <async> x y <pad> </async>  s | <async> x # <pad> </async>
    position  0  1  2  3  4       5 6 7     8         9 | 4       5 6 7     8
    stream    CLEAN                                       NOISY
    label     P  a  T  s  -       - - -     -         - | -       y - -     -

Labels are already aligned with rows: the output at p-1 predicts the token at p, inside spans as outside, and a span's
first token is predicted at its own `<async>`. Outside the spans a token predicts the next token outside the spans, so
the last `</topic>` of a round predicts `<sync/>` or EOS. Visibility is that of `generation.visibility`: clean tokens
never see noisy ones; a noisy span sees itself and the tokens that its clean twin would see. Clean copies of spans that
no later round reads are left out.

Weights: plan tokens `plan_loss_weight`; masked content 1/t, t being the probability with which it was masked, so that
the expectation over masks is a sum over all content; tokens of plain answers 1.
"""

from dataclasses import dataclass, replace

import numpy as np

from ..generation.tokens import ControlTokens
from ..generation.visibility import CAUSAL, CLEAN, NO_SPAN, NOISY
from .block_rows import in_blocks
from .draft_rows import with_drafts
from .examples import Example
from .objective import Objective
from .row import NEXT_TOKEN, NO_LABEL, PLAIN, PLAN, SPAN, Row, targets_of


def draw_row(example: Example, objective: Objective, control: ControlTokens, rng: np.random.Generator) -> Row:
    """Draw one use of an example: first whether in blocks, plain or planned, then pads, t and masks, then drafts."""
    if objective.block_share and rng.random() < objective.block_share:
        row = in_blocks(example, control, rng, objective.block_sizes, objective.noise_range)
        return _with_start_weight(row, example, objective)
    if not example.is_tagged or (objective.plain_share and rng.random() < objective.plain_share):
        row = _with_start_weight(_plain(example), example, objective)
    else:
        row = _planned(example, objective, control, rng)
    return with_drafts(row, objective, control, rng)


def _planned(example: Example, objective: Objective, control: ControlTokens, rng: np.random.Generator) -> Row:
    """Draw the row of a tagged example with its plan."""
    pads = _drawn_pads(example, objective, rng)
    padded = pad_spans(example, pads, control, is_dense=objective.span_attention == "dense")
    pieces = [clean_row(padded, objective.plan_loss_weight)]
    if not objective.drafts_alone:
        pieces += _noisy(padded, objective, control, rng)
    if objective.has_causal_copies:
        pieces.append(_causal(padded, objective, control))
    return Row.joined(pieces)


def _plain(example: Example) -> Row:
    """Return the plain answer as causal tokens, each of which predicts the next.

    The last token predicts nothing and is left out.
    """
    ids = np.concatenate([example.ids[: example.prompt_length], example.plain_answer])
    length = len(ids) - 1
    zeros = np.zeros(length, dtype=np.int64)
    counts = np.arange(1, length + 1) >= example.prompt_length
    return Row(
        ids=ids[:-1],
        span=zeros + NO_SPAN,
        round=zeros,
        stream=zeros + CLEAN,
        position=np.arange(length),
        labels=np.where(counts, ids[1:], NO_LABEL),
        weights=counts.astype(np.float32),
        loss_part=zeros + PLAIN,
        targets=targets_of(PLAIN, np.count_nonzero(counts)),
    )


def _with_start_weight(row: Row, example: Example, objective: Objective) -> Row:
    """Weigh the first answer token by `plain_start_weight` in a row that uses a tagged example without its plan."""
    if not example.is_tagged or objective.plain_start_weight == 1:
        return row
    is_start = (row.stream == CLEAN) & (row.position == example.prompt_length - 1)
    return replace(row, weights=np.where(is_start, row.weights * objective.plain_start_weight, row.weights))


@dataclass(frozen=True)
class PaddedExample:
    """An example with its pads, as if written out: position == index. `group` is the span label of the row."""

    ids: np.ndarray
    span: np.ndarray
    group: np.ndarray
    round: np.ndarray
    is_target: np.ndarray
    is_pad: np.ndarray


def _drawn_pads(example: Example, objective: Objective, rng: np.random.Generator) -> np.ndarray:
    """Draw the number of pads of every span, int64 [spans]."""
    lengths, (least, most) = span_lengths(example), objective.span_padding
    pads = rng.integers(least, most + 1, size=len(lengths))
    return pads + -(lengths + pads) % objective.span_multiple


def span_lengths(example: Example) -> np.ndarray:
    """Return the content tokens of every span, int64 [spans]."""
    return np.array([promise.tokens for promise in example.promises], dtype=np.int64)


def pad_spans(example: Example, pads: np.ndarray, control: ControlTokens, is_dense: bool) -> PaddedExample:
    """Put pads before the `</async>` of every span.

    Args:
        pads: their number, int64 [spans].
        is_dense: the spans of a round see each other.
    """
    copies = np.ones(len(example.ids), dtype=np.int64)
    copies[(example.ids == control.async_end) & (example.span != NO_SPAN)] += pads
    order = np.repeat(np.arange(len(example.ids)), copies)  # </async> k+1 times; the first k become [PAD]
    is_pad = np.append(order[:-1] == order[1:], False)
    span, round_ids = example.span[order], example.round[order]
    return PaddedExample(
        ids=np.where(is_pad, control.span_pad, example.ids[order]),
        span=span,
        group=np.where(span == NO_SPAN, NO_SPAN, round_ids) if is_dense else span,
        round=round_ids,
        is_target=example.is_target[order] | is_pad,
        is_pad=is_pad,
    )


def clean_row(padded: PaddedExample, plan_loss_weight: float = 1.0) -> Row:
    """Return prompt, plan, `<sync/>` and the spans that a later round reads; EOS, the last token, predicts nothing."""
    outside = padded.span == NO_SPAN
    is_read = outside | (padded.round < padded.round[-1])
    is_read[-1] = False
    labels = np.full(len(padded.ids), NO_LABEL)
    weights = np.zeros(len(padded.ids), dtype=np.float32)
    public = np.flatnonzero(outside)
    current, following = public[:-1], public[1:]
    counts = padded.is_target[following]
    labels[current] = np.where(counts, padded.ids[following], NO_LABEL)
    weights[current] = counts * plan_loss_weight
    position = np.flatnonzero(is_read)
    return Row(
        ids=padded.ids[position],
        span=padded.group[position],
        round=padded.round[position],
        stream=np.full(len(position), CLEAN),
        position=position,
        labels=labels[position],
        weights=weights[position],
        loss_part=np.full(len(position), PLAN),
        targets=targets_of(PLAN, np.count_nonzero(counts)),
    )


@dataclass(frozen=True)
class View:
    """The masks of one noisy copy: arrays over the tokens of all spans.

    `group` is the copy's span label, `weight` the loss weight of a token where it is masked.
    """

    group: np.ndarray
    is_masked: np.ndarray
    weight: np.ndarray


def _noisy(padded: PaddedExample, objective: Objective, control: ControlTokens, rng: np.random.Generator) -> list[Row]:
    """Copy every span, mask each content token of the copy with probability t, and weigh the masked ones by 1/t.

    t is drawn per span (sparse) or per round (dense): tokens that see each other share it. Sparse spans are independent
    given the plan, so their losses add up and each is an expectation over its own t: the joint draw changes only the
    variance. In dense attention a span's context includes how far its round is, so one t must hold for all of it.

    With complementary masks a second copy masks the other tokens, each with probability 1 - t. It needs span labels of
    its own: the two copies must not see each other.
    """
    position = np.flatnonzero(padded.span != NO_SPAN)
    group, content = padded.group[position], padded.is_target[position]
    level = rng.uniform(*objective.noise_range, size=group.max() + 1)
    if objective.fully_masked_share:
        level[rng.random(len(level)) < objective.fully_masked_share] = 1.0
    level = level[group]  # t of each token
    is_masked = content & (rng.random(len(position)) < level)
    if objective.complementary_masks:
        views = _complementary_views(group, content, is_masked, level, least=objective.noise_range[0])
    else:
        views = [View(group, is_masked, 1 / level)]
    rows = [noisy_row(padded, position, view, control) for view in views]
    # Content counts once, however many views it has.
    return [replace(rows[0], targets=targets_of(SPAN, np.count_nonzero(content))), *rows[1:]]


def _complementary_views(
    group: np.ndarray, content: np.ndarray, is_masked: np.ndarray, level: np.ndarray, least: float
) -> list[View]:
    """Return the drawn masks and their complement, each of which counts half.

    Args:
        level: t of each token.
        least: bound of a probability from below, so that no weight is out of proportion.
    """
    share = np.where(level == 1, 1.0, 0.5)  # where all is masked, the other view has nothing to learn
    return [
        View(group, is_masked, share / np.maximum(level, least)),
        View(group + group.max() + 1, content & ~is_masked, share / np.maximum(1 - level, least)),
    ]


def noisy_row(padded: PaddedExample, position: np.ndarray, view: View, control: ControlTokens) -> Row:
    """Return the tokens of all spans with some of their content masked, without targets."""
    ids = padded.ids[position]
    predicts = np.append(view.is_masked[1:], False)  # a content token's left neighbour lies in its own span
    following = np.append(ids[1:], 0)
    return Row(
        ids=np.where(view.is_masked, control.mask, ids),
        span=view.group,
        round=padded.round[position],
        stream=np.full(len(position), NOISY),
        position=position,
        labels=np.where(predicts, following, NO_LABEL),
        weights=(predicts * view.weight).astype(np.float32),
        loss_part=np.full(len(position), SPAN),
        targets=targets_of(SPAN, 0),
    )


def _causal(padded: PaddedExample, objective: Objective, control: ControlTokens) -> Row:
    """Copy every span without pads, to be read left to right; these labels do not enter the normaliser.

    The last token of a span predicts `[PAD]`, so that a span that is written left to right ends before its room does.
    A promise that stands in a span again is not learnt.
    """
    inside = (padded.span != NO_SPAN) & ~padded.is_pad
    position = np.flatnonzero(inside & (padded.ids != control.async_end))
    ids, span = padded.ids[position], padded.span[position]
    is_last = np.append(span[1:] != span[:-1], True)
    following = np.where(is_last, control.span_pad, np.append(ids[1:], control.span_pad))
    counts = is_last | np.append(padded.is_target[position][1:], True)
    return Row(
        ids=ids,
        span=padded.group[position],
        round=padded.round[position],
        stream=np.full(len(position), CAUSAL),
        position=position,
        labels=np.where(counts, following, NO_LABEL),
        weights=(counts * objective.span_next_token_weight).astype(np.float32),
        loss_part=np.full(len(position), NEXT_TOKEN),
        targets=targets_of(NEXT_TOKEN, np.count_nonzero(counts)),
    )
