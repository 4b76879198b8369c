"""The stage of the page: a component of Gradio that shows answers while they are written, drawn by the page's own code.

Its value is a view (desk.py). All texts reach the page by `textContent`, never as HTML.
"""

from pathlib import Path

import gradio

ASSETS = Path(__file__).resolve().parent / "assets"
SCRIPTS = ("parts.js", "lane.js", "outline.js", "stage.js")  # each uses those before it
STYLE = ASSETS / "page.css"


def make_stage() -> gradio.HTML:
    """Return a stage.

    Its event "fill" has an edited outline as its data: {"name": of the answer, "outline": rounds of parts}.
    """
    return gradio.HTML(
        html_template='<div class="pd-stage"></div>',
        js_on_load="\n".join((ASSETS / name).read_text(encoding="utf-8") for name in SCRIPTS),
        apply_default_css=False,
        elem_id="stage",
    )
