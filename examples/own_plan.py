"""Give the plan yourself: topics, and a length in tokens for each part.

One sees the model answer the parts that were asked for, in their order, whatever the question says.
"""

from transformers import AutoTokenizer

from planned_diffusion import PlannedDiffusionForCausalLM
from planned_diffusion.loading.embedded import EMBEDDED

model = PlannedDiffusionForCausalLM.from_pretrained(EMBEDDED, dtype="auto")
tokenizer = AutoTokenizer.from_pretrained(EMBEDDED)
inputs = tokenizer("What is the capital of Kenya?", return_tensors="pt")

for topics in (["capital"], ["currency", "capital"], ["language", "calling code", "currency"]):
    parts = [(topic, 24 if topic == "capital" else 16) for topic in topics]  # (topic, length in tokens)
    plan = [[parts]]  # per prompt, per round
    out = model.generate(**inputs, plan=plan, return_dict_in_generate=True)
    print(", ".join(topics))
    for span in out.plans[0][0]:
        print(f"  {span.topic}: {tokenizer.decode(out.sequences[0, span.start : span.stop])}")
    print(f"  {out.trace[0].planning} forwards to plan, {out.trace[0].denoising} to denoise")
