"""One picture of a run: a step against its tokens and against its context, and tokens per second against batch."""

from pathlib import Path

STEP = {"engine": ("ms", "C0", "-"), "idealised": ("ideal ms", "C1", "--"), "roofline": ("limit ms", "C2", ":")}
# Case -> its sizes, the measured quantity, and per line of the legend: column, colour, style.
PANELS = {
    "tokens": ("tokens", "ms per denoising step", STEP),
    "planning-context": ("context", "ms per planning step", STEP),
    "denoising-context": ("context", "ms per denoising step of 130 tokens", STEP),
    "batch": ("batch", "tokens/s", {
        "planned": ("planned tokens/s", "C0", "-"),
        "planned, roofline": ("limit: planned tokens/s", "C0", ":"),
        "left to right": ("autoregressive tokens/s", "C1", "-"),
        "left to right, roofline": ("limit: autoregressive tokens/s", "C1", ":"),
    }),
}  # fmt: skip


def draw(cases: dict, path: Path, title: str) -> bool:
    """Draws what the cases hold into a PNG file; False where they hold no curve, or matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("No picture: it needs matplotlib; run pip install 'planned-diffusion[eval]'.")
        return False
    held = [name for name in PANELS if len(cases.get(name, {}).get("rows", [])) > 1]
    if not held:
        return False
    columns = min(2, len(held))
    figure = Figure(figsize=(5.2 * columns, 3.9 * -(-len(held) // columns)), layout="constrained")
    figure.suptitle(title)
    for index, name in enumerate(held):
        _panel(figure.add_subplot(-(-len(held) // columns), columns, index + 1), cases, name)
    figure.savefig(path, dpi=110)
    return True


def _panel(axes, cases: dict, name: str) -> None:
    sizes, label, lines = PANELS[name]
    axes.set(xlabel=sizes, ylabel=label, yscale="log")
    axes.set_xscale("log", base=2)
    for legend, (column, colour, style) in lines.items():
        measured = points(cases, name, column)
        if measured:
            axes.plot(*zip(*measured, strict=True), style, color=colour, marker=".", label=legend)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)


def points(cases: dict, name: str, column: str) -> list[tuple[float, float]]:
    """(size, value) of the rows that have both."""
    sizes = PANELS[name][0]
    return [(row[sizes], row[column]) for row in cases[name]["rows"] if sizes in row and column in row]
