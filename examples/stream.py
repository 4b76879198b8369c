"""Watch an answer being written.

One sees drafts, in which every part fills at the same time (a dot is a blank), and the final text in reading order, as
far as no blank is left before it.
"""

from transformers import AutoTokenizer
from transformers.generation.streamers import BaseStreamer

from planned_diffusion import PlannedDiffusionForCausalLM
from planned_diffusion.loading.embedded import EMBEDDED

model = PlannedDiffusionForCausalLM.from_pretrained(EMBEDDED, dtype="auto")
tokenizer = AutoTokenizer.from_pretrained(EMBEDDED)


class Watcher(BaseStreamer):
    """A streamer: `put` gets final tokens; `put_draft`, where a streamer has it, gets the parts as they stand."""

    def put(self, value):
        print("final:", repr(tokenizer.decode(value.flatten(), skip_special_tokens=True)))

    def put_draft(self, value):
        shown = [" ." if token == model.config.mask_token_id else tokenizer.decode(token) for token in value.tolist()]
        print("draft:", "".join(shown).replace("[PAD]", ""))

    def end(self):
        print("end")


prompt = tokenizer("Which currency and which capital does Kenya have?", return_tensors="pt")
model.generate(**prompt, streamer=Watcher(), confidence_threshold=None)
