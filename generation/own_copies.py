"""Copies of what a caller gives, one for each answer of a batch: what a copy remembers is about its answer alone."""

import copy
from collections.abc import Callable, Iterable, Sequence
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase
from transformers.generation.stopping_criteria import StopStringCriteria

# Not copied: large, and never changed by being asked.
SHARED = (torch.nn.Module, PreTrainedTokenizerBase, StopStringCriteria, ModuleType)
WITHOUT_PARTS = (int, float, str, type, torch.Tensor)

Variables = list[tuple[CellType, Any]]  # of functions inside functions: where each is kept, and a value


def own_copies(given: Sequence[Callable[..., Any]], count: int) -> list[list[Callable[..., Any]]]:
    """Copy callables so many times, with all that they remember: attributes, and variables of closures.

    Raises:
        Exception: whatever `copy.deepcopy` raises for something that cannot be copied, such as a lock or a generator.
    """
    reached = _reached_from(given)
    shared = {id(value): value for value in reached if _is_shared(value)}
    cells = [value for value in reached if isinstance(value, CellType)]
    copies = []
    for _ in range(count):
        memo = dict(shared)
        twins = [copy.deepcopy(each, memo) for each in given]
        variables = [(cell, copy.deepcopy(cell.cell_contents, memo)) for cell in cells]
        copies.append([_with_variables(twin, variables) for twin in twins] if cells else twins)
    return copies


def _with_variables(function: Callable[..., Any], variables: Variables) -> Callable[..., Any]:
    """Return a function that finds and leaves these values in its variables, and puts back the caller's behind it."""

    def call(*args: Any, **kwargs: Any) -> Any:
        callers = [(cell, cell.cell_contents) for cell, _ in variables]
        _put(variables)
        try:
            return function(*args, **kwargs)
        finally:
            variables[:] = [(cell, cell.cell_contents) for cell, _ in variables]
            _put(callers)

    return call


def _put(variables: Variables) -> None:
    for cell, value in variables:
        cell.cell_contents = value


def _is_shared(value: object) -> bool:
    """Return whether copies have an object in common; events are signals from outside, which are meant for all."""
    return isinstance(value, SHARED) or type(value).__module__ == "threading"


def _reached_from(given: Iterable[Any]) -> list[Any]:
    """Collect every object, cells of closures included, that copying would come to."""
    reached, waiting = {}, [*given]
    while waiting:
        value = waiting.pop()
        if id(value) not in reached and not isinstance(value, WITHOUT_PARTS):
            reached[id(value)] = value
            waiting += () if _is_shared(value) else _parts(value)
    return list(reached.values())


def _parts(value: Any) -> Iterable[Any]:
    """Return what an object holds, as `copy.deepcopy` finds it."""
    if isinstance(value, (list, tuple)):
        return value
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, MethodType):
        return (value.__self__,)
    if isinstance(value, FunctionType):
        return [cell for cell in value.__closure__ or () if _is_filled(cell)]
    if isinstance(value, CellType):
        return (value.cell_contents,)
    try:
        return [part for part in value.__reduce_ex__(4)[1:3] if part is not None]
    except Exception:  # it cannot be copied, or is a constant; copying says so
        return ()


def _is_filled(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
