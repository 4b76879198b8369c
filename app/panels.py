"""The page's tabs and its fold: bars that name panels, of which the style shows those that are open.

All panels are in the page from the start. Gradio's own tabs and accordions lay theirs out when they are first opened,
and a moment later put their first values over what was typed meanwhile.
"""

from pathlib import Path

import gradio

SCRIPT = Path(__file__).resolve().parent / "assets" / "panels.js"
TABS = """<div role="tablist" aria-label="What to ask for">
<button type="button" role="tab" aria-selected="true" aria-controls="answer-panel">Answer</button>
<button type="button" role="tab" aria-selected="false" aria-controls="form-panel" tabindex="-1">Form</button>
</div>"""
FOLD = """<button type="button" aria-expanded="false" aria-controls="knob-panel">Decoding</button>"""


def make_tabs() -> gradio.HTML:
    """Return the bar that shows one of the columns "answer-panel" and "form-panel"."""
    return _bar(TABS, "tabs")


def make_fold() -> gradio.HTML:
    """Return the bar that folds and unfolds the column "knob-panel"."""
    return _bar(FOLD, "knobs")


def _bar(template: str, name: str) -> gradio.HTML:
    return gradio.HTML(
        html_template=template,
        js_on_load=SCRIPT.read_text(encoding="utf-8"),
        apply_default_css=False,
        elem_id=name,
    )
