"""Five hundred calls of generate with random arguments, right and wrong: an answer, or one sentence of ours."""

import random
import traceback
from pathlib import Path

import pytest
import torch
from transformers import GenerationConfig

from planned_diffusion.generation.decoders.table import DECODERS
from planned_diffusion.generation.fields import FIELDS, SHARED_FIELDS
from planned_diffusion.generation.plan import Plan, Round, Span
from planned_diffusion.generation.skeleton import Blank

CALLS, PARTS = 500, 5
PACKAGE = Path(__file__).resolve().parents[2]
ODD = [None, True, False, 0, 1, -1, 2, 3, 7, 0.5, -0.5, 1.5, 1e30, float("nan"), float("inf"), "", "x", "dense", [],
       [5], [-1], [0.5], ["end"], (), {}, {"a": 1}, b"x", object(), torch.tensor(3), torch.tensor([1, 2]),
       10**30]  # fmt: skip
PROMISE = [104, 30, 16, 105]


def right_value(name: str, draw: random.Random):
    field = (FIELDS | SHARED_FIELDS)[name]
    if name == "decoding":
        return draw.choice(list(DECODERS))
    if name == "max_new_tokens":
        return draw.choice([1, 2, 5, 12, 20])
    choices = getattr(field.check, "choices", None)
    if choices:
        return draw.choice(list(choices))
    candidates = [value for value in (True, 1, 2, 5, 0.5, 0.9, [5], "end", ["a", "b"]) if accepts(field, name, value)]
    return draw.choice(candidates) if candidates else field.default


def accepts(field, name: str, value) -> bool:
    try:
        field.check(name, value)
    except ValueError:
        return False
    return True


def fields_of_a_call(draw: random.Random) -> dict:
    """Mostly right ones that a random decoding may or may not read, now and then an odd value."""
    fields = {"max_new_tokens": right_value("max_new_tokens", draw)}
    if draw.random() < 0.7:
        fields["decoding"] = right_value("decoding", draw)
    names = list(FIELDS | SHARED_FIELDS)
    if "decoding" in fields and draw.random() < 0.7:
        names = [*DECODERS[fields["decoding"]].reads, *SHARED_FIELDS]
    names = [name for name in names if name != "compile_config"]  # compiling takes minutes
    for name in draw.sample(names, draw.choice([0, 1, 1, 2, 3])):
        fields[name] = draw.choice(ODD) if draw.random() < 0.25 else right_value(name, draw)
    if draw.random() < 0.05:
        fields[draw.choice(["num_beams", "steps", "min_p", "typical_p", "suppress_tokens"])] = draw.choice(ODD)
    return fields


def prompt_of_a_call(draw: random.Random) -> dict:
    rows, width = draw.choice([1, 1, 2, 3]), draw.choice([1, 4, 9])
    ids = torch.tensor([[draw.randrange(100) for _ in range(width)] for _ in range(rows)])
    kind = draw.random()
    if kind < 0.8:
        return {"input_ids": ids}
    if kind < 0.9:
        mask = torch.ones_like(ids)
        mask[0, : draw.randrange(width + 1)] = 0
        return {"input_ids": ids, "attention_mask": mask}
    wrong = [
        None,
        ids[0],
        ids.float(),
        ids.tolist(),
        "text",
        ids + 100,
        -ids - 1,
        ids[:0],
        ids.bool(),
        ids.to(torch.int8),
    ]
    return {"input_ids": draw.choice(wrong), **draw.choice([{}, {"attention_mask": draw.choice([ids[:, :1], "x", 1])}])}


def plan_of_a_call(draw: random.Random):
    entry = draw.choice([
        None, [[]], [[([30], 4)]], [[([30], 4), ([31, 32], 3)], [([33], 2)]], [[*PROMISE, 100]], [[*PROMISE, 106]],
        [[([30], [[5, 6], Blank(2)])]], [[([30], [Blank(2, exact=True)])]],
        Plan((Round((Span((30,), 2, 4),), (104,), 100),)),
        # wrong ones
        [], 5, "plan", [[5]], [[104, 104]], [[("text", 3)]], [[([30], 0)]], [[([30], -1)]], [[([30], 10**9)]],
        [[([30], "4")]],
        [[([30],)]], [[([300], 4)]], [[([30], [])]], [[([30], [7])]], [[*PROMISE, 100], [*PROMISE, 100]], [[None]],
        {1: 2},
        [[([30], [[500], Blank(1)])]], [[([], 4)]], [[([30.5], 4)]], [[(None, 4)]],
    ])  # fmt: skip
    return draw.choice([[entry], [entry], [entry] * 2, [entry] * 3, entry])


def callbacks_of_a_call(draw: random.Random) -> dict:
    processors = [
        lambda ids, scores: scores, lambda ids, scores: scores * float("-inf"),
        lambda ids, scores: scores + ids.shape[1],
        lambda ids, scores: None, lambda ids, scores: scores[0], lambda ids, scores: scores.half(), 5, "x", [None], [],
        [lambda ids, scores: scores.long()], lambda ids, scores: scores.tolist(),
    ]  # fmt: skip
    criteria = [
        lambda ids, scores: False, lambda ids, scores: ids[:, -1] > 50, lambda ids, scores: True,
        lambda ids, scores: None, lambda ids, scores: torch.zeros(7),
        lambda ids, scores: [False] * len(ids), lambda ids, scores: "no",
        5, [5], [], {},
        iter(()), [lambda ids, scores: ids],
    ]  # fmt: skip
    given = {}
    if draw.random() < 0.5:
        given["logits_processor"] = draw.choice(processors)
    if draw.random() < 0.5:
        given["stopping_criteria"] = draw.choice(criteria)
    return given


def arguments(draw: random.Random) -> dict:
    fields = fields_of_a_call(draw)
    call = prompt_of_a_call(draw)
    if draw.random() < 0.25:
        call["plan"] = plan_of_a_call(draw)
    if draw.random() < 0.25:
        call |= callbacks_of_a_call(draw)
    if draw.random() < 0.05:
        call[draw.choice(["tokenizer", "assistant_model", "streamer", "listener"])] = draw.choice([5, "x"])
    door = draw.random()
    if door < 0.75:
        return call | fields
    if door < 0.97:
        return call | {"generation_config": fields}
    return call | {"generation_config": draw.choice([5, "x", [], GenerationConfig(max_new_tokens=4)])}


def is_ours(error: BaseException) -> bool:
    """Raised by a `raise` of the package's own, as one sentence."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    said = str(error)
    return (
        isinstance(error, (ValueError, TypeError))
        and Path(last.filename).is_relative_to(PACKAGE / "generation")
        and (last.line or "").startswith("raise ")
        and len(said) > 20
        and "\n" not in said
    )


@pytest.mark.parametrize("part", range(PARTS))
def test_a_call_answers_or_says_in_a_sentence_what_is_wrong(part, build_model):
    draw, model, answered, refused = random.Random(part), build_model(tokens_per_length_unit=2), 0, set()
    for number in range(part, CALLS, PARTS):
        call = arguments(draw)
        try:
            out = model.generate(**call)
        except Exception as error:
            assert is_ours(error), (number, call, "".join(traceback.format_exception(error)[-8:]))
            refused.add(str(error)[:40])
        else:
            sequences = getattr(out, "sequences", out)
            assert sequences.dtype == torch.long and sequences.shape[1] >= call["input_ids"].shape[1]
            answered += 1
        assert not model.training
    assert answered > CALLS / PARTS / 5 and len(refused) > 15
