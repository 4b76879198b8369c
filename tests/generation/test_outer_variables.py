"""Processors and criteria that remember something outside of their own attributes, or in objects of every sort.

Answers of a batch are those of the prompts alone, or the call is refused before a forward has run.
"""

import collections
import dataclasses
import functools
import itertools
import random
import threading
import weakref

import numpy
import pytest
import torch
from transformers import LogitsProcessor, StoppingCriteria

from planned_diffusion.generation.engine import engine as engine_module
from planned_diffusion.generation.own_copies import own_copies

PAD = 99
STATES = 97
TASTE = torch.randn(STATES, 112, generator=torch.Generator().manual_seed(1)) * 6
COUNT, SEEN, BOX = 0, [], {"calls": 0}


class Counter:
    calls = 0

    def next(self) -> int:
        self.calls += 1
        return self.calls

    def process(self, input_ids, scores):
        return liked(self.next(), scores)


def liked(state: int, scores: torch.Tensor) -> torch.Tensor:
    return scores + TASTE[state % STATES]


OBJECT = Counter()


# Outside of objects


def global_number(input_ids, scores):
    global COUNT
    COUNT += 1
    return liked(COUNT, scores)


def global_list(input_ids, scores):
    SEEN.append(1)
    return liked(len(SEEN), scores)


def global_dict(input_ids, scores):
    BOX["calls"] += 1
    return liked(BOX["calls"], scores)


def global_object(input_ids, scores):
    return OBJECT.process(input_ids, scores)


def helpers_global(input_ids, scores):
    return global_number(input_ids, scores)


def of_another_module(input_ids, scores, draw=random.Random(3)):  # noqa: B008  # the state is the test
    return liked(draw.randrange(STATES), scores)


def default(input_ids, scores, seen=[]):  # noqa: B006  # the state is the test
    seen.append(1)
    return liked(len(seen), scores)


def keyword_default(input_ids, scores, *, seen=[]):  # noqa: B006  # the state is the test
    seen.append(1)
    return liked(len(seen), scores)


def attribute(input_ids, scores):
    attribute.calls += 1
    return liked(attribute.calls, scores)


class ClassNumber(LogitsProcessor):
    calls = 0

    def __call__(self, input_ids, scores):
        type(self).calls += 1
        return liked(type(self).calls, scores)


class ClassList(LogitsProcessor):
    seen = []  # the state is the test

    def __call__(self, input_ids, scores):
        self.seen.append(1)
        return liked(len(self.seen), scores)


class OfTheParent(ClassList):
    pass


class StaticMethod(LogitsProcessor):
    @staticmethod
    def __call__(input_ids, scores):
        return global_list(input_ids, scores)


def nested():
    def count():
        count.calls += 1
        return count.calls

    count.calls = 0
    return lambda input_ids, scores: liked(count(), scores)


def class_in_a_function():
    calls = 0

    class Inner(LogitsProcessor):
        def __call__(self, input_ids, scores):
            nonlocal calls
            calls += 1
            return liked(calls, scores)

    return Inner()


# In objects


class Holds(LogitsProcessor):
    """Keeps an object, and asks it for the next state."""

    def __init__(self, held, following):
        self.held, self.following = held, following

    def __call__(self, input_ids, scores):
        return liked(self.following(self.held), scores)


class Slots(LogitsProcessor):
    __slots__ = ("calls",)

    def __init__(self):
        self.calls = 0

    def __call__(self, input_ids, scores):
        self.calls += 1
        return liked(self.calls, scores)


@dataclasses.dataclass
class Fields:
    calls: int = 0

    def __call__(self, input_ids, scores):
        self.calls += 1
        return liked(self.calls, scores)


def lengthen(held) -> int:
    held.append(1)
    return len(held)


def add_in_place(held) -> int:
    held += 1
    return int(held.sum())


def of_a_partial(box, input_ids, scores):
    return liked(lengthen(box), scores)


RIGHT = {
    **{kind.__name__: lambda kind=kind: kind for kind in (
        global_number, global_list, global_dict, global_object, helpers_global, of_another_module, default,
        keyword_default, attribute,
    )},
    **{kind.__name__: kind for kind in (
        ClassNumber, ClassList, OfTheParent, StaticMethod, nested, class_in_a_function, Slots, Fields,
    )},
    "method": lambda: Counter().process,
    "partial": lambda: functools.partial(of_a_partial, []),
    "count": lambda: Holds(itertools.count(), next),
    "cycle": lambda: Holds(itertools.cycle(range(5)), next),
    "deque": lambda: Holds(collections.deque(), lengthen),
    "random.Random": lambda: Holds(random.Random(3), lambda held: held.randrange(STATES)),
    "numpy generator": lambda: Holds(numpy.random.default_rng(3), lambda held: int(held.integers(STATES))),
    "numpy array": lambda: Holds(numpy.zeros(3), add_in_place),
    "numpy array of objects": lambda: Holds(numpy.array([0, [b"a"]], dtype=object), lambda held: lengthen(held[1])),
    "torch generator": lambda: Holds(
        torch.Generator().manual_seed(3), lambda held: int(torch.randint(STATES, (), generator=held))
    ),
    "bytes": lambda: Holds([b"bytes", bytearray(b"more"), 1 + 2j], lengthen),
    "noise of the process": lambda: lambda input_ids, scores: scores + numpy.random.rand() * 0 + torch.rand(1) * 0,
}  # fmt: skip


