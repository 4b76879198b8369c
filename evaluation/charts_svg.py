"""Draw charts as SVG that a page holds in itself; colours come from the page's style, for light and dark.

Points and lines are numbered, so that no one has to tell colours apart; the page lists the names.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape

from .report_document import Chart, Spot

WIDTH, HEIGHT = 640, 360  # units of the picture
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 12, 44  # margins for the axes' texts
TICKS = 5
COLOURS = 8  # classes c0, c1, ... of the page's style
LEAST_RANGE = 1e-9

Scale = Callable[[float], float]


def draw_chart(chart: Chart) -> str:
    """Return a chart as an SVG element; numbers that are not finite are left out."""
    marks = _lines(chart) if chart.lines else _spots(chart)
    values = _values(chart)
    if not values:
        return ""
    across, up = ([pair[axis] for pair in values] for axis in (0, 1))
    x, y = _scale(across, LEFT, WIDTH - RIGHT), _scale(up, HEIGHT - BOTTOM, TOP)
    drawn = [*_axes(across, up, x, y), *marks(x, y), *_labels(chart)]
    title = escape(chart.title)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}"><title>{title}</title>'
        f"{''.join(drawn)}</svg>"
    )


def ticks(low: float, high: float) -> list[float]:
    """Return round numbers between two, about TICKS of them."""
    step = 10.0 ** math.floor(math.log10((high - low) / TICKS))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= TICKS)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _is_finite(spot: Spot) -> bool:
    return all(map(math.isfinite, (*spot.x, *spot.y)))


def _values(chart: Chart) -> list[tuple[float, float]]:
    """Return the points that have to be inside, ends of intervals included."""
    if chart.lines:
        return [pair for line in chart.lines.values() for pair in line if all(map(math.isfinite, pair))]
    return [pair for spot in chart.spots if _is_finite(spot) for pair in zip(spot.x, spot.y, strict=True)]


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of an axis, with some room on either side."""
    low, high = min(values), max(values)
    room = max(0.06 * (high - low), LEAST_RANGE + 0.02 * abs(high)) if high > low else max(abs(high), 1.0) * 0.1
    return low - room, high + room


def _scale(values: Sequence[float], start: float, stop: float) -> Scale:
    """Return the function from a value to its place in the picture."""
    low, high = _bounds(values)
    return lambda value: start + (value - low) / (high - low) * (stop - start)


def _axes(across: Sequence[float], up: Sequence[float], x: Scale, y: Scale) -> Iterator[str]:
    """Yield grid lines with their numbers."""
    bottom, end = HEIGHT - BOTTOM, WIDTH - RIGHT
    for value in ticks(*_bounds(across)):
        yield f'<path class="grid" d="M{x(value):.1f} {TOP}V{bottom}"/>'
        yield f'<text x="{x(value):.1f}" y="{bottom + 16}" text-anchor="middle">{value:.4g}</text>'
    for value in ticks(*_bounds(up)):
        yield f'<path class="grid" d="M{LEFT} {y(value):.1f}H{end}"/>'
        yield f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.4g}</text>'


def _labels(chart: Chart) -> Iterator[str]:
    """Yield the names of the axes."""
    middle = (TOP + HEIGHT - BOTTOM) / 2
    yield f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(chart.x)}</text>'
    turned = f'transform="rotate(-90 14 {middle})"'
    yield f'<text x="14" y="{middle}" {turned} text-anchor="middle">{escape(chart.y)}</text>'


def _spots(chart: Chart) -> Callable[[Scale, Scale], Iterator[str]]:
    """Return what draws numbered points with their intervals."""

    def draw(x: Scale, y: Scale) -> Iterator[str]:
        for number, spot in enumerate(chart.spots):
            if not _is_finite(spot):
                continue
            (middle, left, right), (height, low, high) = spot.x, spot.y
            colour, place = f"c{number % COLOURS}", f"{x(middle):.1f}"
            yield f'<path class="bar {colour}" d="M{x(left):.1f} {y(height):.1f}H{x(right):.1f}"/>'
            yield f'<path class="bar {colour}" d="M{place} {y(low):.1f}V{y(high):.1f}"/>'
            yield f'<circle class="dot {colour}" cx="{place}" cy="{y(height):.1f}" r="4.5"/>'
            yield f'<text class="mark" x="{x(middle) + 7:.1f}" y="{y(height) - 6:.1f}">{number + 1}</text>'

    return draw


def _lines(chart: Chart) -> Callable[[Scale, Scale], Iterator[str]]:
    """Return what draws numbered lines."""

    def draw(x: Scale, y: Scale) -> Iterator[str]:
        for number, line in enumerate((chart.lines or {}).values()):
            places = [(x(a), y(b)) for a, b in line if math.isfinite(a) and math.isfinite(b)]
            if places:
                path = "L".join(f"{a:.1f} {b:.1f}" for a, b in places)
                yield f'<path class="line c{number % COLOURS}" d="M{path}"/>'
                yield f'<text class="mark" x="{places[-1][0] + 4:.1f}" y="{places[-1][1] - 4:.1f}">{number + 1}</text>'

    return draw
