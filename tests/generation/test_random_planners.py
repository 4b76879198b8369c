"""Whole answers by planners that draw anything they may: every one ends, within its budget, well formed."""

import random

import pytest

from planned_diffusion.generation.decoders.planned import planned
from planned_diffusion.generation.plan import parse_round
from planned_diffusion.generation.query import Reply

DIGITS = "0123456789"
VOCABULARY = [ord(sign) for sign in f"<>[]|._${DIGITS}abc "]


class RandomModel:
    """Draws a token of `query.allowed` for every wanted row, with random scores; tags as likely as the weights say."""

    def __init__(self, seed: int):
        self.choose = random.Random(seed)
        self.weights = [self.choose.random() ** 4 + 1e-9 for _ in VOCABULARY]
        for tag in "<>|":
            self.weights[VOCABULARY.index(ord(tag))] *= self.choose.choice([1, 5, 25])

    def __call__(self, query) -> Reply:
        rows = len(query.wanted)
        drawn = []
        for allowed in query.allowed if isinstance(query.allowed, list) else [query.allowed] * rows:
            tokens = [token for token in VOCABULARY if token in allowed]
            drawn += self.choose.choices(tokens, [self.weights[VOCABULARY.index(token)] for token in tokens])
        return Reply(drawn, [self.choose.random() for _ in range(rows)], [self.choose.random() for _ in range(rows)])


def request_of(seed: int, request_in_letters):
    choose = random.Random(f"request {seed}")
    unit = choose.choice([0.5, 1.0, 2.5, 10.0])
    return request_in_letters(
        prompt="a" * choose.randint(1, 5),
        unit=unit,
        max_new_tokens=choose.randint(16, 150),
        max_spans=choose.randint(1, 5),
        max_rounds=choose.randint(1, 5),
        dense=choose.random() < 0.5,
        steps_ratio=choose.choice([0.1, 0.5, 1.0, 2.0]),
        confidence_threshold=choose.choice([None, 0.3, 0.9]),
        close_padding=choose.random() < 0.5,
        plan_lookahead=choose.choice([0, 0, 2, 5]),
        distinct_topics=choose.random() < 0.5,
    )


def check_written(written: str, request, letters) -> int:
    """Reads an answer back by its own promises; returns its rounds."""
    rounds, at = 0, 0
    while at < len(written) and written[at] == "<":
        stop = at
        while stop < len(written) and written[stop] == "<":  # promises hold no tags
            stop = written.index(">", stop) + 1
        plan = parse_round([*map(ord, written[at:stop]), ord("$")], letters, request.unit)
        assert len(plan.spans) <= request.settings.max_spans
        if request.settings.distinct_topics:
            topics = [bytes(span.topic_ids).decode() for span in plan.spans if span.topic_ids]
            words = [topic for topic in topics if not {*topic} & {*DIGITS}]
            assert len({topic[0] for topic in words}) == len(words)
        at = stop
        for span in plan.spans:
            assert written[at] == "[" and written[at + span.length + 1] == "]"
            assert not set(written[at + 1 : at + span.length + 1]) & set("<>[]|_$")
            at += span.length + 2
        rounds += 1
        if written[at : at + 1] != "|":
            break
        at += 1
    assert written[at:] in ("$", "")
    return rounds


@pytest.mark.slow
def test_a_thousand_random_answers(drive, request_in_letters, letters):
    endings, rounds, plain = {"eos": 0, "length": 0}, [], 0
    for seed in range(1000):
        request = request_of(seed, request_in_letters)
        played = drive(planned(request), RandomModel(seed))
        ended, written = played.ended, played.written
        assert ended.reason in ("eos", "length"), seed
        assert len(ended.written_ids) <= request.settings.max_new_tokens, (seed, written)
        assert (written[-1:] == "$") == (ended.reason == "eos"), seed
        endings[ended.reason] += 1
        if not ended.plans:
            plain += 1
            assert not set(written) & set("<>[]|._") and "$" not in written[:-1]
            continue
        rounds.append(check_written(written, request, letters))
        assert rounds[-1] == len(ended.plans) <= request.settings.max_rounds
    assert min(endings.values()) > 150 and plain > 100, (endings, plain)
    assert max(rounds) >= 4 and rounds.count(1) > 50, rounds


@pytest.mark.parametrize("dense", [False, True])
def test_every_blank_is_asked_for_until_it_is_written(dense, drive, request_in_letters):
    """What a denoising step wants are the blanks that it runs, each predicted by its left neighbour's row."""
    steps = 0
    for seed in range(20):
        model = RandomModel(seed)

        def answer(query, model=model):
            nonlocal steps
            if query.purpose == "denoising":
                steps += 1
                blanks = [p for p, token in zip(query.positions, query.token_ids, strict=True) if token == ord("_")]
                assert [query.positions[index] + 1 for index in query.wanted] == blanks
            return model(query)

        drive(planned(request_in_letters(max_new_tokens=120, dense=dense)), answer)
    assert steps > 50
