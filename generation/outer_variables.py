"""Variables that functions keep outside of objects, where copying an object does not copy them.

    closures           nonlocal calls; calls += 1
    defaults           def process(input_ids, scores, seen=[])
    attributes         process.calls += 1
    globals            global calls; also a list, dict or set, or an object of a class of the caller's own
    class attributes   type(self).calls += 1

Those of installed libraries are left out: what they keep there is about no answer.
"""

import dis
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from types import CellType, CodeType, FunctionType
from typing import Any

INSTALLED = {"site-packages", "dist-packages"}  # folders of libraries
CONTAINERS = (list, dict, set, deque, bytearray, Iterator)


@dataclass(frozen=True)
class Variable:
    """A variable by its name in the namespace of a module, or as an attribute of a cell, function or class."""

    owner: Any
    name: str

    @property
    def value(self) -> Any:
        """Return the value that the variable has now."""
        return self.owner[self.name] if isinstance(self.owner, dict) else getattr(self.owner, self.name)

    def put(self, value: Any) -> None:
        """Give the variable a value."""
        if isinstance(self.owner, dict):
            self.owner[self.name] = value
        else:
            setattr(self.owner, self.name, value)

    @property
    def is_cell(self) -> bool:
        """Whether it is a variable of a function around this one."""
        return isinstance(self.owner, CellType)


def variables_of(value: object) -> list[Variable]:
    """Return the outer variables of a function or a class; none of any other object."""
    if isinstance(value, FunctionType):
        cells = [Variable(cell, "cell_contents") for cell in value.__closure__ or () if _is_filled(cell)]
        return cells + (_of_function(value) if is_own(value) else [])
    if isinstance(value, type) and is_own(value):
        return [Variable(value, name) for name, part in vars(value).items() if _is_data(name, part)]
    return []


def code_of(value: object) -> Iterable[object]:
    """Return the functions and classes that a function, class or object of the caller's own leads to."""
    if isinstance(value, FunctionType):
        return [named for named in _named(value).values() if isinstance(named, (FunctionType, type)) and is_own(named)]
    if isinstance(value, type):
        return [part for part in map(_function_of, vars(value).values()) if part is not None] if is_own(value) else []
    return [each for each in type(value).__mro__ if is_own(each)]


def is_own(value: object) -> bool:
    """Tell whether a function or class is the caller's, and of no library."""
    return _is_own_module(str(getattr(value, "__module__", "")))


@lru_cache
def _is_own_module(name: str) -> bool:
    file = getattr(sys.modules.get(name), "__file__", None) or ""
    is_installed = not INSTALLED.isdisjoint(file.replace("\\", "/").split("/"))
    return name.partition(".")[0] not in sys.stdlib_module_names and not is_installed


def distinct(variables: Iterable[Variable]) -> list[Variable]:
    """Return each variable once."""
    return list({(id(variable.owner), variable.name): variable for variable in variables}.values())


def _of_function(function: FunctionType) -> list[Variable]:
    of_function = [Variable(function, name) for name in ("__defaults__", "__kwdefaults__", "__dict__")]
    stored = {name for code in _codes(function.__code__) for name in _stored_globals(code)}
    of_module = [
        Variable(function.__globals__, name)
        for name, value in _named(function).items()
        if name in stored or isinstance(value, CONTAINERS) or (not callable(value) and is_own(type(value)))
    ]
    return [variable for variable in of_function if variable.value] + of_module


def _named(function: FunctionType) -> dict[str, Any]:
    """Return the globals that a function may read or change."""
    names = {name for code in _codes(function.__code__) for name in code.co_names}
    return {name: function.__globals__[name] for name in names & function.__globals__.keys()}


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Yield the code of a function and of all functions inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _stored_globals(code: CodeType) -> Iterator[str]:
    return (one.argval for one in dis.get_instructions(code) if one.opname == "STORE_GLOBAL")


def _function_of(part: object) -> object:
    """Return the function of a method of any kind; None for other parts of a class."""
    inner = getattr(part, "__func__", None) or getattr(part, "fget", None) or part
    return inner if isinstance(inner, FunctionType) else None


def _is_data(name: str, part: object) -> bool:
    return not name.startswith(("__", "_abc_")) and not hasattr(type(part), "__get__")


def _is_filled(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
