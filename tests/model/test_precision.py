"""The data type that "fastest" means: the checkpoint's, or float32 where a CPU computes bfloat16 slowly."""

import pytest
import torch

from planned_diffusion.inference.answer import open_checkpoint
from planned_diffusion.loading import precision
from planned_diffusion.loading.embedded import EMBEDDED

AVX2 = {"architecture": "x86_64", "avx2": True, "avx512_bf16": False, "amx_bf16": False}
ZEN4 = {**AVX2, "avx512_bf16": True}
AMX = {**AVX2, "amx_bf16": True}
ARM = {"architecture": "aarch64"}


@pytest.fixture
def on_cpu(monkeypatch):
    def choose(capabilities, memory=1 << 34):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
        monkeypatch.setattr(precision, "machine_memory", lambda: memory)

    return choose


@pytest.mark.parametrize(
    ("capabilities", "stored", "asked", "device", "chosen"),
    [
        (AVX2, torch.bfloat16, "fastest", "cpu", "float32"),
        (AVX2, torch.bfloat16, "fastest", "cuda:0", "auto"),
        (AVX2, torch.bfloat16, "auto", "cpu", "auto"),
        (AVX2, torch.bfloat16, "bfloat16", "cpu", "bfloat16"),
        (AVX2, torch.bfloat16, "nf4", "cpu", "nf4"),
        (AVX2, torch.float32, "fastest", "cpu", "auto"),
        (ZEN4, torch.bfloat16, "fastest", "cpu", "auto"),
        (AMX, torch.bfloat16, "fastest", "cpu", "auto"),
        (ARM, torch.bfloat16, "fastest", "cpu", "auto"),
        ({}, torch.bfloat16, "fastest", "cpu", "auto"),
    ],
)
def test_the_data_type_by_machine_and_checkpoint(on_cpu, build_config, capabilities, stored, asked, device, chosen):
    on_cpu(capabilities)
    config = build_config()
    config.dtype = stored
    assert precision.resolved_dtype(asked, config, device) == chosen


@pytest.mark.parametrize(("fits", "chosen"), [(True, "float32"), (False, "auto")])
def test_float32_weights_fill_at_most_a_quarter_of_the_memory(on_cpu, build_model, fits, chosen):
    model = build_model()
    model.config.dtype = torch.bfloat16
    size = sum(4 * weight.numel() for weight in model.parameters())
    on_cpu(AVX2, memory=4 * size if fits else 4 * size - 1)
    assert precision.resolved_dtype("fastest", model.config, "cpu") == chosen


@pytest.mark.parametrize(("capabilities", "dtype"), [(AVX2, torch.float32), (AMX, torch.bfloat16)])
def test_the_included_model_is_loaded_so(on_cpu, capabilities, dtype):
    on_cpu(capabilities)
    assert open_checkpoint(str(EMBEDDED), device="cpu").model.dtype == dtype


def test_this_machine_is_read():
    assert precision.machine_memory() > 1 << 30
    assert isinstance(precision.has_bfloat16_instructions(), bool)
