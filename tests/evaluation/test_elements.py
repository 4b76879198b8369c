"""The second table: true, deterministic, with questions that training never asks."""

import json
from types import SimpleNamespace

import pytest
import torch

from planned_diffusion.evaluation import elements

PERIODIC_TABLE = """
1 . . . . . . . . . . . . . . . . . 2
3 4 . . . . . . . . . . 5 6 7 8 9 10
11 12 . . . . . . . . . . 13 14 15 16 17 18
19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36
37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54
"""


def test_groups_and_periods_are_those_of_the_periodic_table():
    rows = [line.split() for line in PERIODIC_TABLE.strip().splitlines()]
    for period, row in enumerate(rows, start=1):
        for group, number in enumerate(row if len(row) == 18 else [row[0], *["."] * 16, row[-1]], start=1):
            if number != ".":
                name = elements.NAMES[int(number) - 1]
                assert elements.value(name, "group") == str(group), name
                assert elements.value(name, "period") == str(period), name


@pytest.mark.parametrize(
    ("name", "symbol", "number", "state"),
    [
        ("hydrogen", "H", "1", "gas"),
        ("bromine", "Br", "35", "liquid"),
        ("iron", "Fe", "26", "solid"),
        ("silver", "Ag", "47", "solid"),
        ("tin", "Sn", "50", "solid"),
        ("xenon", "Xe", "54", "gas"),
    ],
)
def test_some_elements(name, symbol, number, state):
    assert [elements.value(name, key) for key in ("symbol", "atomic number", "state")] == [symbol, number, state]


def test_questions_are_deterministic_and_held_out_ones_are_never_asked_in_training():
    def asked(held_out):
        return [question.prompt for question in elements.questions(400, 1, held_out)]

    assert asked(False) == asked(False)
    assert not set(asked(False)) & set(asked(True))
    for question in elements.questions(50, 3):
        assert question.answer.splitlines() == [f"- {fact}" for fact in question.facts]


def test_what_is_written(tmp_path):
    elements.main(["write", str(tmp_path / "a" / "plain.jsonl"), "--count", "5"])
    records = [json.loads(line) for line in (tmp_path / "a" / "plain.jsonl").read_text().splitlines()]
    assert [record["response"] for record in records] == [question.answer for question in elements.questions(5, 1)]
    elements.main(["replay", str(tmp_path / "old.jsonl"), "--count", "4"])
    records = [json.loads(line) for line in (tmp_path / "old.jsonl").read_text().splitlines()]
    assert len(records) == 4 and all("</topic>" in record["messages"][-1]["content"] for record in records)


def test_the_measure_counts_facts_that_stand_in_the_text():
    asked = list(elements.questions(10, 0, held_out=True))
    answers = [question.answer for question in asked]
    answers[0] = answers[0].replace(asked[0].facts[0], "Nothing.")

    class Batch(dict):
        def to(self, device):
            return self

    model = SimpleNamespace(device="cpu", generate=lambda rows, tokenizer: rows)
    prompts = [question.prompt for question in asked]

    class Tokenizer:
        def __call__(self, texts, **kwargs):
            return Batch(rows=torch.tensor([prompts.index(text) for text in texts]))

        def batch_decode(self, rows, skip_special_tokens):
            return [answers[row] for row in rows.tolist()]

    total = sum(len(question.facts) for question in asked)
    assert elements.share_of_facts_right(model, Tokenizer(), 10, batch_size=4) == pytest.approx(1 - 1 / total)
