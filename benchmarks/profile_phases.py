"""Where the time of a forward goes, phase by phase: planning, denoising, commit, left to right; alone and in batches.

Exclusive milliseconds per tick of the engine, from timers around its parts, which cost about a microsecond each. The
clock is the processor time of one thread, torch's only one, so that other programs on the machine do not count.

    trunk     the transformer                   mask     who sees whom, and the slots' labels
    head      logits of the wanted rows         tensors  lists to tensors, the choice of rows
    draw      filters, scores, tokens, host     pack     the engine's Python: slots, packing, handing out
    decoder   the generators of the requests    overhead everything but trunk and head

A tick is called after the purpose of its queries; "commit" brings finished spans up to date along with its plan token,
"mixed" holds several purposes.
"""

import argparse
import cProfile
import io
import platform
import pstats
import statistics
import time
from collections import defaultdict
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import torch
import transformers
from transformers import AutoTokenizer

from planned_diffusion import PlannedDiffusionForCausalLM
from planned_diffusion.evaluation.measure import answer_questions
from planned_diffusion.evaluation.variants import SYSTEMS
from planned_diffusion.facts.generator import held_out_questions
from planned_diffusion.generation.engine import engine as engine_file
from planned_diffusion.generation.engine import runner as runner_file
from planned_diffusion.generation.engine.cache import SlotCache
from planned_diffusion.loading.embedded import EMBEDDED

PARTS = ("trunk", "head", "mask", "tensors", "draw", "pack", "decoder")
PROFILED = ("planned, ratio 1", "planned, threshold 0.9", "autoregressive")
MANY_PARTS = 3
FUNCTIONS_SHOWN = 12
REQUESTS_OF_FUNCTIONS = 4  # torch's profiler keeps every event


class Clock:
    """Exclusive seconds of nested parts."""

    def __init__(self):
        self.seconds: dict[str, float] = defaultdict(float)
        self._open: list[str] = []
        self._since = 0.0

    @contextmanager
    def part(self, name: str):
        self._turn()
        self._open.append(name)
        try:
            yield
        finally:
            self._turn()
            self._open.pop()

    def _turn(self) -> None:
        """Books the time since the last turn to the innermost open part."""
        now = time.thread_time()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now

    def around(self, function, name: str):
        def timed(*args, **kwargs):
            with self.part(name):
                return function(*args, **kwargs)

        return timed


class TimedDecoder:
    """A request's generator whose work is booked as "decoder"."""

    def __init__(self, decoder, clock: Clock):
        self.send, self.close = clock.around(decoder.send, "decoder"), decoder.close
        self._start = clock.around(decoder.__next__, "decoder")

    def __next__(self):
        return self._start()


@contextmanager
def patched(replacements: list[tuple[object, str, object]]):
    """Replace attributes for the duration of a with block."""
    originals = [(owner, name, vars(owner).get(name)) for owner, name, _ in replacements]
    for owner, name, value in replacements:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in originals:
            delattr(owner, name) if value is None else setattr(owner, name, value)


@contextmanager
def ticks_of(model, clock: Clock):
    """Yields a list that grows by (phase, milliseconds per part) with every tick of every engine."""
    ticks = []
    cls, add, tick = engine_file.Engine, engine_file.Engine.add, engine_file.Engine.tick

    def timed_tick(engine):
        clock.seconds.clear()
        with clock.part("pack"):
            events = list(tick(engine))
        forwards = [event for _, event in events if isinstance(event, engine_file.Forward)]
        if forwards:
            parts = {name: 1000 * seconds for name, seconds in clock.seconds.items()}
            ticks.append((phase(forwards), parts | {"tokens": sum(forward.tokens for forward in forwards)}))
        return iter(events)

    with patched(
        [
            (cls, "tick", timed_tick),
            (cls, "add", lambda engine, decoder, sampling: add(engine, TimedDecoder(decoder, clock), sampling)),
            (engine_file, "draw", clock.around(engine_file.draw, "draw")),
            (runner_file.Runner, "logits", clock.around(runner_file.Runner.logits, "tensors")),
            (runner_file, "attention_mask", clock.around(runner_file.attention_mask, "mask")),
            (runner_file, "segmented_mask", clock.around(runner_file.segmented_mask, "mask")),
            (runner_file, "single_rows", clock.around(runner_file.single_rows, "mask")),
            (SlotCache, "write_to", clock.around(SlotCache.write_to, "mask")),
            (model.model, "forward", clock.around(model.model.forward, "trunk")),
            (model.lm_head, "forward", clock.around(model.lm_head.forward, "head")),
        ]
    ):
        yield ticks


