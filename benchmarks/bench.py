"""The benchmark that every case receives: model, machine rates, number of repeats, time limit of a point."""

import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from harness import interleaved, peak_bytes, ratio, timing
from ideal import Ideal, labelled, text, visible
from machine import Machine
from plans import ordinary_ids
from roofline import Work, forward_work

from planned_diffusion.generation.engine.engine import Engine
from planned_diffusion.generation.query import Query, Sampling
from planned_diffusion.generation.tokens import Allowed, ControlTokens

CHUNK = 512  # tokens of context that are run in one forward
SPAN = 42  # tokens of a benchmark span, tags included: the mean of the paper's


@dataclass(frozen=True)
class Bench:
    """One run of the benchmarks.

    point_s: seconds that the repeats of one point may take; a sweep ends before a point that would take longer.
    largest: size where every sweep ends; None for no end.
    """

    shape: str
    device: str
    dtype: torch.dtype
    model: object
    machine: Machine
    repeats: int
    point_s: float
    largest: int | None = None

    @property
    def tokens(self) -> ControlTokens:
        return ControlTokens.from_config(self.model.config)

    def engine(self, live_requests: int) -> Engine:
        """Return an engine, compiled if the run is."""
        return Engine(self.model, live_requests, compile_config=self.model.generation_config.compile_config)

    def prompt(self, length: int, seed: int = 0) -> list[int]:
        """Return ordinary token ids."""
        return random.Random(seed).choices(ordinary_ids(self.model), k=length)


# Queries of one step, behind `context` tokens of text.


def planning(bench: Bench, context: int) -> Query:
    """One token, one wanted row, under the planner's constraints."""
    allowed = Allowed(only=False, ids=bench.tokens.tags)
    return Query(bench.prompt(1), [context], [-1], [0], [0], allowed, "planning")


def denoising(bench: Bench, context: int, count: int) -> Query:
    """`count` tokens in spans of SPAN, the last one shorter; half of them are wanted, as in the middle of a fill."""
    positions, spans = _spans(context, count)
    ids = [bench.tokens.mask if index % 2 else token for index, token in enumerate(bench.prompt(count))]
    allowed = Allowed(only=False, ids=bench.tokens.all - {bench.tokens.span_pad})
    wanted = list(range(0, count, 2))
    return Query(ids, positions, spans, [0] * count, wanted, allowed, "denoising")


def commit(bench: Bench, context: int, count: int) -> Query:
    """`count` - 1 tokens of finished spans, and a `<sync/>` that predicts the next round's first token."""
    positions, spans = _spans(context, count)
    rounds = [0] * (count - 1) + [1]
    ids = bench.prompt(count - 1) + [bench.tokens.sync]
    allowed = Allowed(only=False, ids=bench.tokens.tags)
    return Query(ids, positions, spans[:-1] + [-1], rounds, [count - 1], allowed, "planning", commits=True)


def _spans(context: int, count: int) -> tuple[list[int], list[int]]:
    return list(range(context, context + count)), [index // SPAN for index in range(count)]


# Running them.


def repeated(prompt_ids: list[int], query: Query) -> Iterator:
    """Return a decoder that reads its prompt and then yields the same query forever."""
    for start in range(0, len(prompt_ids), CHUNK):
        ids = prompt_ids[start : start + CHUNK]
        outside = [-1] * len(ids)
        positions = list(range(start, start + len(ids)))
        yield Query(ids, positions, outside, [0] * len(ids), [len(ids) - 1], query.allowed, "planning")
    while True:
        yield query


def engine_step(bench: Bench, query: Query, context: int, batch: int = 1) -> Callable[[], object]:
    """Return a function that runs one tick of an engine with `batch` requests that have read their context."""
    engine = bench.engine(batch)
    for seed in range(batch):
        engine.add(repeated(bench.prompt(context, seed), query), Sampling())
    for _ in range(0, context, CHUNK):
        run_through(engine.tick())
    return lambda: run_through(engine.tick())


def run_through(events: Iterator) -> None:
    deque(events, maxlen=0)


def ideal_step(bench: Bench, query: Query, context: int, batch: int = 1) -> Callable[[], object]:
    """Return a function that runs the step of `engine_step` without an engine."""
    ideal = Ideal(bench.model, batch, context + len(query.token_ids))
    ideal.context(context)
    return ideal.prepare(query)


def step_work(bench: Bench, query: Query, context: int, batch: int = 1) -> Work:
    """Return the work of a forward for `batch` requests with the same query."""
    count = len(query.token_ids)
    pairs = int(visible(query, text(context) | labelled(query)).sum())
    return forward_work(bench.model, batch * count, batch * (context + count), batch * pairs, batch * len(query.wanted))


def step_row(bench: Bench, query: Query, context: int, batch: int = 1) -> dict:
    """Return a row: a step of the engine beside the idealised step and the roofline."""
    competitors = {
        "engine": engine_step(bench, query, context, batch),
        "ideal": ideal_step(bench, query, context, batch),
    }
    seconds = interleaved(competitors, bench.repeats, bench.point_s)
    row = {"tokens": batch * len(query.token_ids), "context": context, "batch": batch, **timing(seconds["engine"])}
    row["ideal ms"] = timing(seconds["ideal"])["ms"]
    row["x ideal"] = ratio(seconds["engine"], seconds["ideal"])
    return row | roofline_columns(bench, step_work(bench, query, context, batch), row["ms"])


def roofline_columns(bench: Bench, work: Work, milliseconds: float) -> dict:
    """Return the columns of the roofline: the time at the machine's rates, and the measurement's distance from it."""
    limit = 1000 * bench.machine.limit_s(work)
    return {
        "MB": work.bytes / 1e6,
        "GFLOP": work.flops / 1e9,
        "limit ms": limit,
        "x limit": milliseconds / limit,
        "bound": bench.machine.bound(work),
    }


def sweep(bench: Bench, name: str, sizes: tuple[int, ...], point: Callable[[int], dict]) -> list[dict]:
    """Return a row per size of `name`, ascending, until time or memory runs out; the last row says where and why."""
    rows, before = [], None
    for size in sizes:
        if bench.largest is not None and size > bench.largest:
            break
        if rows and not affordable(bench, rows[-1]["ms"] / 1000 * size / before):
            return [*rows, {name: size, "note": f"not run: more than {bench.point_s:g} s"}]
        try:
            rows.append(with_peak(bench, point, size))
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            return [*rows, {name: size, "note": "not run: out of memory"}]
        before = size
    return rows


def with_peak(bench: Bench, point: Callable[[int], dict], size: int) -> dict:
    """Return a point; on a GPU with its peak memory, weights included."""
    if bench.device != "cuda":
        return point(size)
    torch.cuda.reset_peak_memory_stats()
    return point(size) | {"peak GB": peak_bytes(bench.device) / 1e9}


def affordable(bench: Bench, seconds: float) -> bool:
    """Return whether there is time for a point whose step takes this long: context, warm-up, repeat and reference."""
    return 5 * seconds <= bench.point_s
