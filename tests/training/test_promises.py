"""Promises in another model's tokens or length units are warned of."""

import json
from pathlib import Path

import pytest

from planned_diffusion.training import sft
from planned_diffusion.training.dataset import encode_records
from planned_diffusion.training.promises import misfit

PLAIN = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "sun"}]}


def tagged(*parts):
    promises = "".join(f"<promise>-<topic>{topic} {number}</topic>" for topic, _, number in parts)
    answer = promises + "".join(f"<async>{text}</async>" for _, text, _ in parts)
    return {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": answer}]}


def test_promises_of_another_length_unit_are_warned_of(workspace, capsys):
    Path("one.jsonl").write_text(json.dumps(tagged(("sun", "An aurora is light in the sky." * 9, 1))) + "\n")
    with pytest.raises(ValueError, match="two spans in a round"):
        sft.main(["--config", "recipe.yaml", "--train_file", "one.jsonl"])
    warning = capsys.readouterr().err.splitlines()[-1]
    assert warning.startswith("warning: one.jsonl: 100% of the spans have more tokens than their promised room, such")
    assert "promised 1 units of 4; annotate it for this model (planned-diffusion annotate --model tok" in warning


@pytest.mark.parametrize(
    ("numbers", "fault"),
    [
        ([1] * 19 + [2], None),
        ([2] * 20, None),
        ([4] * 20, None),
        ([5] * 11 + [1] * 9, "half of the promises are more than 4 times what their spans need, such as 'a'"),
    ],
)
def test_promises_that_fit_are_not_complained_of(numbers, fault, tokenizer, control):
    records = [tagged(("a", "sun", number)) for number in numbers] + [PLAIN]
    found = misfit(encode_records(records, tokenizer, control), 4)
    assert found == fault if fault is None else found.startswith(fault)


@pytest.mark.parametrize(("short", "is_fault"), [(1, False), (2, True)])
def test_more_than_a_twentieth_of_the_promises_must_be_short(short, is_fault, tokenizer, control):
    long = "zqj zqj zqj zqj"
    records = [tagged(("b", long, 1))] * short + [tagged(("a", "sun", 1))] * (20 - short)
    found = misfit(encode_records(records, tokenizer, control), 4)
    assert (found is not None) == is_fault and (not is_fault or "such as 'b'" in found)
