"""Tokens per second by batch, planned and left to right, with the batch at which left to right overtakes."""

from bench import Bench, denoising, engine_step, planning, roofline_columns, step_work, sweep
from harness import interleaved, timing
from plans import AUTOREGRESSIVE_TOKENS, PAPER

from planned_diffusion.generation.query import Query

CONTEXT = 128  # tokens before the step
BATCHES = (1, 2, 4, 8, 16, 32, 64)
OPEN = 130  # tokens of a request's open spans


def by_batch(bench: Bench) -> list[dict]:
    """One row per batch: a left-to-right step, a denoising step, and the tokens per second that follow.

    A planned answer costs its plan's tokens and its steps; it is worth the tokens of a left-to-right answer.
    """
    steps = _rows_of(bench, planning(bench, CONTEXT))
    fills = {row["batch"]: row for row in _rows_of(bench, denoising(bench, CONTEXT, OPEN))}
    return [_row(step, fills.get(step["batch"], {})) for step in steps]


def _row(step: dict, fill: dict) -> dict:
    if "note" in step:
        return step
    batch = step["batch"]
    names = ("batch", "ms", "spread %", "repeats", "x limit")
    row = {name: step[name] for name in names} | {"autoregressive tokens/s": 1000 * batch / step["ms"]}
    if "ms" in fill:
        row |= {"denoising ms": fill["ms"], "denoising x limit": fill["x limit"]}
        row["planned tokens/s"] = planned_tokens_per_second(batch, step["ms"], fill["ms"])
        row["limit: autoregressive tokens/s"] = 1000 * batch / step["limit ms"]
        row["limit: planned tokens/s"] = planned_tokens_per_second(batch, step["limit ms"], fill["limit ms"])
    return row


def planned_tokens_per_second(batch: int, step_ms: float, denoising_ms: float) -> float:
    """Return tokens per second of planned answers, each worth a left-to-right answer of the paper."""
    return 1000 * batch * AUTOREGRESSIVE_TOKENS / (PAPER.plan_tokens * step_ms + PAPER.steps * denoising_ms)


def overtaken_at(rows: list[dict], prefix: str = "") -> int | None:
    """The smallest batch measured at which left to right writes more tokens per second; None if it never does."""
    names = f"{prefix}autoregressive tokens/s", f"{prefix}planned tokens/s"
    both = [row for row in rows if all(name in row for name in names)]
    return next((row["batch"] for row in both if row[names[0]] > row[names[1]]), None)


def _rows_of(bench: Bench, query: Query) -> list[dict]:
    def point(batch: int) -> dict:
        seconds = interleaved({"engine": engine_step(bench, query, CONTEXT, batch)}, bench.repeats, bench.point_s)
        row = {"batch": batch, **timing(seconds["engine"])}
        return row | roofline_columns(bench, step_work(bench, query, CONTEXT, batch), row["ms"])

    return sweep(bench, "batch", BATCHES, point)
