"""Copies of what a caller gives, one for each answer of a batch: what a copy remembers is about its answer alone."""

import copy
from collections.abc import Callable, Iterable, Sequence
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase
from transformers.generation.stopping_criteria import StopStringCriteria

from .outer_variables import Variable, code_of, distinct, variables_of

# Not copied: large, and never changed by being asked.
SHARED = (torch.nn.Module, PreTrainedTokenizerBase, StopStringCriteria, ModuleType)
# Copied as a whole; bytes would have new bytes for a part, and those again.
WITHOUT_PARTS = (int, float, complex, str, bytes, torch.Tensor)

Values = list[tuple[Variable, Any]]  # outer variables, each with a value


def own_copies(given: Sequence[Callable[..., Any]], count: int) -> list[list[Callable[..., Any]]]:
    """Copy callables so many times, with all that they remember: attributes, and variables outside of objects.

    Raises:
        Exception: whatever `copy.deepcopy` raises for something that cannot be copied, such as a lock or a generator.
    """
    reached = _reached_from(given)
    shared = {id(value): value for value in reached if _is_shared(value)}
    variables = distinct(variable for value in reached for variable in variables_of(value))
    copies = []
    for _ in range(count):
        memo = dict(shared)
        twins = [copy.deepcopy(each, memo) for each in given]
        values = [pair for variable in variables for pair in _copied(variable, memo)]
        copies.append([_with_values(twin, values) for twin in twins] if values else twins)
    return copies


def _copied(variable: Variable, memo: dict[int, Any]) -> Values:
    """Return a variable with a copy of its value; nothing where one that is no closure's cannot be copied."""
    try:
        return [(variable, copy.deepcopy(variable.value, memo))]
    except Exception:  # of a caller's object: it may raise anything
        if variable.is_cell:
            raise
        return []


def _with_values(function: Callable[..., Any], values: Values) -> Callable[..., Any]:
    """Return a function that finds and leaves these values in its variables, and puts back the caller's behind it."""

    def call(*args: Any, **kwargs: Any) -> Any:
        callers = [(variable, variable.value) for variable, _ in values]
        _put(values)
        try:
            return function(*args, **kwargs)
        finally:
            values[:] = [(variable, variable.value) for variable, _ in values]
            _put(callers)

    call.__name__ = getattr(function, "__name__", type(function).__name__)
    return call


def _put(values: Values) -> None:
    for variable, value in values:
        variable.put(value)


def _is_shared(value: object) -> bool:
    """Return whether copies have an object in common; events are signals from outside, which are meant for all."""
    return isinstance(value, SHARED) or type(value).__module__ == "threading"


def _reached_from(given: Iterable[Any]) -> list[Any]:
    """Collect every object that copying would come to, and the functions and classes that they lead to."""
    reached, waiting = {}, [*given]
    while waiting:
        value = waiting.pop()
        if id(value) not in reached and not isinstance(value, WITHOUT_PARTS):
            reached[id(value)] = value
            waiting += () if _is_shared(value) else _parts(value)
            waiting += () if _is_shared(value) else code_of(value)
            waiting += [variable.value for variable in variables_of(value)]
    return list(reached.values())


def _parts(value: Any) -> Iterable[Any]:
    """Return what an object holds, as `copy.deepcopy` finds it."""
    if isinstance(value, (list, tuple)):
        return value
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, MethodType):
        return (value.__self__, value.__func__)
    if isinstance(value, (FunctionType, CellType, type)):
        return ()  # their variables are no parts
    try:
        return [part for part in value.__reduce_ex__(4)[1:3] if part is not None]
    except Exception:  # it cannot be copied, or is a constant; copying says so
        return ()
