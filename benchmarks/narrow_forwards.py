"""Measures how wide a forward may be for hardly more than the time of one row: the room that guesses have (draft_rows).

    python benchmarks/narrow_forwards.py --model smollm2 --out benchmarks/results/narrow_forwards.json

A row is a token that is run, its logits and the token drawn from them. Every width runs behind the same context,
through the engine, in turns. Columns:

    rows       of the forward
    ms         median of the turns
    of one     in times of the forward of one row
    a row      what a row beyond the first costs, as a share of the forward of one row

The last line tells `draft_rows`: the widest forward that takes at most `--most` times the time of one row.
"""

import statistics
from argparse import Namespace
from collections.abc import Iterator

import torch
from harness import arguments, console, interleaved, report, stamp

from planned_diffusion.cli.model_names import checkpoint_of
from planned_diffusion.generation.engine.engine import Engine
from planned_diffusion.generation.query import Query, Sampling
from planned_diffusion.generation.tokens import EVERYTHING
from planned_diffusion.generation.visibility import NO_SPAN
from planned_diffusion.inference.answer import open_checkpoint

WIDTHS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256)
ORDINARY_ID = 500


def rows_again(context: int, rows: int) -> Iterator[Query]:
    """Run a prompt, and then the same rows behind it forever."""
    prompt = range(context)
    yield Query([ORDINARY_ID] * context, list(prompt), [NO_SPAN] * context, [0] * context, [0], EVERYTHING, "planning")
    behind, outside = list(range(context, context + rows)), [NO_SPAN] * rows
    while True:
        yield Query([ORDINARY_ID] * rows, behind, outside, [0] * rows, list(range(rows)), EVERYTHING, "decoding")


@torch.no_grad()
def main(args: Namespace) -> None:
    """Measure every width and print the table."""
    checkpoint = open_checkpoint(checkpoint_of(args.model), device=args.device)
    engines = {rows: Engine(checkpoint.model) for rows in WIDTHS}
    for rows, engine in engines.items():
        engine.add(rows_again(args.context, rows), Sampling())
        list(engine.tick())  # the prompt
    seconds = interleaved({rows: lambda e=engine: list(e.tick()) for rows, engine in engines.items()}, args.repeats)
    medians = {rows: statistics.median(times) for rows, times in seconds.items()}
    one = medians[1]
    table = [
        {
            "rows": rows,
            "ms": 1000 * median,
            "of one": median / one,
            "a row": (median / one - 1) / (rows - 1) if rows > 1 else None,
        }
        for rows, median in medians.items()
    ]
    dtype = str(checkpoint.model.dtype).removeprefix("torch.")
    environment = stamp(model=args.model, dtype=dtype, context=args.context, repeats=args.repeats)
    report("forwards by their rows", table, environment, args.out)
    widest = max(rows for rows, median in medians.items() if median <= args.most * one)
    console().print(f"draft_rows: {widest}")


if __name__ == "__main__":
    parser = arguments(__doc__ or "")
    parser.set_defaults(repeats=15)
    parser.add_argument("--model", required=True, help="checkpoint folder, or a name")
    parser.add_argument("--context", type=int, default=200, help="tokens before the rows (%(default)s)")
    parser.add_argument("--most", type=float, default=1.25, help="times of one row that it may take (%(default)s)")
    main(parser.parse_args())
