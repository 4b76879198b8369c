"""The memory table against models that were really loaded."""

import pytest
import torch
from transformers import BitsAndBytesConfig

from planned_diffusion.loading.memory import memory_of, readable
from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM


@pytest.mark.parametrize("tie", [False, True])
def test_plain_weights(build_model, build_config, tie):
    memory = memory_of(build_config("qwen2", tie=tie))
    model = build_model("qwen2", tie=tie)
    buffers = sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
    assert memory.weights["float32"] == model.get_memory_footprint() - buffers
    assert memory.weights["bfloat16"] * 2 == memory.weights["float32"] == 4 * memory.parameters
    # 2 layers, 2 key/value heads of size 16, keys and values, 2 bytes
    assert memory.cache_per_token == 2 * 2 * 16 * 2 * 2


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("nf4 (bitsandbytes)", {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}),
        ("int8 (bitsandbytes)", {"load_in_8bit": True}),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_quantized_weights(embedded, name, settings):
    pytest.importorskip("bitsandbytes", reason="quantized weights need bitsandbytes")
    model = PlannedDiffusionForCausalLM.from_pretrained(
        embedded, dtype=torch.bfloat16, quantization_config=BitsAndBytesConfig(**settings)
    )
    counted = memory_of(model.config).weights[name]
    scales = 0  # of nf4, which the footprint leaves out
    for module in model.modules():
        state = getattr(getattr(module, "weight", None), "quant_state", None)
        scales += 0 if state is None else state.absmax.numel() * state.absmax.element_size()
    assert abs(model.get_memory_footprint() + scales - counted) / counted < 0.02


def test_sizes_are_readable():
    sizes = {7: "7 B", 999: "999 B", 1500: "1.5 kB", 9_578_952: "9.6 MB", 128_000: "128 kB", 15_200_000_000: "15.2 GB"}
    assert {size: readable(size) for size in sizes} == sizes and readable(5_000_000_000_000) == "5000 GB"
