"""Make a replay: one HTML file that shows how an answer was written, forward by forward, without any network.

Everything that a model or a user wrote goes in as JSON and is set as text by the script; a content security policy
allows this script and this style by their hashes, and nothing else.
"""

import base64
import hashlib
import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..shown_text import shown
from .page_data import page_run
from .trace_reading import RecordedRun, recorded_run

HERE = Path(__file__).parent
BOLD = HERE / "bold.js"
SCRIPTS = ("replay_run.js", BOLD.name, "replay_timeline.js", "replay_controls.js")  # in this order
HARMLESS = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}  # in JSON strings; so no tag can stand in the data

Traced = Mapping[str, Any] | RecordedRun


def replay_page(trace: Traced, beside: Traced | None = None, *, title: str = "") -> str:
    """Return a replay of an answer as the text of an HTML file that needs nothing else.

    Args:
        trace: the content of a trace file (`Recording.document`), or a run that `read_trace` has read.
        beside: of the same prompt left to right, or by another decoder: shown beside it in step.
        title: of the page; the prompt, if there is none.

    Raises:
        ValueError: no trace, or one of another version.
    """
    runs = [page_run(_run(one)) for one in (trace, beside) if one is not None]
    data = json.dumps({"title": shown(title), "runs": runs}, ensure_ascii=False, separators=(",", ":"))
    style = _file("replay.css")
    script = "\n".join(map(_file, SCRIPTS))
    parts = {
        "policy": f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "base-uri 'none'; form-action 'none'",
        "title": html.escape(shown(title) or runs[0]["prompt"] or "replay"),
        "answer": html.escape(runs[0]["text"]),
        "style": style,
        "script": script,
        "data": data.translate(str.maketrans(HARMLESS)),
    }
    page = _file("replay.html")
    pieces = page.split("@@")  # text, name, text, name, ..., text
    return "".join(parts[piece] if index % 2 else piece for index, piece in enumerate(pieces))


def _run(trace: Traced) -> RecordedRun:
    return trace if isinstance(trace, RecordedRun) else recorded_run(trace)


def _file(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
