"""Write the code that a checkpoint carries, flat: `generation/decoders/planned.py` as `generation_decoders_planned.py`.

The loader behind `trust_remote_code=True` reads a module's relative imports with a regular expression and expects a
file beside it for each, so packages inside packages cannot be loaded. The exported set is everything that the modules
of AUTO_MAP import, directly or not. A first line names the source; then only module names in import statements differ.

    python -m planned_diffusion.hub.flat FOLDER     (or, where nothing is installed: python hub/flat.py FOLDER)

writes the code into the folder of a saved checkpoint and names it in its config.json; what is current stays untouched.
This file imports nothing but the standard library, so it also runs before anything is installed.
"""

import ast
import functools
import json
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
# A file of the included checkpoint, whose code is not committed: it loads the generated code, or says how to write it.
STARTER = "load_generated_code"
EXPORTED_FILES = tuple(f"{name}_planned_diffusion" for name in ("checkpoint", "configuration", "modeling", "versions"))
EXPORTED = (*EXPORTED_FILES, "generation")
LIBRARIES = frozenset({"torch", "transformers"})
# The text that transformers.dynamic_module_utils takes for a relative import, in code and docstrings alike.
LOADER_READS = re.compile(r"^\s*import\s+\.(\S+)\s*$|^\s*from\s+\.(\S+)\s+import", re.MULTILINE)
FIRST_LINE = b"# Generated from %s of planned-diffusion %s; do not edit.\n"
FIRST_WORDS = FIRST_LINE[: FIRST_LINE.index(b"%s")]
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
    """Return `generation_decoders_planned` for `generation.decoders.planned`."""
    return module.replace(".", "_")


def flatten(sources: dict[str, bytes], version: str) -> dict[str, bytes]:
    """Return the flat files of a package: file name -> content.

    Args:
        sources: module name in the package ("generation.decoders.planned") -> source.
        version: version of the package, for the first line of each file.

    Raises:
        ExportError: code that the loader of transformers would not load back; the message names the place.
    """
    files: dict[str, bytes] = {}
    wanted = sorted({reference.split(".")[0] for reference in AUTO_MAP.values()})
    while wanted:
        module = wanted.pop(0)
        name = f"{flat_name(module)}.py"
        if name in files:
            continue
        source = sources[module]
        imports = relative_imports(module, source, sources)
        check_libraries(module, source)
        first_line = FIRST_LINE % (f"{module.replace('.', '/')}.py".encode(), version.encode())
        files[name] = first_line + rewrite_imports(source, imports)
        check_loader_agrees(module, files[name], imports)
        wanted += sorted({found.module for found in imports})
        clash = [other for other in sources if flat_name(other) == flat_name(module) and other != module]
        if clash:
            raise ExportError(f"{module} and {clash[0]} would both be exported as {name}; rename one of them.")
    check_classes(files)
    return dict(sorted(files.items()))


def relative_imports(module: str, source: bytes, sources: dict[str, bytes]) -> list[RelativeImport]:
    """Return every relative import of a module, function-local ones included, in order.

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


def rewrite_imports(source: bytes, imports: list[RelativeImport]) -> bytes:
    """Return the source with flat names in its relative imports, otherwise byte for byte the same."""
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
    """Refuse imports of other libraries than torch, transformers and the standard library, outside `try:` blocks.

    The loader refuses code with an import, at any depth, of what is not installed, unless it stands in a `try:`.
    """

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.Try):
            return
        for name in absolute_imports(node):
            top = name.split(".")[0]
            if top not in LIBRARIES and top not in sys.stdlib_module_names:
                raise ExportError(
                    f"{module}, line {getattr(node, 'lineno', 0)}: {name} would be needed wherever the checkpoint is "
                    "loaded; exported code may import torch, transformers and the standard library."
                )
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(source))


def absolute_imports(node: ast.AST) -> list[str]:
    """Return the modules that a statement imports by their absolute names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [str(node.module)] if isinstance(node, ast.ImportFrom) and not node.level else []


def check_loader_agrees(module: str, flat: bytes, imports: list[RelativeImport]) -> None:
    """Refuse code in which the loader's regular expression finds other imports, in docstrings for instance."""
    seen = {name for pair in LOADER_READS.findall(flat.decode()) for name in pair if name}
    meant = {flat_name(place.module) for place in imports}
    if seen != meant:
        differing = ", ".join(sorted(seen ^ meant))
        raise ExportError(
            f"{module}: the loader of transformers would not read its imports as Python does ({differing}); no line of "
            "a docstring may look like a relative import."
        )


def check_classes(files: dict[str, bytes]) -> None:
    """Refuse code where a class of AUTO_MAP is not defined in the file that AUTO_MAP names."""
    for reference in AUTO_MAP.values():
        file, name = reference.split(".")
        classes = {node.name for node in ast.parse(files[f"{file}.py"]).body if isinstance(node, ast.ClassDef)}
        if name not in classes:
            raise ExportError(f"{file}.py defines no class {name}, which auto_map promises.")


@functools.cache
def flat_code() -> dict[str, bytes]:
    """Return the flat files of this package: file name -> content, the same whenever and wherever it is called."""
    files = [PACKAGE / f"{name}.py" for name in EXPORTED_FILES] + sorted((PACKAGE / "generation").rglob("*.py"))
    names = {".".join(file.relative_to(PACKAGE).with_suffix("").parts): file for file in files}
    sources = {name: file.read_bytes() for name, file in names.items() if not name.endswith("__init__")}
    version = re.search(r'^__version__ = "(.+)"$', (PACKAGE / "__init__.py").read_text(encoding="utf-8"), re.MULTILINE)
    assert version, "__init__.py states the version on a line of its own"
    return flatten(sources, version[1])


def write_flat_code(folder: str | Path) -> dict[str, str]:
    """Write the flat code into a folder and remove generated files of other versions; current files stay untouched.

    Returns:
        The `auto_map` that belongs into the config beside it.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.py"):
        if is_flat_code(file.name) and file.name not in flat_code() and file.read_bytes().startswith(FIRST_WORDS):
            file.unlink()
    for name, content in flat_code().items():
        file = folder / name
        if not file.is_file() or file.read_bytes() != content:
            file.write_bytes(content)
    starts_here = (folder / f"{STARTER}.py").is_file()
    return AUTO_MAP | ({"AutoConfig": f"{STARTER}.PlannedDiffusionConfig"} if starts_here else {})


def is_flat_code(name: str) -> bool:
    """Return whether a file of this name is flat code, of this version of the package or another."""
    return name.endswith(".py") and name.startswith(EXPORTED)


def refresh(folder: Path) -> None:
    """Renew the code of a saved checkpoint and the `auto_map` of its config; everything else stays as it is.

    Raises:
        ValueError: the folder holds no config.json.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise ValueError(f"{folder} holds no config.json; name the folder of a checkpoint.")
    for stale in folder.glob("*.py"):
        if is_flat_code(stale.name) and stale.name not in flat_code():
            stale.unlink()
    auto_map = write_flat_code(folder)
    config = json.loads(file.read_text(encoding="utf-8"))
    if config.get("auto_map") != auto_map:  # written as transformers writes it
        content = json.dumps({**config, "auto_map": auto_map}, indent=2, sort_keys=True) + "\n"
        file.write_text(content, encoding="utf-8")


def main(argv: list[str]) -> int:
    """Run the command line; return an exit status."""
    if len(argv) != 1:
        print("Usage: python -m planned_diffusion.hub.flat FOLDER", file=sys.stderr)
        return 2
    try:
        refresh(Path(argv[0]).expanduser())
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
