"""Imports go one way: every module may import from its own layer and from those below it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYERS = (  # from the top down; names on one line are siblings, which do not import each other
    ("cli",),
    ("evaluation",),
    ("hub", "inference", "training", "annotation"),
    ("facts",),
    ("loading",),
    ("records",),
    ("modeling_planned_diffusion",),
    ("generation.mixin",),
    ("generation.requests",),
    ("generation.assistant",),
    ("generation.tokenizer_beside",),
    ("generation.config",),
    ("generation.engine",),
    ("generation.decoders",),
    ("generation.trace", "generation.live_state"),
    ("generation.events",),
    ("generation.query",),
    ("generation.grammar",),
    ("generation.plan",),
    ("generation.skeleton",),
    ("generation.tokens",),
    ("generation.visibility",),
    ("configuration_planned_diffusion",),
    ("versions_planned_diffusion",),
)
# What the Hub's flat export may need, and nothing else.
EXPORTED = ("modeling_planned_diffusion", "configuration_planned_diffusion", "versions_planned_diffusion", "generation")
EXPORTED_MAY_IMPORT = {"torch", "transformers"}
# Decoder files that compute with torch on lists of numbers, for the sake of the published results.
PUBLISHED_ARITHMETIC = {
    "generation.decoders.schedule": "noise levels in float32",
    "generation.decoders.unmasking": "equal scores in the order of torch.topk",
}
FOLDERS = tuple(
    sorted({name.split(".")[0] for names in LAYERS for name in names if (ROOT / name.split(".")[0]).is_dir()})
)


def modules() -> dict[str, Path]:
    files = [*ROOT.glob("*.py"), *(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py"))]
    names = {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in files}
    return {name: file for name, file in names.items() if not name.endswith("__init__")}


def place(module: str) -> tuple[int, str]:
    """The layer of a module, and the name in LAYERS that it belongs to."""
    found = [
        (index, name)
        for index, names in enumerate(LAYERS)
        for name in names
        if module == name or module.startswith(name + ".")
    ]
    assert found, f"{module} stands in no layer; add it to LAYERS"
    return found[0]


def imports(module: str, file: Path) -> list[tuple[str, bool]]:
    """(module, whether it is ours) of every import in a file, function-local ones included."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, False) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = module.split(".")[: -node.level]
            name = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            found += [(name, True)] if name else []  # the root itself, for its version
        elif isinstance(node, ast.ImportFrom):
            found.append((node.module, False))
    return found


ALL = modules()


@pytest.mark.parametrize("module", sorted(set(ALL) - {"__main__"}))
def test_imports_go_down_only(module):
    for imported, ours in imports(module, ALL[module]):
        if ours:
            (there, room), (here, own) = place(imported), place(module)
            assert there > here or room == own, f"{module} imports {imported}, which does not lie below it"


@pytest.mark.parametrize("module", sorted(name for name in ALL if name.startswith(EXPORTED)))
def test_exported_code_needs_only_torch_and_transformers(module):
    import sys

    for imported, ours in imports(module, ALL[module]):
        top = imported.split(".")[0]
        assert ours or top in EXPORTED_MAY_IMPORT or top in sys.stdlib_module_names, f"{module} imports {imported}"


def test_decoders_know_no_model():
    for name in (name for name in ALL if name.startswith("generation.decoders.") and name not in PUBLISHED_ARITHMETIC):
        assert all(imported.split(".")[0] not in ("torch", "transformers") for imported, _ in imports(name, ALL[name]))


def test_every_package_is_listed_for_setuptools():
    import tomllib

    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {parent for file in ALL.values() for parent in file.relative_to(ROOT).parents}
    parents = {".".join(("planned_diffusion", *folder.parts)) for folder in folders}
    assert set(listed) == parents


def test_the_package_itself_is_light():
    import subprocess
    import sys

    code = "import planned_diffusion, sys; print('torch' in sys.modules, bool(planned_diffusion.__version__))"
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout.split() == ["False", "True"]
