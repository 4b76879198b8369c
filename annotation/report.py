"""The report of an annotation: counts, spans and lengths, and the ideal critical path; as a table, JSON and a plot.

Definitions. Share with two spans: records written as plans with at least two spans, of all records read. Critical path
and sequential tokens are those of `gain.py`, over the records with plans.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .gain import critical_path, plan_tokens, sequential
from .outcomes import Outcome, Refused, Usage
from .tagging import Sizes

if TYPE_CHECKING:
    from rich.table import Table

LENGTH_EDGES = (8, 16, 32, 64, 128, 256, 512, 1024)  # tokens; upper ends of the bins, and one bin above
REASON_SHOWN = 100  # characters of a refusal's reason


class Tally:
    """Counts of outcomes, added one by one."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()  # "kind: reason", of the records that are kept
        self.refused: Counter[str] = Counter()  # by reason
        self.usage = Usage()
        self.plans = _Plans()

    def add(self, outcome: Outcome) -> None:
        """Count an outcome."""
        self.usage += outcome.usage or Usage()
        if isinstance(outcome, Refused):
            self.refused[outcome.reason.split(";")[0][:REASON_SHOWN]] += 1
            return
        self.kinds[outcome.kind] += 1
        self.reasons[f"{outcome.kind}: {outcome.reason}"] += 1
        if outcome.sizes.spans:
            self.plans.add(outcome.sizes)

    def report(self, keep_plain: bool = True, price: tuple[float, float] | None = None) -> dict[str, Any]:
        """Return the numbers, ready for JSON; `price` is per million prompt and completion tokens."""
        read = self.kinds.total() + self.refused.total()
        return {
            "records": read,
            "written": self.kinds.total() - (0 if keep_plain else self.kinds["plain"]),
            "refused": dict(self.refused.most_common()),
            "kinds": dict(self.kinds.most_common()),
            "why": dict(self.reasons.most_common()),
            **self.plans.report(read),
            "endpoint": _endpoint(self.usage, price),
        }


class _Plans:
    """Counts of the records with plans: spans, rounds, tokens per span, and the tokens of their paths."""

    def __init__(self) -> None:
        self.spans: Counter[int] = Counter()  # spans of an answer -> answers
        self.widest: Counter[int] = Counter()  # spans of an answer's widest round -> answers
        self.rounds: Counter[int] = Counter()  # rounds of an answer -> answers
        self.lengths: Counter[int] = Counter()  # bin of a span's tokens -> spans
        self.tokens: Counter[str] = Counter()  # sums of "plan", "critical_path" and "sequential"

    def add(self, sizes: Sizes) -> None:
        """Count a plan."""
        rounds = sizes.spans
        self.spans[sum(map(len, rounds))] += 1
        self.widest[max(map(len, rounds))] += 1
        self.rounds[len(rounds)] += 1
        self.lengths.update(_bin(length) for lengths in rounds for length in lengths)
        self.tokens["plan"] += plan_tokens(sizes)
        self.tokens["critical_path"] += critical_path(sizes)
        self.tokens["sequential"] += sequential(sizes)

    def report(self, read: int) -> dict[str, Any]:
        """Return the numbers, with shares of all records read."""
        planned, critical_path = self.spans.total(), self.tokens["critical_path"]

        def share(counts: Counter[int]) -> float | None:
            return round(sum(n for spans, n in counts.items() if spans > 1) / read, 4) if read else None

        def mean(name: str) -> float | None:
            return round(self.tokens[name] / planned, 1) if planned else None

        return {
            "share_with_two_spans": share(self.spans),
            "share_with_parallel_spans": share(self.widest),
            "spans_per_answer": dict(sorted(self.spans.items())),
            "rounds_per_answer": dict(sorted(self.rounds.items())),
            "span_tokens": {_name(index): self.lengths[index] for index in range(len(LENGTH_EDGES) + 1)},
            "mean_plan_tokens": mean("plan"),
            "mean_critical_path": mean("critical_path"),
            "mean_sequential": mean("sequential"),
            "ideal_speed_up": round(self.tokens["sequential"] / critical_path, 2) if critical_path else None,
        }


def _endpoint(usage: Usage, price: tuple[float, float] | None) -> dict[str, float]:
    """Return the requests that an endpoint has answered and their tokens; the cost where the price is known."""
    tokens = (usage.prompt_tokens, usage.completion_tokens)
    used: dict[str, float] = {
        "requests": usage.requests,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
    }
    if price:
        used["cost"] = round(sum(count * each / 1e6 for count, each in zip(tokens, price, strict=True)), 4)
    return used


def _bin(length: int) -> int:
    """Return the index of the bin that a span's tokens fall into."""
    return next((index for index, edge in enumerate(LENGTH_EDGES) if length <= edge), len(LENGTH_EDGES))


def _name(index: int) -> str:
    """Return a bin's name, such as "9-16"."""
    if index == len(LENGTH_EDGES):
        return f"{LENGTH_EDGES[-1] + 1}+"
    return f"{LENGTH_EDGES[index - 1] + 1 if index else 1}-{LENGTH_EDGES[index]}"


def report_table(report: dict[str, Any]) -> "Table":
    """Return the report as a rich table."""
    from rich.table import Table

    result = Table(title="annotation", show_header=False)
    for name, value in _lines(report):
        result.add_row(name, value)
    return result


def _lines(report: dict[str, Any]) -> Iterable[tuple[str, str]]:
    """Yield the name and the value of each line of the table."""

    def listed(counts: dict[Any, int]) -> str:
        return ", ".join(f"{name}: {count}" for name, count in counts.items() if count) or "none"

    yield "records", f"{report['records']} read, {report['written']} written"
    yield "kinds", listed(report["kinds"])
    yield "refused", listed(report["refused"])
    if report["records"]:
        yield "two or more spans", f"{report['share_with_two_spans']:.1%}"
        yield "two or more side by side", f"{report['share_with_parallel_spans']:.1%}"
    yield "spans per answer", listed(report["spans_per_answer"])
    yield "rounds per answer", listed(report["rounds_per_answer"])
    yield "tokens per span", listed(report["span_tokens"])
    if report["ideal_speed_up"]:
        yield (
            "critical path, ideal",
            f"{report['mean_critical_path']} of {report['mean_sequential']} tokens ({report['ideal_speed_up']}x), "
            f"{report['mean_plan_tokens']} of them plan",
        )
    usage = report["endpoint"]
    if usage["requests"]:
        cost = f", {usage['cost']:.2f} at the price given" if "cost" in usage else ""
        yield (
            "endpoint",
            f"{usage['requests']} requests, {usage['prompt_tokens']} + {usage['completion_tokens']} tokens{cost}",
        )


def plot_report(report: dict[str, Any], path: Path) -> bool:
    """Draw spans per answer and tokens per span into a PNG file; return False where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for axes, name, label in zip(
        figure.subplots(1, 2), ("spans_per_answer", "span_tokens"), ("spans per answer", "tokens per span"), strict=True
    ):
        counts = report[name]
        axes.bar([str(value) for value in counts], list(counts.values()), color="0.4")
        axes.set(xlabel=label, ylabel="answers" if name == "spans_per_answer" else "spans")
        axes.tick_params(axis="x", labelrotation=45)
    figure.savefig(path, dpi=120, format="png")
    return True
