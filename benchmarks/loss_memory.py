"""Peak memory of the loss at a vocabulary of 152,064, by rows per chunk; each case in a process of its own."""

import multiprocessing
import resource

import torch
from harness import arguments, report, stamp
from transformers import AutoConfig

from planned_diffusion import PlannedDiffusionConfig, PlannedDiffusionForCausalLM
from planned_diffusion.generation.visibility import CLEAN, NO_SPAN
from planned_diffusion.training.loss import planned_diffusion_loss

VOCABULARY = 152_064
CONTROL = (
    "mask", "promise_start", "topic_end", "async_start", "async_end", "sync", "span_pad", "eos",
)  # fmt: skip


def tiny_trunk(width: int) -> PlannedDiffusionForCausalLM:
    """Return a trunk of one layer; the measurement is about the head."""
    backbone = AutoConfig.for_model(
        "qwen2", vocab_size=VOCABULARY, hidden_size=width, intermediate_size=width, num_hidden_layers=1,
        num_attention_heads=1, num_key_value_heads=1, tie_word_embeddings=True,
    )  # fmt: skip
    ids = {f"{name}_token_id": index + 20 for index, name in enumerate(CONTROL)}
    return PlannedDiffusionForCausalLM(PlannedDiffusionConfig(backbone, **ids, digit_token_ids=list(range(10))))


def text_batch(rows: int, device: str) -> dict[str, torch.Tensor]:
    """Return plain text with a label for every token but the last."""
    ids = torch.randint(VOCABULARY, (1, rows), generator=torch.Generator().manual_seed(0)).to(device)
    zeros = torch.zeros_like(ids)
    return {
        "input_ids": ids, "position_ids": torch.arange(rows, device=device)[None], "labels": ids.roll(-1, 1),
        "loss_weights": torch.ones(1, rows, device=device), "loss_part": zeros, "document": zeros + 1,
        "span": zeros + NO_SPAN, "round": zeros, "stream": zeros + CLEAN,
    }  # fmt: skip


def peak(device: str) -> float:
    """GiB: of the process on a CPU, of allocated memory on a GPU."""
    if device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return torch.cuda.max_memory_allocated() / 2**30


def case(rows: int, chunk_rows: int, width: int, device: str, results) -> None:
    torch.manual_seed(0)
    model, batch = tiny_trunk(width).to(device), text_batch(rows, device)
    before = peak(device)
    loss = planned_diffusion_loss(model, batch, chunk_size=chunk_rows).total
    loss.backward()
    results.put((peak(device) - before, loss.item()))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--width", type=int, default=64)
    args = parser.parse_args()
    spawn, rows = multiprocessing.get_context("spawn"), []
    for chunk_rows in (args.rows, 512, 128):
        for length in (args.rows // 2, args.rows):
            results = spawn.Queue()
            process = spawn.Process(target=case, args=(length, chunk_rows, args.width, args.device, results))
            process.start()
            gib, loss = results.get()
            process.join()
            rows.append({"labelled rows": length, "rows per chunk": chunk_rows, "peak GiB": gib, "loss": loss})
    report("Memory of the loss, vocabulary 152,064", rows, stamp(dtype="float32", width=args.width), args.out)


if __name__ == "__main__":
    main()
