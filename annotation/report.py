"""What came out of an annotation: counts, spans and lengths, and the ideal critical path; as a table, JSON and a plot.

Definitions. Share kept: records written as plans with at least two spans, of all records read. Critical path: per
round the plan's tokens and its terminator (`<sync/>` or EOS) and the longest span, one forward per token, as if every
other span were free; sequential: the tokens of all spans and EOS. Both over the records with plans.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

LENGTH_EDGES = (8, 16, 32, 64, 128, 256, 512, 1024)  # tokens; upper ends of the bins, and one bin above


class Tally:
    """Counts entries of the journal one by one."""

    def __init__(self):
        self.kinds, self.reasons, self.refused = Counter(), Counter(), Counter()
        self.spans, self.widest, self.rounds, self.lengths = Counter(), Counter(), Counter(), Counter()
        self.plan = self.critical = self.sequential = self.prompt_tokens = self.completion_tokens = self.asked = 0

    def add(self, entry: dict) -> None:
        for name, value in zip(("prompt_tokens", "completion_tokens", "asked"), entry.get("usage", ()), strict=False):
            setattr(self, name, getattr(self, name) + value)
        if "refused" in entry:
            self.refused[entry["refused"]["reason"].split(";")[0][:100]] += 1
            return
        self.kinds[entry["kind"]] += 1
        self.reasons[f"{entry['kind']}: {entry['reason']}"] += 1
        rounds, plan = entry["spans"], entry["plan"]
        if not rounds:
            return
        self.spans[sum(map(len, rounds))] += 1
        self.widest[max(map(len, rounds))] += 1
        self.rounds[len(rounds)] += 1
        self.lengths.update(_bin(length) for lengths in rounds for length in lengths)
        self.plan += sum(plan) + len(rounds)
        self.critical += sum(plan) + len(rounds) + sum(map(max, rounds))
        self.sequential += sum(map(sum, rounds)) + 1

    def report(self, keep_plain: bool = True, price: tuple[float, float] | None = None) -> dict:
        """The numbers, ready for JSON; `price` is that of a million prompt and completion tokens."""
        read = sum(self.kinds.values()) + sum(self.refused.values())
        planned, two = sum(self.spans.values()), sum(n for spans, n in self.spans.items() if spans > 1)
        side_by_side = sum(n for spans, n in self.widest.items() if spans > 1)
        mean = {name: round(value / planned, 1) if planned else None for name, value in self._sums().items()}
        return {
            "records": read,
            "written": sum(n for kind, n in self.kinds.items() if keep_plain or kind != "plain"),
            "refused": dict(self.refused.most_common()),
            "kinds": dict(self.kinds.most_common()),
            "why": dict(self.reasons.most_common()),
            "share_with_two_spans": round(two / read, 4) if read else None,
            "share_with_parallel_spans": round(side_by_side / read, 4) if read else None,
            "spans_per_answer": dict(sorted(self.spans.items())),
            "rounds_per_answer": dict(sorted(self.rounds.items())),
            "span_tokens": {_name(index): self.lengths[index] for index in range(len(LENGTH_EDGES) + 1)},
            "mean_plan_tokens": mean["plan"],
            "mean_critical_path": mean["critical"],
            "mean_sequential": mean["sequential"],
            "ideal_speed_up": round(self.sequential / self.critical, 2) if self.critical else None,
            "endpoint": self._endpoint(price),
        }

    def _endpoint(self, price: tuple[float, float] | None) -> dict:
        """Requests answered by an endpoint and its tokens; their cost where the price is known."""
        tokens = (self.prompt_tokens, self.completion_tokens)
        used = {"requests": self.asked, "prompt_tokens": tokens[0], "completion_tokens": tokens[1]}
        if price:
            used["cost"] = round(sum(count * each / 1e6 for count, each in zip(tokens, price, strict=True)), 4)
        return used

    def _sums(self) -> dict[str, int]:
        return {"plan": self.plan, "critical": self.critical, "sequential": self.sequential}


def _bin(length: int) -> int:
    return next((index for index, edge in enumerate(LENGTH_EDGES) if length <= edge), len(LENGTH_EDGES))


def _name(index: int) -> str:
    if index == len(LENGTH_EDGES):
        return f"{LENGTH_EDGES[-1] + 1}+"
    return f"{LENGTH_EDGES[index - 1] + 1 if index else 1}-{LENGTH_EDGES[index]}"


def table(report: dict):
    """The report as a rich table."""
    from rich.table import Table

    result = Table(title="annotation", show_header=False)
    for name, value in _lines(report):
        result.add_row(name, value)
    return result


def _lines(report: dict) -> Iterable[tuple[str, str]]:
    def listed(counts: dict) -> str:
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


def plot(report: dict, path: Path) -> bool:
    """Draws spans per answer and tokens per span into a PNG file; False where matplotlib is not installed."""
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
