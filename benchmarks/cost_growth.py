"""How the time of a denoising step grows, with the context and with the batch: seconds ~ size ^ exponent, fitted.

A step is a tick of the engine in which every request runs the same spans again. The exponent is the slope of log
seconds against log size by least squares; above 1 a step costs more than in proportion. It is fitted over the larger
half of the sizes, where the constant part of a step weighs least. The clock is the processor time of one thread on a
CPU (other programs do not count), the wall's on other devices.
"""

import argparse
import json
import math
import platform
import statistics
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import torch
import transformers
from models import random_model

from planned_diffusion import PlannedDiffusionForCausalLM
from planned_diffusion.generation.engine.engine import Engine
from planned_diffusion.generation.query import Query, Sampling
from planned_diffusion.generation.tokens import EVERYTHING
from planned_diffusion.generation.visibility import NO_SPAN
from planned_diffusion.loading.embedded import EMBEDDED

ORDINARY_ID = 500
MOST_GROWTH = 1.15  # an exponent above it is more than proportional, and more than noise


def steps(context: int, spans: int, length: int) -> Iterator[Query]:
    """Return a request that runs its prompt, and then the same spans forever."""
    prompt, outside = [ORDINARY_ID] * context, [NO_SPAN] * context
    yield Query(prompt, list(range(context)), outside, [0] * context, [context - 1], EVERYTHING, "planning")
    tokens = spans * (length + 2)
    span_of = [span for span in range(spans) for _ in range(length + 2)]
    positions = list(range(context, context + tokens))
    wanted = [index for index in range(tokens) if index % (length + 2) < length]
    while True:
        yield Query([ORDINARY_ID] * tokens, positions, span_of, [0] * tokens, wanted, EVERYTHING, "denoising")


def seconds_per_step(model, context: int, batch: int, args) -> float:
    engine = Engine(model, live_requests=batch)
    for _ in range(batch):
        engine.add(steps(context, args.spans, args.length), Sampling())
    clock = time.thread_time if model.device.type == "cpu" else time.perf_counter
    taken = []
    for repeat in range(args.repeats + 2):  # the prompt's forward and a warm-up first
        started = clock()
        list(engine.tick())  # ends in a copy to the host
        if repeat > 1:
            taken.append(clock() - started)
    for number in range(batch):
        engine.cancel(number)
    return statistics.median(taken)


def exponent(sizes: list[int], seconds: list[float]) -> float:
    """Slope of log seconds over log size, of the larger half of the sizes."""
    start = len(sizes) // 2 - (len(sizes) < 4)
    x, y = ([math.log(value) for value in values[start:]] for values in (sizes, seconds))
    return statistics.linear_regression(x, y).slope


def plot(results: dict, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(results), figsize=(9, 3.6), layout="constrained")
    for axis, (name, result) in zip(axes, results.items(), strict=True):
        axis.loglog(result["sizes"], [1000 * value for value in result["seconds"]], "o-")
        axis.set(xlabel=name, ylabel="ms per denoising step", title=f"exponent {result['exponent']:.2f}")
        axis.grid(alpha=0.3, which="both")
    figure.savefig(path, dpi=150)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", help="a random model of this shape (models.py) in place of the embedded one")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--contexts", type=int, nargs="+", default=[128, 256, 512, 1024, 2048, 4096])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--context", type=int, default=64, help="context in tokens while the batch grows")
    parser.add_argument("--spans", type=int, default=3)
    parser.add_argument("--length", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="also keep the results as JSON")
    parser.add_argument("--plot", type=Path, help="also draw them (needs matplotlib)")
    args = parser.parse_args()
    if args.device == "cpu":
        torch.set_num_threads(1)
    if args.shape:
        model = random_model(args.shape, args.device)
    else:
        model = PlannedDiffusionForCausalLM.from_pretrained(EMBEDDED, dtype="auto").to(args.device).eval()
    grow = {
        "context": [(size, seconds_per_step(model, size, 1, args)) for size in args.contexts],
        "batch": [(size, seconds_per_step(model, args.context, size, args)) for size in args.batches],
    }
    results = {}
    for name, points in grow.items():
        sizes, seconds = map(list, zip(*points, strict=True))
        results[name] = {"sizes": sizes, "seconds": seconds, "exponent": exponent(sizes, seconds)}
        print(f"{name:8}" + "".join(f"{size:>9}" for size in sizes))
        print(f"{'ms':8}" + "".join(f"{1000 * value:9.2f}" for value in seconds))
        verdict = "more than proportional" if results[name]["exponent"] > MOST_GROWTH else "at most proportional"
        print(f"exponent {results[name]['exponent']:.2f}: {verdict}\n")
    environment = {
        "date": str(date.today()),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, {model.device}",
        "versions": f"torch {torch.__version__}, transformers {transformers.__version__}",
        "dtype": str(model.dtype),
        "spans": f"{args.spans} of {args.length}",
    }
    print("; ".join(f"{key}: {value}" for key, value in environment.items()))
    if args.out:
        args.out.write_text(json.dumps({"stamp": environment, "results": results}, indent=1) + "\n")
    if args.plot:
        plot(results, args.plot)


if __name__ == "__main__":
    main()
