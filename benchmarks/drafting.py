"""Measures what drafts bring: each drafting decoder beside the one whose tokens it must write, on the same prompts.

    python benchmarks/drafting.py --out benchmarks/results/drafting_facts.json                       held-out facts
    python benchmarks/drafting.py --model smollm2-planner --prompts held-out.jsonl --count 64        questions of a file
    python benchmarks/drafting.py --model runs/drafter --prompts held-out.jsonl --dtype float32      a gated drafter

All four decoders answer each chunk of prompts in turns. Columns:

    equal              answers that are the twin's, token for token; in float32 all should be
    tokens / forward   text of the answer per forward, the plan's included (median of the answers, and quartiles)
    of twin            forwards, and seconds (median over the chunks, and their quartiles), as shares of the twin's
    of autoregressive  the same shares, of plain text left to right, where the answers are about the same
    accepted           how often the guess at offset 1, 2, ... was right, of those that were checked
"""

import statistics
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from harness import arguments, ratio_text, report, stamp, synchronize

from planned_diffusion.cli.model_names import checkpoint_of
from planned_diffusion.evaluation.text_prompts import read_text_prompts
from planned_diffusion.facts.generator import held_out_questions
from planned_diffusion.generation.trace import Trace
from planned_diffusion.inference.answer import Checkpoint, open_checkpoint
from planned_diffusion.loading.embedded import EMBEDDED
from planned_diffusion.records.encoding import encode_prompt

# Drafting decoder -> the decoder that it must agree with.
TWINS = {"speculative": "autoregressive", "parallel_speculative": "parallel_autoregressive"}
FIELDS = {"plan_lookahead": 3}  # of those with a plan, where it counts the same on both sides
WITH_A_PLAN = ("parallel_autoregressive", "parallel_speculative")


@dataclass
class Answers:
    """All that a decoder wrote: ids, traces, and seconds per chunk."""

    ids: list[list[int]] = field(default_factory=list)
    traces: list[Trace] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def forwards(self) -> float:
        return statistics.fmean(trace.forwards for trace in self.traces)

    def accepted(self) -> str:
        """The share of right guesses by offset, as text."""
        shares = []
        for offset in range(max(len(trace.drafts_checked) for trace in self.traces)):
            checked, right = (
                sum(counts[offset] for counts in of_all if len(counts) > offset)
                for of_all in (
                    [trace.drafts_checked for trace in self.traces],
                    [trace.drafts_accepted for trace in self.traces],
                )
            )
            shares.append(f"{right / checked:.0%}")
        return " ".join(shares)


def write(checkpoint: Checkpoint, prompts: Sequence[list[int]], answers: Answers, **fields) -> None:
    """Answer prompts, given as ids, together, and keep what was written and the seconds that it took."""
    longest, pad = max(map(len, prompts)), checkpoint.tokenizer.pad_token_id or 0
    ids = torch.tensor([[pad] * (longest - len(one)) + one for one in prompts])
    mask = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in prompts])
    device = checkpoint.model.device
    started = time.perf_counter()
    out = checkpoint.model.generate(
        ids.to(device), attention_mask=mask.to(device), return_dict_in_generate=True, **fields
    )  # fmt: skip
    synchronize()
    answers.seconds.append(time.perf_counter() - started)
    answers.ids += [row[longest:].tolist() for row in out.sequences]
    answers.traces += out.trace


def compare(checkpoint: Checkpoint, prompts: list[list[int]], batch_size: int, args: Namespace) -> list[dict]:
    """Return a row for every drafting decoder, at one batch size."""
    written = {name: Answers() for pair in TWINS.items() for name in pair}
    chunks = [prompts[start : start + batch_size] for start in range(0, len(prompts), batch_size)]
    shared = {"max_new_tokens": args.max_new_tokens, "do_sample": False}
    for number, chunk in enumerate([chunks[0], *chunks]):
        for name, answers in written.items():
            fields = shared | {"decoding": name} | (FIELDS if name in WITH_A_PLAN else {})
            write(checkpoint, chunk, Answers() if number == 0 else answers, **fields)  # the first chunk warms up
    return [row(drafting, batch_size, written) for drafting in TWINS]


def row(drafting: str, batch_size: int, written: dict[str, Answers]) -> dict:
    """Return the line of one drafting decoder."""
    ours, twin, plain = written[drafting], written[TWINS[drafting]], written["autoregressive"]
    equal = sum(mine == theirs for mine, theirs in zip(ours.ids, twin.ids, strict=True))
    return {
        "decoding": drafting,
        "batch": batch_size,
        "equal": f"{equal} of {len(ours.ids)}",
        "tokens / forward": ratio_text(*zip(*((one.tokens, one.forwards) for one in ours.traces), strict=True)),
        "forwards": ours.forwards,
        "forwards of twin": ours.forwards / twin.forwards,
        "seconds of twin": ratio_text(ours.seconds, twin.seconds),
        "forwards of autoregressive": ours.forwards / plain.forwards,
        "seconds of autoregressive": ratio_text(ours.seconds, plain.seconds),
        "accepted": ours.accepted(),
    }


def main(args: Namespace) -> None:
    """Compare at every batch size and print the table."""
    source = str(EMBEDDED) if args.model is None else checkpoint_of(args.model)
    checkpoint = open_checkpoint(source, device=args.device, dtype=args.dtype)
    if args.prompts is None:
        asked = [question.prompt for question in held_out_questions(args.count, args.seed)]
    else:
        asked = [one.prompt for one in read_text_prompts(args.prompts, args.count)]
    prompts = [encode_prompt(checkpoint.tokenizer, prompt) for prompt in asked]
    rows = [line for size in args.batch_sizes for line in compare(checkpoint, prompts, size, args)]
    environment = stamp(
        model=args.model or "included", dtype=args.dtype, prompts=len(prompts), max_new_tokens=args.max_new_tokens
    )
    report("drafts beside their twins", rows, environment, args.out)


if __name__ == "__main__":
    parser = arguments(__doc__ or "")
    parser.add_argument("--model", help="checkpoint folder, or a name; by default the included model of facts")
    parser.add_argument("--prompts", type=Path, help="file of prompts; by default held-out questions about facts")
    parser.add_argument("--count", type=int, default=64, help="prompts, from the first one on (%(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="of the questions about facts (%(default)s)")
    parser.add_argument("--dtype", default="float32", help="float32, in which answers are equal, or bfloat16")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8], help="prompts answered together")
    parser.add_argument("--max-new-tokens", type=int, default=128, help="most tokens of an answer (%(default)s)")
    main(parser.parse_args())
