"""The stage of the page: a component of Gradio that shows answers while they are written, drawn by the page's own code.

Its value is a view (desk.py). All texts reach the page by `textContent`, never as HTML.
"""

from pathlib import Path
from typing import Any

import gradio

ASSETS = Path(__file__).resolve().parent / "assets"
SCRIPTS = ("parts.js", "lane.js", "outline.js", "stage.js")  # each uses those before it
STYLE = ASSETS / "page.css"

from gradio.events import Dependency

class Stage(gradio.HTML):
    """Outline and parts of the latest answers.

    The event "fill" has an edited outline as its data: {"name": of the answer, "outline": rounds of parts}.
    """

    def __init__(self) -> None:
        super().__init__(
            html_template='<div class="pd-stage"></div>',
            js_on_load="\n".join((ASSETS / name).read_text(encoding="utf-8") for name in SCRIPTS),
            apply_default_css=False,
            elem_id="stage",
        )

    def postprocess(self, value: Any) -> Any:
        """Return a view as it is: the page's code reads it."""
        return value

    def api_info(self) -> dict[str, Any]:
        """Return the type of a view."""
        return {"type": "object"}
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block
    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component