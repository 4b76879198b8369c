"""The transition of drafts on disk: it comes along through every door that opens a checkpoint or an adapter."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from planned_diffusion.checkpoint_planned_diffusion import TRANSITION, CheckpointError, save_transition
from planned_diffusion.generation.draft_transition import DraftTransition
from planned_diffusion.hub.export import export
from planned_diffusion.inference.answer import open_checkpoint
from planned_diffusion.loading.adapter_base import record_base
from planned_diffusion.loading.load import load
from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM

WIDTH, RANK = 64, 4


def transition(seed: int) -> DraftTransition:
    """Numbers that bfloat16 holds."""
    generator = torch.Generator().manual_seed(seed)
    return DraftTransition(*(torch.randn(RANK, WIDTH, generator=generator).bfloat16().float() for _ in range(2)))


def equal(found: DraftTransition | None, expected: DraftTransition) -> bool:
    return found is not None and found.before.equal(expected.before) and found.after.equal(expected.after)


@pytest.fixture
def folder(build_model, byte_tokenizer, tmp_path):
    """A checkpoint with a transition."""
    model = build_model()
    assert model.config.hidden_size == WIDTH
    model.draft_transition = transition(0)
    model.save_pretrained(tmp_path / "whole")
    byte_tokenizer.save_pretrained(tmp_path / "whole")
    return tmp_path / "whole"


@pytest.fixture
def adapter(folder, byte_tokenizer, tmp_path):
    """An adapter above that checkpoint, with a transition of its own."""
    peft = pytest.importorskip("peft")
    settings = peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    peft.get_peft_model(PlannedDiffusionForCausalLM.from_pretrained(folder), settings).save_pretrained(
        tmp_path / "lora"
    )
    record_base(tmp_path / "lora", str(folder))
    save_transition(transition(1), tmp_path / "lora")
    return tmp_path / "lora"


def by_its_own_code(folder: Path):
    return get_class_from_dynamic_module(
        "modeling_planned_diffusion.PlannedDiffusionForCausalLM", str(folder)
    ).from_pretrained(folder)


DOORS = {
    "AutoModelForCausalLM": AutoModelForCausalLM.from_pretrained,
    "AutoModel": AutoModel.from_pretrained,
    "its own code": by_its_own_code,
    "load": lambda folder: load(str(folder))[0],
    "the command line": lambda folder: open_checkpoint(str(folder)).model,
}


@pytest.mark.parametrize("door", DOORS)
def test_of_a_checkpoint(door, folder, tmp_path):
    model = DOORS[door](folder)
    assert equal(model.draft_transition, transition(0))
    assert not any("transition" in name for name in model.state_dict())
    model.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again" / TRANSITION).read_bytes() == (folder / TRANSITION).read_bytes()


@pytest.mark.parametrize("door", sorted({*DOORS} - {"its own code"}))
def test_of_an_adapter(door, adapter):
    assert equal(DOORS[door](adapter).draft_transition, transition(1))


def test_an_adapter_without_one_keeps_that_of_its_base(adapter, folder):
    (adapter / TRANSITION).unlink()
    assert equal(load(str(adapter))[0].draft_transition, transition(0))
    model = PlannedDiffusionForCausalLM.from_pretrained(folder)
    model.load_adapter(str(adapter))
    assert equal(model.draft_transition, transition(0))


def test_an_export_has_it(adapter, folder, tmp_path):
    for source, seed in ((folder, 0), (adapter, 1)):
        out = tmp_path / f"export-{seed}"
        export(str(source), out)
        assert equal(AutoModelForCausalLM.from_pretrained(out).draft_transition, transition(seed))


def of_shapes(before: tuple[int, int], after: tuple[int, int]):
    return lambda file: save_transition(DraftTransition(torch.zeros(before), torch.zeros(after)), file.parent)


CHANGES = {
    "no such format": (lambda file: file.write_bytes(b"nothing"), "has a broken draft_transition.safetensors"),
    "cut off": (lambda file: file.write_bytes(file.read_bytes()[:-9]), "has a broken draft_transition.safetensors"),
    "half": (lambda file: save_file({"before": load_file(file)["before"]}, file), "has a broken draft_transition"),
    "of another model": (of_shapes((RANK, WIDTH + 1), (RANK, WIDTH + 1)), "64 wide"),
    "of two ranks": (of_shapes((3, WIDTH), (4, WIDTH)), "shapes"),
}


@pytest.mark.parametrize(("change", "says"), CHANGES.values(), ids=CHANGES)
def test_files_that_do_not_fit_are_refused_in_a_sentence(change, says, folder):
    change(folder / TRANSITION)
    with pytest.raises(CheckpointError, match=says) as refused:
        PlannedDiffusionForCausalLM.from_pretrained(folder)
    assert "delete it" in str(refused.value) and "\n" not in str(refused.value)
