"""Which token sees which: truth tables (rows ask, columns are seen), and slow double loops from the formulas."""

import itertools

import pytest
import torch

from planned_diffusion.generation.visibility import (
    CAUSAL,
    CLEAN,
    DRAFT,
    NO_DOCUMENT,
    NO_SPAN,
    NOISY,
    Labels,
    dense_mask,
)

# One row per label; columns are tokens. Documents and spans are letters ("." = none), the other labels digits.
SPARSE = """
    tokens      p a b A A B B s
    document    x x x x x x x x
    span        . . . A A B B .
    round       0 0 0 0 0 0 0 1
    stream      0 0 0 0 0 0 0 0
    position    0 1 2 3 4 5 6 7
    p           # . . . . . . .
    a           # # . . . . . .
    b           # # # . . . . .
    A           # # # # # . . .
    A           # # # # # . . .
    B           # # # . . # # .
    B           # # # . . # # .
    s           # # # # # # # #
"""
DENSE = """
    tokens      p a b A A B B s
    document    x x x x x x x x
    span        . . . A A A A .
    round       0 0 0 0 0 0 0 1
    stream      0 0 0 0 0 0 0 0
    position    0 1 2 3 4 5 6 7
    p           # . . . . . . .
    a           # # . . . . . .
    b           # # # . . . . .
    A           # # # # # # # .
    A           # # # # # # # .
    B           # # # # # # # .
    B           # # # # # # # .
    s           # # # # # # # #
"""
TWO_ROUNDS = """
    tokens      p A A B s c C D e
    document    x x x x x x x x x
    span        . A A B . . C D .
    round       0 0 0 0 1 1 1 1 1
    stream      0 0 0 0 0 0 0 0 0
    position    0 1 2 3 4 5 6 7 8
    p           # . . . . . . . .
    A           # # # . . . . . .
    A           # # # . . . . . .
    B           # . . # . . . . .
    s           # # # # # . . . .
    c           # # # # # # . . .
    C           # # # # # # # . .
    D           # # # # # # . # .
    e           # # # # # # . . #
"""
# Training: p A A s B, and a noisy copy n n of A, m of B. A noisy query sees its own noise and, outside its span, what
# its clean twin sees; nothing clean sees noise.
NOISY_STREAM = """
    tokens      p A A s B n n m
    document    x x x x x x x x
    span        . A A . B A A B
    round       0 0 0 1 1 0 0 1
    stream      0 0 0 0 0 1 1 1
    position    0 1 2 3 4 1 2 4
    p           # . . . . . . .
    A           # # # . . . . .
    A           # # # . . . . .
    s           # # # # . . . .
    B           # # # # # . . .
    n           # . . . . # # .
    n           # . . . . # # .
    m           # # # # . . . #
"""
DENSE_NOISY_STREAM = """
    tokens      p A B s n m
    document    x x x x x x
    span        . A A . A A
    round       0 0 0 1 0 0
    stream      0 0 0 0 1 1
    position    0 1 2 3 1 2
    p           # . . . . .
    A           # # # . . .
    B           # # # . . .
    s           # # # # . .
    n           # . . . # #
    m           # . . . # #
"""
CAUSAL_STREAM = """
    tokens      p A A A c c c
    document    x x x x x x x
    span        . A A A A A A
    round       0 0 0 0 0 0 0
    stream      0 0 0 0 2 2 2
    position    0 1 2 3 1 2 3
    p           # . . . . . .
    A           # # # # . . .
    A           # # # # . . .
    A           # # # # . . .
    c           # . . . # . .
    c           # . . . # # .
    c           # . . . # # #
"""
# A span `<xd` read to the left, `d` a guess; two blanks behind each of `x` (anchor 4: stream 3 + 4) and `d`.
DRAFTS_IN_A_SPAN = """
    tokens      p a b < x d 1 1 2 2
    document    x x x x x x x x x x
    span        . . . A A A A A A A
    round       0 0 0 0 0 0 0 0 0 0
    stream      0 0 0 2 2 2 7 7 8 8
    position    0 1 2 3 4 5 5 6 6 7
    p           # . . . . . . . . .
    a           # # . . . . . . . .
    b           # # # . . . . . . .
    <           # # # # . . . . . .
    x           # # # # # . . . . .
    d           # # # # # # . . . .
    1           # # # # # . # # . .
    1           # # # # # . # # . .
    2           # # # # # # . . # #
    2           # # # # # # . . # #
"""
# The same outside spans, behind a round whose span `A` is public, beside a span `B` that is not.
DRAFTS_OF_TEXT = """
    tokens      p A s x d B 1 1 2
    document    x x x x x x x x x
    span        . A . . . B . . .
    round       0 0 1 1 1 1 1 1 1
    stream      0 0 0 0 0 0 6 6 7
    position    0 1 2 3 4 5 4 5 5
    p           # . . . . . . . .
    A           # # . . . . . . .
    s           # # # . . . . . .
    x           # # # # . . . . .
    d           # # # # # . . . .
    B           # # # # # # . . .
    1           # # # # . . # # .
    1           # # # # . . # # .
    2           # # # # # . . . #
"""
TWO_DOCUMENTS = """
    tokens      p A A q q A . .
    document    x x x y y y . .
    span        . A A . . A . .
    round       0 0 0 0 0 0 0 0
    stream      0 0 0 0 0 0 0 0
    position    0 1 2 0 1 2 0 1
    p           # . . . . . . .
    A           # # # . . . . .
    A           # # # . . . . .
    q           . . . # . . . .
    q           . . . # # . . .
    A           . . . # # # . .
"""
TABLES = {name: table for name, table in globals().items() if name.isupper() and isinstance(table, str)}


