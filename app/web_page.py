"""The page: a question, knobs, and a stage on which outline and parts appear; a second tab fills in forms.

It has no queue of its own: the engine has one, and every view says who waits.
"""

import json
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio

from ..facts.countries import load_countries
from ..loading.embedded import EMBEDDED
from .desk import Desk
from .handlers import Handlers
from .knobs import KNOBS, KnobFields
from .panels import make_fold, make_tabs
from .stage import make_stage

TITLE = "Planned diffusion"
SUBTITLE = "An outline first. Then all its parts come into focus at once."
MOST_QUESTION = 4000  # characters that the box takes
OWN_PACE = 8  # forwards per second that the page shows, unless told otherwise
FASTEST_PACE = 60
LEAST_TOKENS, DEFAULT_TOKENS = 16, 320
SEE_NOTHING: dict[str, Any] = {"concurrency_limit": None, "show_progress": "hidden", "api_visibility": "private"}


@dataclass(frozen=True)
class Proposals:
    """Questions and a schema that a page proposes, and a note on its model."""

    questions: tuple[str, ...]
    form_question: str
    schema: dict[str, Any]
    note: str = ""


def proposals_for(source: str) -> Proposals:
    """Return what the page of a checkpoint proposes; the included model answers about countries alone."""
    if source == str(EMBEDDED):
        properties = {
            "capital": {"type": "string"},
            "currency": {"type": "string"},
            "continent": {"enum": ["Africa", "Asia", "Europe", "North America", "South America", "Oceania"]},
        }
        return Proposals(
            (
                "What are the capital, currency and language of Kenya?",
                "Which currency and which capital does Peru have?",
                "Tell me the continent and the capital of Japan.",
            ),
            "Tell me about Kenya.",
            {"type": "object", "properties": properties},
            f"The included model knows {len(load_countries())} countries and nothing else.",
        )
    properties = {"title": {"type": "string"}, "steps": {"type": "array", "maxItems": 3, "items": {"type": "string"}}}
    return Proposals(
        (
            "Describe giraffes: diet, habitat and appearance.",
            "Give me three tips for better sleep.",
            "What are the pros and cons of electric cars?",
        ),
        "How do I make tea?",
        {"type": "object", "properties": properties},
    )


def build_page(desk: Desk) -> gradio.Blocks:
    """Return the page of a desk."""
    knobs = KnobFields(desk.model.checkpoint)
    proposed = proposals_for(desk.model.checkpoint.source)
    with gradio.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as page:
        with gradio.Column(elem_id="head"):
            gradio.Markdown(f"# {TITLE}\n{SUBTITLE}", elem_id="title")
            gradio.Markdown(f"`{desk.model.name}` {proposed.note}", elem_id="model")
        make_tabs()
        with gradio.Column(elem_id="answer-panel"):
            question = _question(proposed.questions[0], "question")
            with gradio.Row(elem_classes="pd-actions"):
                ask = gradio.Button("Ask", variant="primary", elem_id="ask", scale=0)
                stop = gradio.Button("Stop", elem_id="stop", scale=0)
                race = gradio.Checkbox(label="Race it against left to right", elem_id="race", container=False)
            gradio.Examples([[one] for one in proposed.questions], [question], label="Examples", elem_id="examples")
        with gradio.Column(elem_id="form-panel"):
            asked = _question(proposed.form_question, "form-question")
            schema = gradio.Textbox(
                json.dumps(proposed.schema, indent=2), label="JSON schema", lines=6, max_lines=16, elem_id="schema"
            )
            fill = gradio.Button("Fill in", variant="primary", elem_id="fill-form", scale=0)
        make_fold()
        with gradio.Column(elem_id="knob-panel"):
            turned = _knobs(knobs, desk.service.limits.answer_tokens)
        stage = make_stage()
        do = Handlers(desk, knobs)
        running = [
            gradio.on(
                [ask.click, question.submit], do.ask, [question, race, *turned], [stage],
                trigger_mode="once", **SEE_NOTHING,
            ),
            fill.click(do.fill_form, [asked, schema, *turned], [stage], trigger_mode="once", **SEE_NOTHING),
            stage.fill(do.fill_outline, turned, [stage], trigger_mode="once", **SEE_NOTHING),
        ]  # fmt: skip
        stop.click(None, cancels=running, js="() => document.dispatchEvent(new Event('pd-stop'))")
        turned[0].change(
            partial(_turnable, knobs), turned[:1], turned[1 : 1 + len(KNOBS)], queue=False, api_visibility="private"
        )
    return page


def _question(text: str, name: str) -> gradio.Textbox:
    return gradio.Textbox(
        text, label="Question", lines=1, max_lines=8, max_length=MOST_QUESTION, show_label=False, elem_id=name
    )


def _knobs(knobs: KnobFields, most_tokens: int) -> list[gradio.Dropdown | gradio.Slider]:
    """Return the components of the decoder, of KNOBS, of the most tokens and of the pace, in this order."""
    decoding = gradio.Dropdown(knobs.decoders, value=knobs.decoding, label="Decoder", elem_id="decoder")
    with gradio.Row():
        sliders = [
            gradio.Slider(
                knob.least, knob.most, knobs.start(knob), step=knob.step, label=knob.label, info=knob.info,
                interactive=knobs.turns(knob, knobs.decoding), elem_id=f"knob-{knob.field}", min_width=220,
            )
            for knob in KNOBS
        ]  # fmt: skip
    with gradio.Row():
        tokens = gradio.Slider(
            LEAST_TOKENS, most_tokens, min(DEFAULT_TOKENS, most_tokens), step=1, label="Most tokens",
            info="of the answer, its plan included", elem_id="most-tokens", min_width=220,
        )  # fmt: skip
        pace = gradio.Slider(
            0, FASTEST_PACE, OWN_PACE, step=1, label="Pace", elem_id="pace", min_width=220,
            info="forwards per second that the page shows, at most; 0: as fast as the model",
        )  # fmt: skip
    return [decoding, *sliders, tokens, pace]


def _turnable(knobs: KnobFields, decoding: str) -> list[Any]:
    """Return, for every knob, whether the decoder reads it."""
    return [gradio.update(interactive=decoding in knobs.decoders and knobs.turns(knob, decoding)) for knob in KNOBS]
