"""Draws quality against cost, with the frontiers, by matplotlib."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from .pareto import Point, undominated
from .stamp import stamp_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def figure_class() -> "type[Figure]":
    """Return matplotlib's Figure, which needs no display.

    Raises:
        RuntimeError: matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RuntimeError("A plot needs matplotlib; run pip install 'planned-diffusion[eval]'.") from error
    return Figure


def draw_plot(points: Sequence[Point], quality: str, environment: Mapping[str, Any], path: Path) -> None:
    """Draw quality against forwards and against seconds, with the stamp below. The suffix names the file's format.

    Args:
        quality: says what the points' quality is.
    """
    costs = {"forwards": "forwards per answer", "seconds_batched": "seconds per answer, in batches"}
    figure = figure_class()(figsize=(13, 7), layout="constrained")
    all_axes = figure.subplots(1, 2, sharey=True)
    for axes, (cost, label) in zip(all_axes, costs.items(), strict=True):
        _draw_points(axes, points, cost)
        _draw_frontier(axes, undominated(points, cost), cost)
        axes.set_xscale("log", subs=(2, 3, 5))
        for formatted in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
            formatted("{x:g}")
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
    all_axes[-1].legend(fontsize=8, loc="lower right")
    all_axes[0].set_ylabel(quality)
    figure.supxlabel(fill(stamp_text(environment), width=190), fontsize=6, color="0.4")
    figure.savefig(path, dpi=150)


def _draw_points(axes: "Axes", points: Sequence[Point], cost: str) -> None:
    """Draw the points with a colour and a marker per decoder."""
    for index, decoding in enumerate(dict.fromkeys(point.decoding for point in points)):
        own = [point for point in points if point.decoding == decoding]
        x, y = [getattr(point, cost) for point in own], [point.quality for point in own]
        axes.scatter(x, y, label=decoding.replace("_", " "), color=f"C{index}", marker="osD^vP*X"[index % 8])


def _draw_frontier(axes: "Axes", frontier: Sequence[Point], cost: str) -> None:
    """Draw a line through the points, number them, and list their names."""
    x, y = [getattr(point, cost) for point in frontier], [point.quality for point in frontier]
    axes.step(x, y, where="post", color="0.6", linewidth=1, zorder=0)
    for number, place in enumerate(zip(x, y, strict=True), start=1):
        axes.annotate(str(number), place, textcoords="offset points", xytext=(-9, 4), fontsize=8)
    names = [f"{number}  {point.system}" for number, point in enumerate(frontier, start=1)]
    listed = "\n".join(["nothing better at less cost:", *names])
    axes.text(0.3, 0.3, listed, transform=axes.transAxes, fontsize=7, va="top")
