"""Reads the product's source for the tests of this folder: its modules, imports, functions, classes and docstrings.

The product is every package of the repository: the files at its top, and the folders with an `__init__.py`.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Import:
    """A module that a file imports, at its top or inside a function; `ours` says whether it belongs to the product."""

    module: str  # relative to the product's root: "generation.plan"
    ours: bool
    line: int
    for_types: bool  # under `if TYPE_CHECKING`: never runs


@dataclass(frozen=True)
class Function:
    """A function or method, nested ones included."""

    place: str  # "records/jsonl.py:12 read"
    node: FunctionNode
    is_method: bool

    @property
    def parameters(self) -> list[ast.arg]:
        """Return all parameters, without self and cls."""
        given = self.node.args
        more = [one for one in (given.vararg, given.kwarg) if one is not None]
        named = [*given.posonlyargs, *given.args, *given.kwonlyargs]
        is_static = any(isinstance(one, ast.Name) and one.id == "staticmethod" for one in self.node.decorator_list)
        return [*(named[1:] if self.is_method and not is_static else named), *more]

    @property
    def is_annotated(self) -> bool:
        """Return whether every parameter and the result have a type."""
        return self.node.returns is not None and all(one.annotation is not None for one in self.parameters)


@dataclass(frozen=True)
class Module:
    """A file of the product; its name is relative to the product's root."""

    name: str
    file: Path

    @cached_property
    def text(self) -> str:
        """Return the source."""
        return self.file.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        """Return the syntax tree."""
        return ast.parse(self.text)

    @property
    def path(self) -> str:
        """Return the path within the repository."""
        return self.file.relative_to(ROOT).as_posix()

    @property
    def functions(self) -> list[Function]:
        """Return all functions and methods."""
        methods = {id(node) for owner in self.classes for node in methods_of(owner)}
        return [
            Function(f"{self.path}:{node.lineno} {node.name}", node, id(node) in methods)
            for node in ast.walk(self.tree)
            if isinstance(node, FunctionNode)
        ]

    @property
    def classes(self) -> list[ast.ClassDef]:
        """Return all classes."""
        return [node for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef)]

    @property
    def docstrings(self) -> list[tuple[str, str]]:
        """Return (place, text) of every docstring."""
        nodes = [node for node in ast.walk(self.tree) if isinstance(node, ast.Module | ast.ClassDef | FunctionNode)]
        found = [(getattr(node, "lineno", 1), ast.get_docstring(node)) for node in nodes]
        return [(f"{self.path}:{line}", text) for line, text in found if text]

    @property
    def help_texts(self) -> list[tuple[str, str]]:
        """Return (place, text) of every literal given as `help`."""
        given = [node for node in ast.walk(self.tree) if isinstance(node, ast.keyword) and node.arg == "help"]
        literals = [inner for node in given for inner in ast.walk(node.value) if isinstance(inner, ast.Constant)]
        return [(f"{self.path}:{one.lineno} help", one.value) for one in literals if isinstance(one.value, str)]

    @cached_property
    def imports(self) -> list[Import]:
        """Return every import, function-local ones included; `from . import name` gives the module `name`."""
        blocks = [
            node for node in ast.walk(self.tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        ]
        for_types = {id(inner) for block in blocks for node in block.body for inner in ast.walk(node)}
        return [one for node in ast.walk(self.tree) for one in self._imports_of(node, id(node) in for_types)]

    def _imports_of(self, node: ast.AST, for_types: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, False, node.lineno, for_types) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield Import(str(node.module), False, node.lineno, for_types)
        elif isinstance(node, ast.ImportFrom):
            folder = self.name.split(".")[: -node.level]
            base = ".".join([*folder, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}".strip(".")
                name = inner if inner in MODULES or is_package(inner) else base
                if name:  # empty: the root, for its version
                    yield Import(name, True, node.lineno, for_types)


def methods_of(owner: ast.ClassDef) -> list[FunctionNode]:
    """Return the methods that a class defines."""
    return [node for node in owner.body if isinstance(node, FunctionNode)]


def is_package(name: str) -> bool:
    """Return whether a folder of the product has that dotted name."""
    return ROOT.joinpath(*name.split("."), "__init__.py").is_file()


def read_modules() -> dict[str, Module]:
    """Return the product's modules by name; `__init__` files, which are empty but for the root's, are left out."""
    folders = [file.parent for file in sorted(ROOT.glob("*/__init__.py"))]
    files = [*sorted(ROOT.glob("*.py")), *(file for folder in folders for file in sorted(folder.rglob("*.py")))]
    names = {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in files}
    names.pop("setup", None)  # runs when the package is built and is no part of it
    return {name: Module(name, file) for name, file in names.items() if not name.endswith("__init__")}


MODULES = read_modules()
FOLDERS = sorted({str(module.file.parent.relative_to(ROOT)) for module in MODULES.values()} - {"."})
