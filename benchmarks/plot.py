"""One picture of a run: a step against its tokens, against its context, and tokens per second against batch."""

from pathlib import Path

PANELS = {
    "tokens": ("tokens", "ms per denoising step", {"ms": "engine", "ideal ms": "idealised", "limit ms": "roofline"}),
    "planning-context": ("context", "ms per planning step",
                         {"ms": "engine", "ideal ms": "idealised", "limit ms": "roofline"}),
    "denoising-context": ("context", "ms per denoising step of 130",
                          {"ms": "engine", "ideal ms": "idealised", "limit ms": "roofline"}),
    "batch": ("batch", "tokens/s",
              {"planned tokens/s": "planned", "autoregressive tokens/s": "left to right",
               "limit: planned tokens/s": "planned, roofline",
               "limit: autoregressive tokens/s": "left to right, roofline"}),
}  # fmt: skip


def draw(cases: dict, path: Path, title: str) -> bool:
    """Draws what the cases hold into a PNG file; False where they hold no curve, or matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("No picture: it needs matplotlib; run pip install 'planned-diffusion[eval]'.")
        return False
    held = [name for name in PANELS if len(points(cases, name, "ms")) > 1]
    if not held:
        return False
    figure = Figure(figsize=(4.6 * len(held), 3.8), layout="constrained")
    figure.suptitle(title)
    for axes, name in zip(figure.subplots(1, len(held), squeeze=False)[0], held, strict=True):
        x, label, columns = PANELS[name]
        for column, legend in columns.items():
            style = ":" if column.startswith("limit") else "--" if column.startswith("ideal") else "-"
            measured = points(cases, name, column)
            axes.plot(*zip(*measured, strict=True), style, marker=".", label=legend) if measured else None
        axes.set(xlabel=x, ylabel=label, xscale="log", yscale="log")
        axes.legend()
    figure.savefig(path, dpi=120)
    return True


def points(cases: dict, name: str, column: str) -> list[tuple[float, float]]:
    """(size, value) of the rows that have both."""
    x = PANELS[name][0]
    rows = cases.get(name, {}).get("rows", [])
    return [(row[x], row[column]) for row in rows if x in row and column in row]
