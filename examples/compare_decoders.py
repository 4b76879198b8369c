"""Answer the same question with every decoder, on the same weights.

One sees forwards, seconds and answers side by side. On this model the decoders with a plan are right and quick, those
without one need fewer forwards and get more facts wrong, and left-to-right decoding takes a forward per token.
"""

import time

from transformers import AutoTokenizer

from planned_diffusion import PlannedDiffusionForCausalLM
from planned_diffusion.generation.decoders.table import DECODERS
from planned_diffusion.loading.embedded import EMBEDDED

model = PlannedDiffusionForCausalLM.from_pretrained(EMBEDDED, dtype="auto")
tokenizer = AutoTokenizer.from_pretrained(EMBEDDED)
inputs = tokenizer("What are the capital and the currency of Peru?", return_tensors="pt")

for name in DECODERS:
    started = time.perf_counter()
    out = model.generate(**inputs, decoding=name, max_new_tokens=64, return_dict_in_generate=True)
    seconds = time.perf_counter() - started
    answer = tokenizer.decode(out.sequences[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    print(f"{name}: {out.trace[0].forwards} forwards, {seconds:.2f} s: {answer}")
