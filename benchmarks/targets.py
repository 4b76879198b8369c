"""The table of targets: goal, measurement, limit, and distance from the limit.

Run by itself it prints the table from benchmarks/results/; docs/tables.py writes it into docs/benchmarks.md.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cases.batch import overtaken_at
from cases.embedded import AS_SHIPPED, TOGETHER
from harness import print_table, shown

FOLDER = Path(__file__).parent
PRECISION_RESULTS = ("cuda-7b", "cpu-630m")
WIDE = (64, 130, 250)  # tokens of the steps that are held against the roofline
LARGE_BATCH = 32


@dataclass(frozen=True)
class Reading:
    """A measured number and the limit of the same; `text` where there is more to say than a number."""

    measured: float
    limit: float
    text: str | None = None


@dataclass(frozen=True)
class Target:
    """One line of the table.

    results: the results file that it is read from.
    read: cases -> `Reading`; KeyError or StopIteration where they do not hold it.
    reached: measured -> whether that is good enough; None where something is only shown.
    """

    what: str
    goal: str
    results: str
    read: Callable[[dict], Reading]
    reached: Callable[[float], bool] | None


def row_of(cases: dict, case: str, **wanted) -> dict:
    """The row of a case in which these columns have these values."""
    rows = cases[case]["rows"]
    return next(row for row in rows if all(row.get(key) == value for key, value in wanted.items()))


def step_over_transformer(cases: dict) -> Reading:
    return Reading(row_of(cases, "fill", step="denoising")["x ideal"], 1.0)


def overhead(cases: dict) -> Reading:
    planning, denoising = (row_of(cases, "fill", step=step)["outside ms"] for step in ("planning", "denoising"))
    text = f"{shown(planning)} ms planning, {shown(denoising)} ms denoising 252 tokens"
    return Reading(max(planning, denoising), 0.0, text)


def batching(cases: dict) -> Reading:
    """Return the gain with the embedded checkpoint's own settings, and those of other settings beside it."""
    gains = {row["system"]: row["gain"] for row in cases["batching"]["rows"]}
    others = "; ".join(f"{system} {shown(gain)} x" for system, gain in gains.items() if system != AS_SHIPPED)
    return Reading(gains[AS_SHIPPED], float(TOGETHER), f"{shown(gains[AS_SHIPPED])} x as shipped ({others})")


def many_parts(cases: dict) -> Reading:
    planned = row_of(cases, "many-parts", system="planned, threshold 0.9")
    left_to_right = row_of(cases, "many-parts", system="autoregressive")
    return Reading(planned["gain"], left_to_right["forwards"] / planned["forwards"])


def worst_step(cases: dict) -> Reading:
    rows = [row_of(cases, "kinds", step="planning"), *(row_of(cases, "tokens", tokens=count) for count in WIDE)]
    text = ", ".join(f"{shown(row['x limit'])} x at {row['tokens']}" for row in rows)
    return Reading(max(row["x limit"] for row in rows), 1.0, text)


def paper_gain(cases: dict) -> Reading:
    planned, own = (row_of(cases, "paper", request=request) for request in ("planned", "autoregressive"))
    return Reading(planned["gain over autoregressive"], own["limit ms"] / planned["limit ms"])


def batch_gain(cases: dict) -> Reading:
    alone, large = (row_of(cases, "batch", batch=batch) for batch in (1, LARGE_BATCH))
    names = ("autoregressive tokens/s", "limit: autoregressive tokens/s")
    return Reading(*(large[name] / alone[name] for name in names))


def overtaking(cases: dict) -> Reading:
    rows = cases["batch"]["rows"]
    measured, limit = (overtaken_at(rows, prefix) for prefix in ("", "limit: "))
    largest = max(row["batch"] for row in rows if "planned tokens/s" in row)
    said = [f"above {largest}" if batch is None else f"at batch {batch}" for batch in (measured, limit)]
    return Reading(0.0, 0.0, f"left to right overtakes {said[0]}; by the roofline {said[1]}")


def memory_of_nf4(cases: dict) -> Reading:
    rows = [row for row in cases["precision"]["rows"] if row["precision"] == "nf4" and row["context"] >= 2048]
    if not rows:
        raise KeyError("nf4")
    return Reading(max(row["peak GB"] for row in rows), rows[0]["weights GB"])


def at_most(bound: float) -> Callable[[float], bool]:
    return lambda measured: measured <= bound


def at_least(bound: float) -> Callable[[float], bool]:
    return lambda measured: measured >= bound


