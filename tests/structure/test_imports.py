"""Imports go one way: every module may import from its own layer and from those below it."""

import subprocess
import sys
import tomllib

import pytest
from product_source import MODULES, ROOT

LAYERS = (  # from the top down; names on one line are siblings, which do not import each other
    ("distillation.__main__",),
    ("cli",),
    ("evaluation", "distillation", "app"),
    ("hub", "inference", "training", "annotation"),
    ("facts",),
    ("loading",),
    ("records",),
    ("modeling_planned_diffusion",),
    ("checkpoint_planned_diffusion",),
    ("generation.mixin",),
    (
        "generation.requests",
        "generation.streaming",
        "generation.sequences",
        "generation.assistant",
        "generation.field_resolution",
    ),
    (
        "generation.callbacks",
        "generation.given_plans",
        "generation.tokenizer_beside",
        "generation.adapters_per_row",
    ),
    ("generation.stored_defaults",),
    ("generation.config", "generation.callback_rehearsal", "generation.own_copies", "generation.token_ids"),
    ("generation.callback_rows", "generation.outer_variables"),
    ("generation.engine",),
    ("generation.decoders",),
    ("generation.draft_verdict",),
    ("generation.trace", "generation.live_state"),
    ("generation.events",),
    ("generation.query",),
    ("generation.fields",),
    ("generation.field_checks", "generation.neutral_values"),
    ("generation.grammar",),
    ("generation.plan",),
    ("generation.skeleton",),
    ("generation.value_rules",),
    ("generation.tokens",),
    (
        "generation.visibility",
        "generation.cache_names",
        "generation.draft_gate",
        "generation.draft_adapter",
        "generation.draft_transition",
    ),
    ("configuration_planned_diffusion",),
    ("versions_planned_diffusion",),
    ("registration",),
)
# What the Hub's flat export may need, and nothing else.
EXPORTED = (
    "modeling_planned_diffusion", "checkpoint_planned_diffusion", "configuration_planned_diffusion",
    "versions_planned_diffusion", "generation",
)  # fmt: skip
EXPORTED_MAY_IMPORT = {"torch", "transformers"}
# Decoder files that compute with torch on lists of numbers, for the sake of the published results.
PUBLISHED_ARITHMETIC = {
    "generation.decoders.schedule": "noise levels in float32",
    "generation.decoders.unmasking": "equal scores in the order of torch.topk",
}


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


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"__main__"}))
def test_imports_go_down_only(module):
    for one in MODULES[module].imports:
        if one.ours:
            (there, room), (here, own) = place(one.module), place(module)
            assert there > here or room == own, f"{module} imports {one.module}, which does not lie below it"


@pytest.mark.parametrize("module", sorted(name for name in MODULES if name.startswith(EXPORTED)))
def test_exported_code_needs_only_torch_and_transformers(module):
    for one in MODULES[module].imports:
        top = one.module.split(".")[0]
        allowed = one.ours or top in EXPORTED_MAY_IMPORT or top in sys.stdlib_module_names
        assert allowed, f"{module} imports {one.module}"


def test_decoders_know_no_model():
    for name in (
        name for name in MODULES if name.startswith("generation.decoders.") and name not in PUBLISHED_ARITHMETIC
    ):
        assert all(one.module.split(".")[0] not in ("torch", "transformers") for one in MODULES[name].imports)


def test_every_package_is_listed_for_setuptools():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {parent for module in MODULES.values() for parent in module.file.relative_to(ROOT).parents}
    names = {".".join(("planned_diffusion", *folder.parts)) for folder in folders}
    assert set(listed) == names


def test_the_package_itself_is_light():
    code = "import planned_diffusion, sys; print('torch' in sys.modules, bool(planned_diffusion.__version__))"
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout.split() == ["False", "True"]
