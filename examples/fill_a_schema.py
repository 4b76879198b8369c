"""Answer with an object that fits a JSON schema.

One sees the frame of the form, the values that were written at once, and how few forwards they took.
"""

import json

from planned_diffusion.inference.answer import open_checkpoint
from planned_diffusion.inference.form import form_of
from planned_diffusion.loading.embedded import EMBEDDED

SCHEMA = {
    "type": "object",
    "properties": {
        "capital": {"type": "string", "maxLength": 60},
        "large": {"type": "boolean"},
        "side": {"enum": ["left", "right"]},
        "people": {"type": "integer"},
    },
}

checkpoint = open_checkpoint(str(EMBEDDED), device="cpu")
form = form_of(checkpoint, SCHEMA)
frame = [checkpoint.tokenizer.decode(piece) if isinstance(piece, list) else "___" for piece in form.pieces]
print("frame:", "".join(frame))

request = checkpoint.request("What is the capital of Kenya?", {}, plan=[[["capital", form.pieces]]])
[(ended, trace)] = checkpoint.model.run_requests([request])
print("object:", json.dumps(form.value(ended)))
print(f"{trace.forwards} forwards for {len(form.gaps)} values")