def phase(forwards: list) -> str:
    purposes = {forward.purpose for forward in forwards}
    if len(purposes) > 1:
        return "mixed"
    return "commit" if all(forward.commits for forward in forwards) else purposes.pop()


def profile(model, tokenizer, examples: list, batch: int, system: str, repeats: int) -> list[dict]:
    """A row per phase; medians over its ticks."""
    clock, of_phase = Clock(), defaultdict(list)
    for repeat in range(repeats + 1):
        with ticks_of(model, clock) as ticks:
            list(answer_questions(model, tokenizer, examples, batch, **SYSTEMS[system]))
        for name, parts in ticks if repeat else ():
            of_phase[name].append(parts)
    rows = []
    for name, ticks in sorted(of_phase.items()):
        row = {"system": system, "batch": batch, "phase": name, "ticks": len(ticks) // repeats}
        row["tokens"] = statistics.fmean(parts["tokens"] for parts in ticks)
        row |= {part: statistics.median(parts.get(part, 0.0) for parts in ticks) for part in PARTS}
        whole = [sum(parts.get(part, 0.0) for part in PARTS) for parts in ticks]
        outside = [all_of_it - parts["trunk"] - parts["head"] for all_of_it, parts in zip(whole, ticks, strict=True)]
        rows.append(row | {"tick": statistics.median(whole), "overhead": statistics.median(outside)})
    return rows


def as_markdown(rows: list[dict]) -> str:
    lines = [list(rows[0]), ["---"] * len(rows[0])]
    lines += [[f"{value:.2f}" if isinstance(value, float) else str(value) for value in row.values()] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def by_function(run) -> str:
    """The Python functions and built-ins with the largest own time, by cProfile."""
    profiler = cProfile.Profile()
    profiler.runcall(run)
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).sort_stats("tottime").print_stats(FUNCTIONS_SHOWN)
    lines = text.getvalue().splitlines()
    shown = lines[next(index for index, line in enumerate(lines) if "ncalls" in line) :]
    return "\n".join(line.replace(str(Path(torch.__file__).parents[1]) + "/", "")[:118] for line in shown if line)


def by_kernel(run) -> str:
    """The operations with the largest own time, by torch's profiler."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        run()
    events = profiler.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    largest = sorted(events, key=lambda event: -event.self_cpu_time_total)[:FUNCTIONS_SHOWN]
    return "\n".join(f"{event.self_cpu_time_total / total:6.1%} {event.count:7} x  {event.key}" for event in largest)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--requests", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--functions", action="store_true", help="also cProfile and torch's profiler")
    parser.add_argument("--out", type=Path, help="also write the text there")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = PlannedDiffusionForCausalLM.from_pretrained(EMBEDDED, dtype="auto").eval()
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED)
    held_out = held_out_questions(4 * args.requests, seed=7)
    examples = [example for example in held_out if len(example.parts) >= MANY_PARTS][: args.requests]
    text = [
        f"{date.today()}; {platform.machine()}, {torch.get_num_threads()} threads; torch {torch.__version__}, "
        f"transformers {transformers.__version__}; {model.dtype}; {len(examples)} held-out prompts of "
        f"{MANY_PARTS} or more parts; milliseconds per tick, medians",
        as_markdown(
            [row for system in PROFILED for batch in args.batch
             for row in profile(model, tokenizer, examples, batch, system, args.repeats)]
        ),
    ]  # fmt: skip
    if args.functions:
        for system in PROFILED:
            for batch in args.batch:

                def run(system: str = system, batch: int = batch) -> None:
                    few = examples[: max(batch, REQUESTS_OF_FUNCTIONS)]
                    list(answer_questions(model, tokenizer, few, batch, **SYSTEMS[system]))

                text += [f"### {system}, batch {batch}", f"```\n{by_function(run)}\n```", f"```\n{by_kernel(run)}\n```"]
    text = "\n\n".join(text) + "\n"
    print(text)
    if args.out is not None:
        args.out.write_text(text)


if __name__ == "__main__":
    main()
