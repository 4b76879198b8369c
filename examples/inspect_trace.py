"""Look into an answer: which token was written at which step, and how sure the model was.

One sees, per step, the tokens that it wrote and their confidences, in both rounds of an answer: two facts, then the
comparison that reads them.
"""

from transformers import AutoTokenizer

from planned_diffusion import PlannedDiffusionForCausalLM
from planned_diffusion.loading.embedded import EMBEDDED

model = PlannedDiffusionForCausalLM.from_pretrained(EMBEDDED, dtype="auto")
tokenizer = AutoTokenizer.from_pretrained(EMBEDDED)
inputs = tokenizer("Do Kenya and Uganda drive on the same side of the road?", return_tensors="pt")
out = model.generate(
    **inputs, unmasking="confidence", confidence_threshold=0.9999, output_trace=True, return_dict_in_generate=True
)

trace = out.trace[0]
for number, step in enumerate(trace.steps, start=1):
    print(f"round {step.round + 1}, step {number}")
    for position, token, score in zip(step.positions, step.token_ids, step.scores, strict=True):
        print(f"  position {position}: {tokenizer.decode(token)!r}, confidence {score:.4f}")
print(f"{trace.forwards} forwards = {trace.planning} planning + {trace.denoising} denoising; {trace.commits} commits")
print(f"{trace.tokens} tokens of text; {trace.tokens_run} tokens went through the model")
