"""Add a decoder in 30 lines: it writes one token per forward, always the one that the model is surest of.

One sees the same answer as from "planned" in more forwards: what writing all parts at once saves.
"""

from transformers import AutoTokenizer

from planned_diffusion import PlannedDiffusionForCausalLM
from planned_diffusion.generation.decoders.canvas import Canvas, open_blanks
from planned_diffusion.generation.decoders.decoder import Decoder
from planned_diffusion.generation.decoders.planned import PLANNING_FIELDS, in_rounds
from planned_diffusion.generation.decoders.table import DECODERS
from planned_diffusion.generation.events import Decoding, PlacedSpan, SpanClosed
from planned_diffusion.generation.query import Drawn, Request
from planned_diffusion.generation.tokens import Allowed
from planned_diffusion.loading.embedded import EMBEDDED


def surest_first(request: Request) -> Decoding:
    """Answer one request: rounds, plans and commits are those of "planned", only the filling is new."""
    yield from in_rounds(request, fill=fill, is_dense=False)


def fill(canvas: Canvas, spans: tuple[PlacedSpan, ...], request: Request) -> Decoding:
    """Fill the spans of a round."""
    allowed = Allowed(only=False, ids=request.settings.suppress_in_spans)
    while blanks := [position for span in spans for position in open_blanks(canvas, span)]:
        # A query runs tokens whose states are stale and asks for the tokens of blanks; the reply has a row for each.
        reply = yield canvas.query(canvas.stale, blanks, allowed, "denoising")
        best = max(range(len(blanks)), key=reply.confidences.__getitem__)
        drawn = Drawn(reply.token_ids[best], reply.scores[best], reply.confidences[best])
        yield canvas.write({blanks[best]: drawn})
        for span in spans:  # its neighbours see the new token; for simplicity everything runs again
            canvas.stale.update(span.extent)
        yield from canvas.prose.new_text()
        if canvas.prose.stopped:
            return
    for span in spans:
        yield SpanClosed(canvas.round, span, tuple(canvas.ids[span.start : span.stop]))


DECODERS["surest_first"] = Decoder(
    run=surest_first,
    summary="planned parts, the surest token first, one per forward",
    source="this example",
    reads=PLANNING_FIELDS,
    plans=True,
)

model = PlannedDiffusionForCausalLM.from_pretrained(EMBEDDED, dtype="auto")
tokenizer = AutoTokenizer.from_pretrained(EMBEDDED)
inputs = tokenizer("Which currency and which capital does Kenya have?", return_tensors="pt")
for name in ("planned", "surest_first"):
    out = model.generate(**inputs, decoding=name, return_dict_in_generate=True)
    text = tokenizer.decode(out.sequences[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    print(f"{name}, {out.trace[0].forwards} forwards: {text}")