def read(table: str) -> tuple[Labels, list[str]]:
    lines = [line.split() for line in table.strip().splitlines()]
    numbers = {".": -1} | {sign: number for number, sign in enumerate("ABCDE")} | {"x": 0, "y": 1}
    labels = [[numbers[sign] if sign in numbers else int(sign) for sign in line[1:]] for line in lines[1:6]]
    return Labels(*torch.tensor(labels)), ["".join(line[1:]) for line in lines[6:]]


def random_labels(noise: torch.Generator, count: int, streams=(CLEAN, NOISY, CAUSAL)) -> Labels:
    def pick(low, high):
        return torch.randint(low, high, (count,), generator=noise)

    return Labels(
        document=pick(NO_DOCUMENT, 2),
        span=pick(NO_SPAN, 3),
        round=pick(0, 3),
        stream=torch.tensor(streams)[pick(0, len(streams))],
        position=pick(0, 10),
    )


@pytest.mark.parametrize("name", TABLES)
def test_truth_table(name):
    labels, expected = read(TABLES[name])
    mask = dense_mask(labels, labels)
    drawn = ["".join("#" if seen else "." for seen in row) for row in mask.tolist()]
    assert drawn[: len(expected)] == expected
    assert not mask[: len(expected), len(expected) :].any()  # nobody sees padding or an empty slot


def slow_rule(q: dict, k: dict) -> bool:
    """Method, section 2, word by word; the clean stream alone."""
    if q["document"] != k["document"]:
        return False
    same_span = q["span"] == k["span"] != -1
    public = k["span"] == -1 or k["round"] < q["round"]
    return same_span or (k["position"] <= q["position"] and public)


def slow_rule_with_copies(q: dict, k: dict) -> bool:
    """Section 3: clean queries never see copies; a copy sees its own stream in its span and the clean text outside."""
    if q["document"] != k["document"]:
        return False
    if q["span"] == k["span"] != -1 and q["stream"] == k["stream"]:
        return q["stream"] != CAUSAL or k["position"] <= q["position"]
    if k["stream"] != CLEAN:
        return False
    public = k["span"] == -1 or k["round"] < q["round"]
    return public and k["position"] <= q["position"]


def slow_rule_with_drafts(q: dict, k: dict) -> bool:
    """A draft sees the drafts of its anchor and what the anchor sees; nothing else sees a draft."""
    if k["stream"] >= DRAFT:
        return all(q[name] == k[name] for name in ("document", "span", "stream"))
    if q["stream"] >= DRAFT:
        q = {**q, "stream": CLEAN if q["span"] == -1 else CAUSAL, "position": q["stream"] - DRAFT}
    return slow_rule_with_copies(q, k)


@pytest.mark.parametrize(
    "rule, streams",
    [
        (slow_rule, (CLEAN,)),
        (slow_rule_with_copies, (CLEAN, NOISY, CAUSAL)),
        (slow_rule_with_drafts, (CLEAN, NOISY, CAUSAL, DRAFT + 2, DRAFT + 5)),
    ],
    ids=["clean", "copies", "drafts"],
)
def test_rule_equals_the_double_loop(rule, streams):
    noise = torch.Generator().manual_seed(0)
    for _ in range(40):
        labels = random_labels(noise, 24, streams)
        tokens = [{name: int(getattr(labels, name)[i]) for name in labels.__dict__} for i in range(24)]
        expected = [[rule(q, k) for k in tokens] for q in tokens]
        assert dense_mask(labels, labels).tolist() == expected


def spans_written_out(noise: torch.Generator) -> list[tuple[int, int]]:
    """(span index or -1, round) per token of a random answer with up to three rounds."""
    tokens, index = [(-1, 0)] * 2, 0
    for number in range(int(torch.randint(1, 4, (), generator=noise))):
        tokens += [(-1, number)] * 2
        for length in torch.randint(1, 4, (int(torch.randint(1, 4, (), generator=noise)),), generator=noise).tolist():
            tokens += [(index, number)] * length
            index += 1
    return tokens


def test_dense_label_per_round_equals_the_dense_formula():
    """dense: sparse, or both in spans of the same round."""
    noise = torch.Generator().manual_seed(1)
    for _ in range(40):
        tokens = spans_written_out(noise)
        spans, rounds = (torch.tensor(column) for column in zip(*tokens, strict=True))
        places = torch.arange(len(tokens))
        zero = torch.zeros_like(spans)
        labels = Labels(zero, torch.where(spans >= 0, rounds, NO_SPAN), rounds, zero, places)
        seen = dense_mask(labels, labels).tolist()
        for q, k in itertools.product(range(len(tokens)), repeat=2):
            (q_span, q_round), (k_span, k_round) = tokens[q], tokens[k]
            sparse = q_span == k_span != -1 or (k <= q and (k_span == -1 or k_round < q_round))
            dense = sparse or (q_span != -1 and k_span != -1 and q_round == k_round)
            assert seen[q][k] == dense, (tokens, q, k)


def test_sparse_with_one_span_is_dense_with_one_span():
    labels, _ = read(SPARSE)
    one = labels.each(lambda label: label[[0, 1, 2, 3, 4, 7]])
    dense, _ = read(DENSE)
    assert dense_mask(one, one).equal(dense_mask(*[dense.each(lambda label: label[[0, 1, 2, 3, 4, 7]])] * 2))
