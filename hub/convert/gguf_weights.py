"""Write the weights of a GGUF file as plain numbers into a safetensors file, a piece of a tensor at a time.

transformers loads the whole model to do this, which takes twice the memory of its bf16 weights; here memory is that of
a few pieces.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from transformers import PreTrainedConfig

from ...configuration_planned_diffusion import PlannedDiffusionConfig
from ...modeling_planned_diffusion import PlannedDiffusionForCausalLM
from .gguf_file import ROPE_FACTORS, GgufFile
from .weight_files import DTYPES, PIECE

if TYPE_CHECKING:
    from gguf.gguf_reader import ReaderTensor

# Types that are numbers already; a file of these alone keeps its own.
PLAIN = {"F32": "F32", "F16": "F16", "BF16": "BF16"}
PERMUTED = {".attn_q.": "num_attention_heads", ".attn_k.": "num_key_value_heads"}  # by llama.cpp, for Llama alone


@dataclass(frozen=True)
class Unpacking:
    """A tensor to unpack: its name here, its shape, and the order of its rows (None: as they are)."""

    name: str
    shape: tuple[int, ...]
    order: np.ndarray | None
    tensor: "ReaderTensor"


def plan_unpacking(file: GgufFile, backbone: PreTrainedConfig) -> list[Unpacking]:
    """Return how each tensor of a GGUF file becomes one of the model.

    Raises:
        ValueError: a tensor that the model does not have, or of a type that cannot be turned into numbers.
    """
    from gguf import dequantize

    names, planned, checked = target_names(file, backbone), [], set()
    for tensor in file.tensors:
        if tensor.name == ROPE_FACTORS:
            continue  # in the configuration
        if tensor.name not in names:
            raise ValueError(
                f"{file.path} holds {tensor.name}, which a plain {file.architecture} model does not have; convert the "
                "original checkpoint of this model if it is of a kind that can be converted."
            )
        if tensor.tensor_type not in checked:
            try:
                dequantize(tensor.data[:1], tensor.tensor_type)
            except NotImplementedError as error:
                raise ValueError(
                    f"{file.path} stores {tensor.name} as {tensor.tensor_type.name}, which the gguf package cannot "
                    "turn into numbers; take a file of another quantisation, such as Q8_0 or Q4_K_M."
                ) from error
            checked.add(tensor.tensor_type)
        shape = tuple(int(size) for size in reversed(tensor.shape))
        planned.append(Unpacking(names[tensor.name], shape, row_order(file, backbone, tensor.name, shape[0]), tensor))
    return planned


def target_names(file: GgufFile, backbone: PreTrainedConfig) -> dict[str, str]:
    """Return the name of each tensor here by its name in GGUF."""
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    (architecture,) = [key for key, name in MODEL_ARCH_NAMES.items() if name == file.architecture]
    table = get_tensor_name_map(architecture, backbone.num_hidden_layers)
    with torch.device("meta"):
        ours = PlannedDiffusionForCausalLM(PlannedDiffusionConfig(backbone_config=backbone)).state_dict()
    parts = [(name, *name.rpartition(".")[::2]) for name in ours]
    return {f"{table.get_name(stem)}.{kind}": name for name, stem, kind in parts}


def row_order(file: GgufFile, backbone: PreTrainedConfig, name: str, rows: int) -> np.ndarray | None:
    """Return the order in which rows are read: llama.cpp interleaves the halves of each head of Llama."""
    heads = [getattr(backbone, field) for part, field in PERMUTED.items() if part in name]
    if file.architecture != "llama" or not heads:
        return None
    return np.arange(rows).reshape(heads[0], -1, 2).swapaxes(1, 2).reshape(-1)


def dtype_of(file: GgufFile) -> str:
    """Return the type of the unpacked weights: a file of plain numbers keeps its own, others become BF16."""
    kinds = {tensor.tensor_type.name for tensor in file.tensors if tensor.name != ROPE_FACTORS}
    if not kinds <= PLAIN.keys():
        return "BF16"
    return next(kind for kind in ("BF16", "F16", "F32") if kind in kinds)  # norms are F32 beside halves


def unpacked_bytes(planned: list[Unpacking], dtype: str) -> int:
    """Return the bytes of all unpacked tensors."""
    return sum(int(np.prod(one.shape)) for one in planned) * DTYPES[dtype].itemsize


def write_unpacked(planned: list[Unpacking], dtype: str, target: Path, written: Callable[[int], object]) -> None:
    """Write the tensors into a safetensors file; call `written` with each number of bytes."""
    entries, offset = {}, 0
    for one in planned:
        size = unpacked_bytes([one], dtype)
        entries[one.name] = {"dtype": dtype, "shape": list(one.shape), "data_offsets": [offset, offset + size]}
        offset += size
    header = json.dumps({"__metadata__": {"format": "pt"}, **entries}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    with target.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for one in planned:
            for values in pieces(one):
                numbers = torch.from_numpy(np.ascontiguousarray(values)).to(DTYPES[dtype])
                written(file.write(numbers.view(torch.uint8).numpy().tobytes()))


def pieces(one: Unpacking) -> Iterator[np.ndarray]:
    """Yield the numbers of a tensor in float32, some rows at a time."""
    from gguf import dequantize

    data, kind = one.tensor.data, one.tensor.tensor_type
    if len(one.shape) == 1:
        values = np.array(dequantize(data, kind))
        yield values if one.order is None else values[one.order]
        return
    at_a_time = max(1, PIECE // (4 * one.shape[1]))
    for start in range(0, one.shape[0], at_a_time):
        rows = slice(start, start + at_a_time)
        yield dequantize(np.array(data[rows if one.order is None else one.order[rows]]), kind)
