"""Fill gaps in a text that is given.

One sees the known words stay as they are, and the gaps filled from both sides.
"""

from transformers import AutoTokenizer

from planned_diffusion import Blank, PlannedDiffusionForCausalLM
from planned_diffusion.loading.embedded import EMBEDDED

model = PlannedDiffusionForCausalLM.from_pretrained(EMBEDDED, dtype="auto")
tokenizer = AutoTokenizer.from_pretrained(EMBEDDED)
inputs = tokenizer("What are the capital and the currency of Kenya?", return_tensors="pt")

# In place of a length stands a list of pieces: text, and `Blank`s with room for so many tokens (or `exact`ly so many).
capital = ["The capital city of Kenya, as any atlas will show, is", Blank(4, exact=True), "."]
currency = [" The currency that people in Kenya use to pay is the", Blank(6)]
out = model.generate(**inputs, plan=[[[("capital", capital), ("currency", currency)]]], return_dict_in_generate=True)
for span in out.plans[0][0]:
    print(f"{span.topic}: {tokenizer.decode(out.sequences[0, span.start : span.stop])}")
