"""The stage of the page: a component of Gradio that shows answers while they are written, drawn by the page's own code.

Its value is a view (desk.py). All texts reach the page by `textContent`, never as HTML.
"""

from pathlib import Path

import gradio

from ..inference.replay.page import BOLD

ASSETS = Path(__file__).resolve().parent / "assets"
OWN_SCRIPTS = ("parts.js", "lane.js", "outline.js", "stage.js")  # each uses those before it
SCRIPTS = (BOLD, *(ASSETS / name for name in OWN_SCRIPTS))
STYLE = ASSETS / "page.css"


def stage_script() -> str:
    """Return the code that draws the stage; Gradio gives it `element`, `props`, `watch` and `trigger`."""
    return "\n".join(script.read_text(encoding="utf-8") for script in SCRIPTS)


def make_stage() -> gradio.HTML:
    """Return a stage.

    Its event "fill" has an edited outline as its data: {"name": of the answer, "outline": rounds of parts}.
    """
    return gradio.HTML(
        html_template='<div class="pd-stage"></div>',
        js_on_load=stage_script(),
        apply_default_css=False,
        elem_id="stage",
    )
