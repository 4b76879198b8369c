"""`import planned_diffusion` registers every Auto class, in a fresh interpreter with nobody to answer a question."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoConfig

import planned_diffusion

PACKAGE = """
import planned_diffusion
assert {"PlannedDiffusionForCausalLM", "Plan"} <= set(dir(planned_diffusion))
"""
CHEAP = """
assert "torch" not in sys.modules and "transformers" not in sys.modules, "import planned_diffusion is heavy"
"""
TRANSFORMERS = """
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer, pipeline
assert "planned_diffusion.modeling_planned_diffusion" not in sys.modules, "registered before anybody needs it"
"""
DOORS = {
    "config": "AutoConfig.from_pretrained(folder)",
    "config by name": "AutoConfig.for_model('planned_diffusion')",
    "model": "AutoModel.from_pretrained(folder)",
    "causal model": "AutoModelForCausalLM.from_pretrained(folder)",
    "tokenizer": "AutoTokenizer.from_pretrained(folder)",
    "pipeline": "pipeline('text-generation', model=folder).model",
    "own config": "AutoModelForCausalLM.from_config(planned_diffusion.PlannedDiffusionConfig(LlamaConfig(**small)))",
}
SMALL = """
import torch, transformers.modeling_utils, transformers.pipelines, transformers.models.qwen2.modeling_qwen2  # only once
from transformers import LlamaConfig
small = dict(vocab_size=8, hidden_size=4, intermediate_size=4, num_hidden_layers=1, num_attention_heads=1)
"""


@pytest.fixture
def folder(build_model, byte_tokenizer, tmp_path):
    build_model().save_pretrained(tmp_path)
    byte_tokenizer.save_pretrained(tmp_path)
    return str(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("imports", "names"),
    [(PACKAGE + CHEAP + TRANSFORMERS + SMALL, list(DOORS)), (TRANSFORMERS + PACKAGE, ["causal model"])],
    ids=["before transformers", "after transformers"],
)
def test_in_any_order_of_imports(imports, names, folder):
    """Every door is the first one once: each in a fork of an interpreter that has imported and nothing more."""
    script = f"""
import os, sys
folder, doors = {folder!r}, {DOORS!r}
{imports}
for name in {names!r}:
    if not os.fork():
        try:
            kind = type(eval(doors[name]))
            assert kind.__module__.startswith(("planned_diffusion.", "transformers.")), kind
            assert kind.__name__.startswith(("PlannedDiffusion", "Tokenizers", "PreTrainedTokenizer")), kind
        except BaseException as error:
            print(name, "failed:", repr(error)[:500], flush=True)
        os._exit(0)
    os.wait()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_a_clone_that_is_imported_under_another_name_registers_nothing(monkeypatch):
    """pytest does so with a clone's folder; of two packages each would take the other's configurations for foreign."""
    root = Path(planned_diffusion.__file__).parent
    spec = importlib.util.spec_from_file_location(
        "a_clone", root / "__init__.py", submodule_search_locations=[str(root)]
    )
    clone = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "a_clone", clone)
    before = AutoConfig.from_pretrained.__func__, list(sys.meta_path)
    spec.loader.exec_module(clone)
    assert (AutoConfig.from_pretrained.__func__, list(sys.meta_path)) == before
    assert not [name for name in sys.modules if name.startswith("a_clone.")]


def test_unknown_attributes_are_unknown():
    import planned_diffusion

    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = planned_diffusion.nothing