TARGETS = (
    Target("630 M shape, CPU, one thread, 6 x 40, ratio 1: step / (transformer + head on the wanted rows)",
           "<= 1.10", "cpu-630m", step_over_transformer, at_most(1.10)),
    Target("engine per tick outside the model, batch 1, embedded model, CPU", "<= 1 ms", "cpu-embedded", overhead,
           at_most(1.0)),
    Target("engine per tick outside the model, batch 1, 7B, GPU", "<= 0.5 ms", "cuda-7b", overhead, at_most(0.5)),
    Target("embedded model: 8 mixed requests together against in sequence", ">= 3.5 x", "cpu-embedded", batching,
           at_least(3.5)),
    Target("embedded model, 3+ parts, batch 1: threshold 0.9 against left to right, seconds", ">= 1.8 x",
           "cpu-embedded", many_parts, at_least(1.8)),
    Target("7B, bf16, batch 1: left-to-right step and denoising steps of 64, 130, 250 tokens / roofline", "<= 1.35 x",
           "cuda-7b", worst_step, at_most(1.35)),
    Target("7B: the paper's average planned answer against 367 tokens left to right", ">= 2.1 x", "cuda-7b",
           paper_gain, at_least(2.1)),
    Target("7B, left to right: tokens/s at batch 32 against batch 1", ">= 12 x", "cuda-7b", batch_gain, at_least(12)),
    Target("7B: tokens/s against batch, where left to right overtakes", "shown", "cuda-7b", overtaking, None),
    Target("nf4 7B: peak memory at 2,048 context", "<= 7.5 GB", "cuda-7b", memory_of_nf4, at_most(7.5)),
)  # fmt: skip


def target_rows(folder: Path) -> list[dict]:
    """A row per target from the results in a folder."""
    return [_row(target, cases_in(folder / f"{target.results}.json")) for target in TARGETS]


def cases_in(path: Path) -> dict:
    """Return the cases that run.py kept in a file; nothing if the file is missing or another script wrote it."""
    return json.loads(path.read_text(encoding="utf-8")).get("cases", {}) if path.exists() else {}


def _row(target: Target, cases: dict) -> dict:
    row = {"what": target.what, "target": target.goal}
    try:
        reading = target.read(cases)
    except (KeyError, StopIteration):
        needs = "needs a GPU" if target.results.startswith("cuda") else "make bench"
        return row | {"measured": f"unmeasured ({needs})", "limit": "", "from the limit": "", "reached": ""}
    measured = shown(reading.measured) if reading.text is None else reading.text
    if target.reached is None:
        return row | {"measured": measured, "limit": "", "from the limit": "", "reached": ""}
    reached = "yes" if target.reached(reading.measured) else "no"
    return row | {"measured": measured, "limit": shown(reading.limit), "from the limit": distance(reading),
                  "reached": reached}  # fmt: skip


def distance(reading: Reading) -> str:
    """The larger of measured and limit over the smaller; the difference where the limit is nothing."""
    if not reading.limit:
        return f"+ {shown(reading.measured)}"
    factor = reading.measured / reading.limit
    return f"{shown(max(factor, 1 / factor))} x"


def print_targets(folder: Path) -> None:
    print_table("Targets", target_rows(folder))


def report_lines(folder: Path) -> list[str]:
    """Return targets and precisions as Markdown tables, and the stamps of the results that they were read from."""
    lines = ["## Targets", "", *markdown(target_rows(folder))]
    for name in PRECISION_RESULTS:
        rows = precision_rows(cases_in(folder / f"{name}.json"))
        lines += ["", f"## bf16 against nf4 and int8, `{name}`", "", *markdown(rows)] if rows else []
    lines += ["", "## Measured on", ""]
    return lines + [_stamp_line(path) for path in sorted(folder.glob("*.json")) if cases_in(path)]


def markdown(rows: list[dict]) -> list[str]:
    """Rows of text as the lines of a table."""
    header = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    return header + ["| " + " | ".join(row.values()) + " |" for row in rows]


def precision_rows(cases: dict) -> list[dict]:
    """A row per precision: ms at every number of tokens, with its ratio to bf16, and memory."""
    measured = [row for row in cases.get("precision", {}).get("rows", []) if "ms" in row]
    bf16 = {row["tokens"]: row["ms"] for row in measured if row["precision"] == "bf16"}
    rows = []
    for precision in dict.fromkeys(row["precision"] for row in measured):
        own = [row for row in measured if row["precision"] == precision]
        row = {"precision": precision}
        for one in own:
            times = f" ({shown(one['ms'] / bf16[one['tokens']])} x)" if one["tokens"] in bf16 else ""
            row[f"ms at {one['tokens']} tokens"] = shown(one["ms"]) + times
        row |= {"weights, GB": shown(own[-1]["weights GB"]), "peak, GB": shown(max(one["peak GB"] for one in own))}
        rows.append(row)
    return rows


def _stamp_line(path: Path) -> str:
    """Date, machine, versions and rates of a results file."""
    cases = cases_in(path)
    case = next(reversed(cases.values()))
    environment = case["stamp"]
    machines = [one["machine"] for one in cases.values()]
    copies, multiplies = (max(one[rate] for one in machines) for rate in ("bytes_per_s", "flops_per_s"))
    loads = [one["stamp"]["load"] for one in cases.values()]
    return (
        f"- `{path.stem}`: {environment['date']}, commit {environment['commit']}; {environment['device']}, "
        f"{environment['cores']} cores, threads: {environment['threads']}, {environment['dtype']}; copies "
        f"{copies / 1e9:.3g} GB/s, multiplies {multiplies / 1e12:.3g} TFLOP/s; "
        f"{environment['versions']}; load average {min(loads)} to {max(loads)}"
    )


if __name__ == "__main__":
    print_targets(FOLDER / "results")
