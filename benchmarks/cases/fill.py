"""A whole fill of 6 spans of 40 tokens, tick by tick: the engine's tick, then the transformer alone on the same tokens.

Every tick is paired with its own idealised step, so one fill gives as many pairs as it has steps.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench import Bench, roofline_columns
from harness import synchronize, timing
from ideal import Ideal
from plans import SIX_BY_FORTY, Scripted, recorded, scripted_request
from roofline import Work, forward_work

from planned_diffusion.generation.engine.engine import Engine
from planned_diffusion.generation.events import Ended
from planned_diffusion.generation.query import Query, Sampling

PROMPT = 64  # tokens


@dataclass(frozen=True)
class Pair:
    """A tick of the engine, and the idealised step on the same tokens."""

    query: Query
    engine_s: float
    ideal_s: float
    work: Work


def six_by_forty(bench: Bench) -> list[dict]:
    """Planning and denoising ticks against the idealised loop, and the engine's own time per tick."""
    return paired_rows(bench, SIX_BY_FORTY)


def paired_rows(bench: Bench, scripted: Scripted) -> list[dict]:
    """A row for the planning ticks and one for the denoising ticks of a request, the tick with the prompt left out."""
    engine = bench.engine(1)
    if bench.device == "cuda":  # whatever is compiled or captured is kept by the engine
        paired_ticks(bench, engine, scripted)
    pairs = paired_ticks(bench, engine, scripted)[1:]
    rows = []
    for purpose in ("planning", "denoising"):
        of_kind = [pair for pair in pairs if pair.query.purpose == purpose]
        ticks, ideals = [pair.engine_s for pair in of_kind], [pair.ideal_s for pair in of_kind]
        mean_work = sum((pair.work for pair in of_kind), Work()).times(1 / len(of_kind))
        row = {"step": purpose, "tokens": statistics.fmean(len(pair.query.token_ids) for pair in of_kind)}
        row |= timing(ticks) | {"ideal ms": timing(ideals)["ms"], "x ideal": sum(ticks) / sum(ideals)}
        row["outside ms"] = 1000 * statistics.median(a - b for a, b in zip(ticks, ideals, strict=True))
        rows.append(row | roofline_columns(bench, mean_work, 1000 * statistics.fmean(ticks)))
    return rows


def paired_ticks(bench: Bench, engine: Engine, scripted: Scripted) -> list[Pair]:
    """A pair for every forward of one request."""
    ideal = Ideal(bench.model, 1, PROMPT + scripted.tokens)
    log: list[Query] = []
    engine.add(recorded(scripted_request(bench.model, scripted, bench.prompt(PROMPT)), log), Sampling())
    pairs, ended = [], False
    while not ended:
        events = []
        tick_s = _seconds(lambda: events.extend(engine.tick()))  # noqa: B023
        query = log[len(pairs)]
        run = ideal.prepare(query)
        if not pairs:
            run()  # the very first forward pays for one-time initialisation of libraries
        ideal_s = _seconds(run)
        slots = max(query.positions) + 1
        work = forward_work(bench.model, len(query.token_ids), slots, ideal.pairs[-1], len(query.wanted))
        pairs.append(Pair(query, tick_s, ideal_s, work))
        ended = any(isinstance(event, Ended) for _, event in events)
    return pairs


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    synchronize()
    return time.perf_counter() - started
