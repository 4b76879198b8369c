"""What the model answers while it learns: a few held-out prompts at every evaluation, on paper and as two numbers.

`samples.jsonl` in the output folder gets a line per prompt: step, prompt, text, the plan with promised and used tokens,
and whether the plan was well formed without the grammar's help. The log gets `eval_well_formed` (share of free plans
that the grammar accepts) and `eval_room_used` (tokens written per token promised).
"""

import json
from pathlib import Path

import torch
from transformers import TrainerCallback

from ..generation.plan import PlanError, Unit, parse_round
from ..generation.tokens import ControlTokens

NEW_TOKENS = 512
FREE_PLAN_TOKENS = 96


class SampleAnswers(TrainerCallback):
    """Answers the prompts of `examples` (training.examples.Example) after every evaluation of `trainer`.

    All processes generate, because weights may be sharded over them; the first one writes.
    """

    def __init__(self, trainer, examples, tokenizer):
        self.trainer, self.tokenizer = trainer, tokenizer
        self.prompts = [example.ids[: example.prompt_length].tolist() for example in examples]
        self.path = Path(trainer.args.output_dir) / "samples.jsonl"

    def on_evaluate(self, args, state, control, **kwargs):
        model = self.trainer.model
        was_training = model.training
        model.eval()
        with torch.no_grad(), self.trainer.compute_loss_context_manager():
            samples = [self._sample(model, prompt, state.global_step) for prompt in self.prompts]
        model.train(was_training)
        parts = [part for sample in samples for parts in sample["plan"] for part in parts]
        figures = {"eval_well_formed": sum(sample["well_formed"] for sample in samples) / len(samples)}
        if parts:
            figures["eval_room_used"] = sum(part["used"] for part in parts) / sum(part["promised"] for part in parts)
        if state.is_world_process_zero:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(sample, ensure_ascii=False) + "\n" for sample in samples)
        self.trainer.log(figures)

    def _sample(self, model, prompt: list[int], step: int) -> dict:
        positions = model.config.get_text_config().max_position_embeddings
        out = model.generate(
            input_ids=torch.tensor([prompt], device=model.device),
            tokenizer=self.tokenizer,
            do_sample=False,
            decoding="planned",
            max_new_tokens=min(NEW_TOKENS, positions - len(prompt)),
            return_dict_in_generate=True,
        )
        plan = [
            [{"topic": part.topic, "promised": part.length, "used": part.stop - part.start} for part in parts]
            for parts in out.plans[0]
        ]
        return {
            "step": step,
            "prompt": self.tokenizer.decode(prompt, skip_special_tokens=True),
            "text": self.tokenizer.decode(out.sequences[0, len(prompt) :], skip_special_tokens=True),
            "plan": plan,
            "well_formed": is_well_formed(free_plan(model, prompt), model.config),
        }


def free_plan(model, prompt: list[int]) -> list[int]:
    """The first plan as the model writes it by itself: greedily, any token allowed, up to `<sync/>` or EOS."""
    ends = {model.config.sync_token_id, *ControlTokens.from_config(model.config).eos}
    ids, plan, cache = torch.tensor([prompt], device=model.device), [], None
    while len(plan) < FREE_PLAN_TOKENS and not ends.intersection(plan[-1:]):
        out = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache, ids = out.past_key_values, out.logits[:, -1:].argmax(-1)  # [1, 1]
        plan.append(ids.item())
    return plan


def is_well_formed(plan: list[int], config) -> bool:
    """Whether the grammar accepts a plan with its terminator."""
    try:
        parse_round(plan, ControlTokens.from_config(config), Unit(config.tokens_per_length_unit))
    except PlanError:
        return False
    return True
