"""The package's root has the same names for type checkers, for `import *` and at run time."""

import ast
from pathlib import Path

import planned_diffusion

ROOT = Path(__file__).resolve().parents[2]


def names_for_checkers() -> dict[str, str]:
    """Return name -> module of the imports under `if TYPE_CHECKING`."""
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


def test_the_names_for_checkers_are_those_that_exist():
    names = names_for_checkers()
    assert planned_diffusion.__all__ == sorted([*names, "__version__"]) == dir(planned_diffusion)
    assert names == planned_diffusion._HOME
    for name in names:
        assert getattr(planned_diffusion, name).__name__ == name


def test_the_package_says_that_it_has_types():
    assert (ROOT / "py.typed").read_bytes() == b""
