"""Draws a study: quality against forwards and against seconds, a point with its intervals per system."""

from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from .bootstrap import Estimate
from .frontier_plot import figure_class
from .stamp import stamp_text
from .study_findings import StudyResult, StudyRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

QUALITY = "facts right"
MARKERS = "osD^vP*Xd<>"


def draw_study(result: StudyResult, path: Path) -> None:
    """Write the picture of a study. The suffix names the file's format.

    Raises:
        RuntimeError: matplotlib is missing.
    """
    figure = figure_class()(figsize=(13, 6), layout="constrained")
    all_axes = figure.subplots(1, 2, sharey=True)
    for axes, cost in zip(all_axes, ("forwards", "seconds"), strict=True):
        for index, row in enumerate(result.rows):
            _draw_point(axes, row, cost, index)
        axes.set_xscale("log", subs=(2, 3, 5))
        for formatted in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
            formatted("{x:g}")
        axes.set_xlabel(f"{cost} per answer")
        axes.grid(alpha=0.3)
    all_axes[0].set_ylabel(QUALITY)
    figure.legend(*all_axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=7)
    figure.suptitle(result.question, fontsize=10)
    figure.supxlabel(fill(stamp_text(result.stamp), width=190), fontsize=6, color="0.4")
    figure.savefig(path, dpi=100)


def _draw_point(axes: "Axes", row: StudyRow, cost: str, index: int) -> None:
    x, y = row.figures[cost], row.figures[QUALITY]
    if x is not None and y is not None:
        marker = MARKERS[index // 10 % len(MARKERS)]
        axes.errorbar(x.value, y.value, xerr=_reach(x), yerr=_reach(y), fmt=marker, color=f"C{index % 10}",
                      elinewidth=1, capsize=2, label=row.system)  # fmt: skip


def _reach(one: Estimate) -> list[list[float]]:
    """Return how far an interval reaches below and above its value, as matplotlib takes it."""
    return [[max(0.0, one.value - one.low)], [max(0.0, one.high - one.value)]]