class CopiedAsItself(Counter):
    def __deepcopy__(self, memo):
        return self

    def __call__(self, input_ids, scores):
        return self.process(input_ids, scores)


class Module(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, input_ids, scores):
        self.calls += 1
        return liked(int(self.calls), scores)


def behind_a_weak_reference():
    counter = Counter()
    return Holds([counter, weakref.ref(counter)], lambda held: held[1]().next())


SHARED = "remembers something that its copies share, so that the answers of this batch would change each other; pass"
REFUSED = {
    "copied as itself": (CopiedAsItself, SHARED),
    "module": (Module, SHARED),
    "module inside": (lambda: Holds(Module(), lambda held: int(held(0, torch.zeros(112)).argmax())), SHARED),
    "cached": (lambda: Holds(functools.lru_cache(lambda key: []), lambda held: lengthen(held(1))), SHARED),
    "weak reference": (behind_a_weak_reference, SHARED),
    "thread-local": (lambda: Holds(threading.local(), id), "one cannot be copied"),
}


@pytest.fixture
def fresh(monkeypatch):
    """fresh(): the variables outside of objects as they were before any call."""

    def begin_anew():
        global COUNT
        COUNT, BOX["calls"], OBJECT.calls, ClassNumber.calls, attribute.calls = 0, 0, 0, 0, 0
        for seen in (SEEN, ClassList.seen, default.__defaults__[0], keyword_default.__kwdefaults__["seen"]):
            seen.clear()
        of_another_module.__defaults__[0].seed(3)

    yield begin_anew
    begin_anew()


@pytest.fixture(scope="module")
def batch(prompts, left_padded):
    rows = [row for row in prompts(40, 20, seed=4) if len(row) > 1]
    return left_padded([rows[place] for place in (3, 10, 12)], PAD)


def answers(model, ids, mask, **given) -> list[list[int]]:
    fields = {"decoding": "parallel_autoregressive", "max_new_tokens": 16, "pad_token_id": PAD, **given}
    out = model.generate(ids, attention_mask=mask, **fields)
    return [[token for token in row if token != PAD] for row in out[:, ids.shape[1] :].tolist()]


@pytest.mark.parametrize("kind", RIGHT)
def test_answers_of_a_batch_are_those_alone_and_the_callers_state_stays(kind, planner, batch, fresh):
    ids, mask = batch
    alone = []
    for row in range(3):
        fresh()
        alone += answers(planner, ids[row : row + 1], mask[row : row + 1], logits_processor=RIGHT[kind]())
    fresh()
    assert answers(planner, ids, mask, logits_processor=RIGHT[kind]()) == alone
    assert (COUNT, SEEN, BOX["calls"], OBJECT.calls, ClassNumber.calls, ClassList.seen) == (0, [], 0, 0, 0, [])
    assert attribute.calls == 0 and not default.__defaults__[0]
    if kind != "noise of the process":
        assert alone != answers(planner, ids, mask), "the state would not be missed"


@pytest.mark.parametrize("kind", REFUSED)
def test_what_its_copies_share_is_refused_before_a_forward(kind, planner, batch, monkeypatch):
    ids, mask = batch
    make, sentence = REFUSED[kind]
    monkeypatch.setattr(engine_module.Engine, "tick", None)
    with pytest.raises(ValueError, match=sentence):
        answers(planner, ids, mask, logits_processor=make())


class StopAfter(StoppingCriteria):
    seen = []  # the state is the test

    def __call__(self, input_ids, scores, **kwargs):
        self.seen.append(int(input_ids[0, -1]))
        return len(self.seen) >= 4 + self.seen[0] % 3


def stop_after(input_ids, scores, seen=[], **kwargs):  # noqa: B006  # the state is the test
    seen.append(1)
    return len(seen) >= 5


@pytest.mark.parametrize("decoding", ["planned", "diffusion", "parallel_autoregressive", "autoregressive"])
@pytest.mark.parametrize("kind", ["class", "default"])
def test_criteria_too(kind, decoding, planner, batch):
    ids, mask = batch
    criterion = StopAfter() if kind == "class" else stop_after
    seen = StopAfter.seen if kind == "class" else stop_after.__defaults__[0]
    alone = []
    for row in range(3):
        seen.clear()
        one = slice(row, row + 1)
        alone += answers(planner, ids[one], mask[one], decoding=decoding, stopping_criteria=[criterion])
    seen.clear()
    together = answers(planner, ids, mask, decoding=decoding, stopping_criteria=[criterion])
    if decoding != "autoregressive":  # which asks once for all rows, as transformers does
        assert together == alone and not seen
    seen.clear()


def test_copies_of_what_libraries_keep_are_not_made():
    """A logger, the warnings filter and constants of torch are no state of an answer."""
    import logging

    logger = logging.getLogger("a test")

    def process(input_ids, scores):
        logger.debug("called")
        return torch.nn.functional.softmax(scores, -1)

    first, second = own_copies([process], 2)
    assert first[0](None, torch.zeros(2)).equal(second[0](None, torch.zeros(2)))
