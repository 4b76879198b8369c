"""Peak memory and speed of `planned-diffusion convert` on a checkpoint of random weights, in shards.

The conversion runs in a process of its own; its peak is what the operating system counted for it, imports included.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from harness import arguments, report, stamp
from models import SHAPES
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers import models as tokenizer_models
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

ROWS = 152_064
CONVERT = """
import resource, sys
from planned_diffusion.hub.convert.convert import convert
imports = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
convert(sys.argv[1], sys.argv[2])
print(imports, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def write_checkpoint(folder: Path, layers: int, shard_gigabytes: float) -> float:
    """A native Qwen2 checkpoint of the 7B's width, piece by piece, in little memory; returns its size in GB."""
    sizes = {**SHAPES["7b"], "num_hidden_layers": layers}
    config = Qwen2Config(vocab_size=ROWS, tie_word_embeddings=False, dtype="bfloat16", **sizes)
    config.save_pretrained(folder)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in Qwen2ForCausalLM(config).state_dict().items()}
    shards, room = [], 0
    for name, shape in shapes.items():
        if not shards or room < 2 * shape.numel():
            shards.append({})
            room = int(shard_gigabytes * 1e9)
        shards[-1][name] = shape
        room -= 2 * shape.numel()
    files = {f"model-{at:05d}-of-{len(shards):05d}.safetensors": shard for at, shard in enumerate(shards, 1)}
    for file, shard in files.items():
        write_shard(folder / file, shard)
    weight_map = {name: file for file, shard in files.items() for name in shard}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return sum((folder / file).stat().st_size for file in files) / 1e9


def write_shard(path: Path, shapes: dict[str, torch.Size]) -> None:
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        size = 2 * shape.numel()
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    piece = torch.empty(1 << 20, dtype=torch.bfloat16).normal_(0, 0.02).view(torch.uint8).numpy().tobytes()
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        while offset:
            offset -= file.write(piece[: min(offset, len(piece))])


def write_tokenizer(folder: Path) -> None:
    backend = Tokenizer(tokenizer_models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator([], trainers.BpeTrainer(initial_alphabet=alphabet, show_progress=False))
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>").save_pretrained(folder)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--layers", type=int, default=4, help="number of layers; 4: 4 GB; 28: the 7B, 15 GB")
    parser.add_argument(
        "--shard-gigabytes", type=float, default=2.5, help="size of the largest shard; embedding and head are 1.09"
    )
    parser.add_argument(
        "--folder", help="folder for both checkpoints while the benchmark runs; default: the system's temporary folder"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        source = Path(folder) / "source"
        source.mkdir()
        write_tokenizer(source)
        size = write_checkpoint(source, args.layers, args.shard_gigabytes)
        started = time.perf_counter()
        command = [sys.executable, "-c", CONVERT, str(source), str(Path(folder) / "out")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds = time.perf_counter() - started
        imports, peak = (int(kibibytes) / 2**20 for kibibytes in done.stdout.split())
    row = {"GB": size, "seconds": seconds, "imports, GiB": imports, "peak, GiB": peak, "target, GiB": 2.0}
    report("Conversion", [row], stamp(dtype="bfloat16"), args.out)


if __name__ == "__main__":
    main()
