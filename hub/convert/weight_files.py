"""Copy weights from one folder of safetensors files to another, byte for byte except for the rows of new tokens.

Files are streamed in pieces: memory does not grow with the checkpoint, nor with its largest tensor. File names and
the index stay. The format: 8 bytes of header length, the header in JSON, the tensors' bytes
(https://github.com/huggingface/safetensors).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PIECE = 2**24  # bytes
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True)
class Stored:
    """A tensor in a file: its shape, and where its bytes lie in the file, [start, stop)."""

    file: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class Rows:
    """The new rows of a matrix: its final number of rows, and the bytes of the new ones by index."""

    count: int
    set_to: dict[int, bytes]


def read_stored(folder: Path) -> dict[str, Stored]:
    """Return every tensor of a checkpoint by name, in the order of files and of bytes.

    Raises:
        ValueError: no safetensors files, some of them missing or damaged, or a tensor stored twice.
    """
    stored: dict[str, Stored] = {}
    for file in _files(folder):
        for name, tensor in _tensors(folder / file).items():
            if name in stored:
                raise ValueError(f"{name} is stored twice, in {stored[name].file} and in {file}; remove one of them.")
            stored[name] = tensor
    return stored


def _files(folder: Path) -> list[str]:
    if (folder / INDEX).is_file():
        try:
            files = sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError) as error:
            raise ValueError(f"{folder / INDEX} is no index of weights; fetch the checkpoint anew.") from error
    elif (folder / SINGLE).is_file():
        files = [SINGLE]
    elif any(folder.glob("*.bin*")) or any(folder.glob("*.pt*")):
        raise ValueError(
            f"{folder} holds weights as pickled files only, which can run code; load them where you trust them and "
            "save them again (save_pretrained of transformers writes safetensors)."
        )
    else:
        raise ValueError(f"{folder} holds neither {SINGLE} nor {INDEX}; fetch the checkpoint's weights.")
    missing = [file for file in files if Path(file).name != file or not (folder / file).is_file()]
    if missing:
        raise ValueError(f"{folder} lacks {', '.join(missing)}, which its index names; fetch the checkpoint anew.")
    return files


def _tensors(path: Path) -> dict[str, Stored]:
    try:
        with safe_open(path, "pt"):  # checks header and length
            pass
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is damaged ({error}); fetch it anew.") from error
    header, start = _header(path)
    header.pop("__metadata__", None)
    found = {
        name: Stored(path.name, entry["dtype"], tuple(entry["shape"]), *(start + at for at in entry["data_offsets"]))
        for name, entry in header.items()
    }
    return dict(sorted(found.items(), key=lambda item: item[1].start))


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """Return the header of a safetensors file, and the position of the tensors' bytes."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return json.loads(file.read(length)), 8 + length


def check_stored(stored: Mapping[str, Stored], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Check that a checkpoint's tensors are the expected ones, in shapes and dtypes that can be copied.

    Raises:
        ValueError: names that are unknown or missing, other shapes, or tensors of integers.
    """
    unknown, missing = [name for name in stored if name not in expected], [n for n in expected if n not in stored]
    if unknown:
        raise ValueError(f"{_some(unknown)} belongs to no model of this configuration; it is another architecture.")
    if missing:
        raise ValueError(f"The checkpoint lacks {_some(missing)}; fetch it anew, or check its config.json.")
    for name, tensor in stored.items():
        if tensor.shape != tuple(expected[name]):
            raise ValueError(
                f"{name} has shape {list(tensor.shape)}, and the configuration says {list(expected[name])}; fetch the "
                "config.json that belongs to these weights."
            )
        if tensor.dtype not in DTYPES:
            raise ValueError(
                f"{name} is stored as {tensor.dtype}, so this checkpoint is quantised; convert the original one."
            )


def _some(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} (and {len(names) - 1} more)"


def write_file(
    source: Path,
    target: Path,
    kept: Mapping[str, Stored],
    rows: Mapping[str, Rows],
    copied: Callable[[int], object] = lambda count: None,
) -> None:
    """Copy the tensors `kept` of a file, some of them with new `rows`; call `copied` with each number of bytes written.

    A file whose tensors are all kept and get no rows is copied byte for byte.
    """
    header, _ = _header(source)
    metadata = header.pop("__metadata__", {})
    with source.open("rb") as original, target.open("wb") as new:
        if header.keys() == kept.keys() and not rows.keys() & kept.keys():
            _copy(original, new, source.stat().st_size, copied)
            return
        entries, size = _layout(kept, rows)
        encoded = json.dumps({"__metadata__": {"format": "pt", **metadata}, **entries}, separators=(",", ":")).encode()
        encoded += b" " * (-len(encoded) % 8)
        new.write(len(encoded).to_bytes(8, "little") + encoded)
        start = new.tell()
        new.truncate(start + size)
        for name, tensor in kept.items():
            place = start + entries[name]["data_offsets"][0]
            original.seek(tensor.start)
            new.seek(place)
            _copy(original, new, tensor.stop - tensor.start, copied)
            row_bytes = (tensor.stop - tensor.start) // max(tensor.shape[0], 1) if tensor.shape else 0
            for index, row in rows[name].set_to.items() if name in rows else ():
                new.seek(place + index * row_bytes)
                new.write(row)


def _layout(kept: Mapping[str, Stored], rows: Mapping[str, Rows]) -> tuple[dict[str, dict[str, Any]], int]:
    """Return the header's entries of a file with the tensors `kept`, and the bytes of all tensors."""
    entries, offset = {}, 0
    for name, tensor in kept.items():
        shape, size = list(tensor.shape), tensor.stop - tensor.start
        if name in rows:
            size = size // shape[0] * rows[name].count
            shape[0] = rows[name].count
        entries[name] = {"dtype": tensor.dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    return entries, offset


def _copy(original: BinaryIO, new: BinaryIO, count: int, copied: Callable[[int], object]) -> None:
    while count:
        piece = original.read(min(PIECE, count))
        if not piece:
            raise ValueError(f"{original.name} ended too early; fetch it anew.")
        new.write(piece)
        count -= len(piece)
        copied(len(piece))


def index_of(files: Mapping[str, Path]) -> dict[str, Any]:
    """Return the index over written files: tensor name -> file name, and the size of all."""
    tensors = {name: tensor for path in files.values() for name, tensor in _tensors(path).items()}
    total = sum(tensor.stop - tensor.start for tensor in tensors.values())
    weight_map = {name: tensor.file for name, tensor in tensors.items()}
    return {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
