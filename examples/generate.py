"""Ask the included model a question, and see its answer, the plan behind it, and how many forwards it took.

One sees the answer as prose, the parts that were planned and written at the same time, and fewer forwards than tokens.
"""

from transformers import AutoTokenizer

from planned_diffusion import PlannedDiffusionForCausalLM
from planned_diffusion.loading.embedded import EMBEDDED  # the folder of the included model

model = PlannedDiffusionForCausalLM.from_pretrained(EMBEDDED, dtype="auto")
tokenizer = AutoTokenizer.from_pretrained(EMBEDDED)

chat = [{"role": "user", "content": "What are the capital, the currency and the main language of Kenya?"}]
inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
out = model.generate(**inputs, return_dict_in_generate=True)
sequence, prompt_length = out.sequences[0], inputs["input_ids"].shape[1]

print(tokenizer.decode(sequence[prompt_length:], skip_special_tokens=True))
for number, spans in enumerate(out.plans[0], start=1):
    for span in spans:
        text = tokenizer.decode(sequence[span.start : span.stop])
        print(f"  round {number}, {span.topic}, {span.length} tokens promised: {text}")
trace = out.trace[0]
print(f"{trace.forwards} forwards ({trace.planning} to plan, {trace.denoising} to denoise) for {trace.tokens} tokens")
