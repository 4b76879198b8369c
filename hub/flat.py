"""The code that a checkpoint carries along, flat: `generation/decoders/planned.py` as `generation_decoders_planned.py`.

The loader behind `trust_remote_code=True` reads a module's relative imports with a regular expression and expects a
file beside it for each, so packages inside packages cannot be loaded. The exported set is whatever the modules that
AUTO_MAP names import, directly or not. Only module names in import statements change; every other byte stays.

`python -m planned_diffusion.hub.flat FOLDER` renews code and `auto_map` in a folder that was saved before.
"""

import ast
import functools
import re
import sys
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
AUTO_MAP = {
    "AutoConfig": "configuration_planned_diffusion.PlannedDiffusionConfig",
    "AutoModel": "modeling_planned_diffusion.PlannedDiffusionForCausalLM",
    "AutoModelForCausalLM": "modeling_planned_diffusion.PlannedDiffusionForCausalLM",
}
EXPORTED = ("configuration_planned_diffusion", "modeling_planned_diffusion", "versions_planned_diffusion", "generation")
LIBRARIES = frozenset({"torch", "transformers"})
# What transformers.dynamic_module_utils takes for a relative import, in code and docstrings alike.
LOADER_READS = re.compile(r"^\s*import\s+\.(\S+)\s*$|^\s*from\s+\.(\S+)\s+import", re.MULTILINE)
_STATEMENT = re.compile(rb"from(\s*)\.+[\w.]+(\s+import\b)")


class ExportError(ValueError):
    """Code that could not be loaded back."""


@dataclass(frozen=True)
class RelativeImport:
    """A `from ..a.b import c`: the absolute name of the module in the package, and where the statement starts."""

    module: str
    line: int  # from 1
    column: int  # in bytes


def flat_name(module: str) -> str:
    """`generation.decoders.planned` -> `generation_decoders_planned`."""
    return module.replace(".", "_")


def flatten(sources: dict[str, bytes]) -> dict[str, bytes]:
    """The flat files of a package: file name -> content.

    Args:
        sources: module name in the package ("generation.decoders.planned") -> source.

    Raises:
        ExportError: code that the loader of transformers would not load back; the message names the place.
    """
    files, wanted = {}, sorted({reference.split(".")[0] for reference in AUTO_MAP.values()})
    while wanted:
        module = wanted.pop(0)
        name = f"{flat_name(module)}.py"
        if name in files:
            continue
        source = sources[module]
        imports = relative_imports(module, source, sources)
        check_libraries(module, source)
        files[name] = rewritten(source, imports)
        check_loader_agrees(module, files[name], imports)
        wanted += sorted({found.module for found in imports})
        clash = [other for other in sources if flat_name(other) == flat_name(module) and other != module]
        if clash:
            raise ExportError(f"{module} and {clash[0]} would both be exported as {name}; rename one of them.")
    check_classes(files)
    return dict(sorted(files.items()))


def relative_imports(module: str, source: bytes, sources: dict[str, bytes]) -> list[RelativeImport]:
    """Every relative import of a module, function-local ones included, in order.

    Raises:
        ExportError: an import of a package, from one, or of a module outside the exported set.
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        place = f"{module}, line {node.lineno}"
        if not node.module:
            raise ExportError(f"{place}: `from . import ...` cannot be loaded back; import from the module itself.")
        target = ".".join([*module.split(".")[: -node.level], *node.module.split(".")])
        if target.split(".")[0] not in EXPORTED:
            raise ExportError(f"{place}: {target} is not exported; exported code may import {', '.join(EXPORTED)}.")
        if target not in sources:
            raise ExportError(f"{place}: there is no module {target}; import from a file, not from a package.")
        found.append(RelativeImport(target, node.lineno, node.col_offset))
    return sorted(found, key=lambda place: (place.line, place.column))


def rewritten(source: bytes, imports: list[RelativeImport]) -> bytes:
    """The source with flat names in its relative imports, otherwise byte for byte the same."""
    lines = source.splitlines(keepends=True)
    for place in imports:
        line = lines[place.line - 1]
        head, statement = line[: place.column], line[place.column :]
        name = flat_name(place.module).encode()
        found = _STATEMENT.match(statement)
        if not found:
            raise ExportError(f"Line {place.line}: write the import of {place.module} plainly, as from .name import.")
        lines[place.line - 1] = head + b"from" + found[1] + b"." + name + found[2] + statement[found.end() :]
    return b"".join(lines)


def check_libraries(module: str, source: bytes) -> None:
    """That nothing is imported but torch, transformers and the standard library, `try:` blocks left aside.

    The loader refuses code with an import, at any depth, of what is not installed, unless it stands in a `try:`.
    """

    def visit(node):
        if isinstance(node, ast.Try):
            return
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
        for name in names:
            top = name.split(".")[0]
            if top not in LIBRARIES and top not in sys.stdlib_module_names:
                raise ExportError(
                    f"{module}, line {node.lineno}: {name} would be needed wherever the checkpoint is loaded; exported "
                    "code may import torch, transformers and the standard library."
                )
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(source))


def check_loader_agrees(module: str, flat: bytes, imports: list[RelativeImport]) -> None:
    """That the loader's regular expression finds these imports and no others, in docstrings for instance."""
    seen = {name for pair in LOADER_READS.findall(flat.decode()) for name in pair if name}
    meant = {flat_name(place.module) for place in imports}
    if seen != meant:
        differing = ", ".join(sorted(seen ^ meant))
        raise ExportError(
            f"{module}: the loader of transformers would not read its imports as Python does ({differing}); no line of "
            "a docstring may look like a relative import."
        )


def check_classes(files: dict[str, bytes]) -> None:
    """That every class of AUTO_MAP is defined in the file where the loader looks for it."""
    for reference in AUTO_MAP.values():
        file, name = reference.split(".")
        classes = {node.name for node in ast.parse(files[f"{file}.py"]).body if isinstance(node, ast.ClassDef)}
        if name not in classes:
            raise ExportError(f"{file}.py defines no class {name}, which auto_map promises.")


@functools.cache
def flat_code() -> dict[str, bytes]:
    """The flat files of this package: file name -> content, the same whenever and wherever it is called."""
    files = [PACKAGE / f"{name}.py" for name in EXPORTED[:3]] + sorted((PACKAGE / "generation").rglob("*.py"))
    names = {".".join(file.relative_to(PACKAGE).with_suffix("").parts): file for file in files}
    sources = {name: file.read_bytes() for name, file in names.items() if not name.endswith("__init__")}
    return flatten(sources)


def write_flat_code(folder: str | Path) -> dict[str, str]:
    """Writes the flat code into a folder; returns the `auto_map` that belongs into the config beside it."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in flat_code().items():
        file = folder / name
        if not file.is_file() or file.read_bytes() != content:
            file.write_bytes(content)
    return dict(AUTO_MAP)


def is_flat_code(name: str) -> bool:
    """Whether a file of this name is flat code, of this version of the package or another."""
    return name.endswith(".py") and name.startswith(EXPORTED)


def refresh(folder: Path) -> None:
    """Renews the code and the config of a saved checkpoint; its weights stay as they are."""
    from ..configuration_planned_diffusion import PlannedDiffusionConfig

    config = PlannedDiffusionConfig.from_pretrained(folder)
    for file in folder.iterdir():
        if is_flat_code(file.name) and file.name not in flat_code():
            file.unlink()
    config.save_pretrained(folder)  # writes the code, too


if __name__ == "__main__":
    refresh(Path(sys.argv[1]))
