"""Measures how wide a forward may be for hardly more than the time of one row: the room that guesses have (draft_rows).

    python benchmarks/narrow_forwards.py --model smollm2
    python benchmarks/narrow_forwards.py --model smollm2 --dtypes bfloat16 w8a16 w8a8 --compiled --widths 1 4 8 16 32

A row is a token that is run, its logits and the token drawn from them. Every width runs behind the same context,
through the engine, in turns, in every data type; `--compiled` adds the compiled model, which takes minutes. Columns:

    dtype      of the weights, compiled or not
    rows       of the forward
    ms         median of the turns
    of one     in times of the forward of one row in that type
    a row      what a row beyond the first costs, as a share of the forward of one row

The last lines tell `draft_rows`: the widest forward that takes at most `--most` times the time of one row.
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
WARM_UP = 2


def rows_again(context: int, rows: int) -> Iterator[Query]:
    """Run a prompt, and then the same rows behind it forever."""
    prompt = range(context)
    yield Query([ORDINARY_ID] * context, list(prompt), [NO_SPAN] * context, [0] * context, [0], EVERYTHING, "planning")
    behind, outside = list(range(context, context + rows)), [NO_SPAN] * rows
    while True:
        yield Query([ORDINARY_ID] * rows, behind, outside, [0] * rows, list(range(rows)), EVERYTHING, "decoding")


def running(args: Namespace, dtype: str, compiled: bool) -> dict[int, Engine]:
    """Return an engine for every width, which has read its context."""
    checkpoint = open_checkpoint(checkpoint_of(args.model), dtype, args.device, compiled=compiled)
    engines = {}
    for rows in args.widths:
        engines[rows] = engine = Engine(checkpoint.model, compile_config=checkpoint.compile_config)
        engine.add(rows_again(args.context, rows), Sampling())
        for _ in range(1 + WARM_UP):  # the prompt, and forwards like those that are timed
            list(engine.tick())
    return engines


@torch.no_grad()
def main(args: Namespace) -> None:
    """Measure every width in every data type and print the table."""
    engines = {
        (dtype + ", compiled" * compiled, rows): engine
        for dtype in args.dtypes
        for compiled in (False, True)[: 1 + args.compiled]
        for rows, engine in running(args, dtype, compiled).items()
    }
    seconds = interleaved({case: lambda e=engine: list(e.tick()) for case, engine in engines.items()}, args.repeats)
    medians = {case: statistics.median(times) for case, times in seconds.items()}
    table = []
    for (name, rows), median in medians.items():
        one = medians[name, args.widths[0]]
        each = (median / one - 1) / (rows - args.widths[0]) if rows > args.widths[0] else None
        table.append({"dtype": name, "rows": rows, "ms": 1000 * median, "of one": median / one, "a row": each})
    environment = stamp(model=args.model, context=args.context, repeats=args.repeats)
    report("forwards by their rows", table, environment, args.out)
    for name in dict.fromkeys(name for name, _ in medians):
        widest = max(rows for rows in args.widths if medians[name, rows] <= args.most * medians[name, args.widths[0]])
        console().print(f"draft_rows in {name}: {widest}")


if __name__ == "__main__":
    parser = arguments(__doc__ or "")
    parser.set_defaults(repeats=15)
    parser.add_argument("--model", required=True, help="checkpoint folder, or a name")
    parser.add_argument("--dtypes", nargs="+", default=["auto"], help="as generate takes them (%(default)s)")
    parser.add_argument("--compiled", action="store_true", help="also compiled, which takes minutes")
    parser.add_argument(
        "--widths", nargs="+", type=int, default=WIDTHS, help="rows of the forwards, the narrowest first (%(default)s)"
    )
    parser.add_argument("--context", type=int, default=200, help="tokens before the rows (%(default)s)")
    parser.add_argument("--most", type=float, default=1.25, help="times of one row that it may take (%(default)s)")
    main(parser.parse_args())
