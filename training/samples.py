"""Answer a few held-out prompts at every evaluation; write the answers to a file and two figures to the log.

`samples.jsonl` in the output folder gets a line per prompt: step, prompt, text, the plan with promised and used tokens,
and whether the plan was well formed without the grammar's help. The log gets `eval_well_formed` (share of free plans
that the grammar accepts) and `eval_room_used` (tokens written per token promised; 0 without a plan).
Either may be `metric_for_best_model`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from transformers import (
    DynamicCache,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from ..configuration_planned_diffusion import PlannedDiffusionConfig
from ..generation.plan import PlanError, Unit, parse_round
from ..generation.sequences import PlannedDiffusionOutput
from ..generation.tokens import ControlTokens
from ..modeling_planned_diffusion import PlannedDiffusionForCausalLM
from .examples import Example
from .trainer import PlannedDiffusionTrainer

DECODING = "planned"  # both figures are about plans, whatever decoder the checkpoint prefers
FIGURES = ("well_formed", "room_used")
NEW_TOKENS = 512
FREE_PLAN_TOKENS = 96


class SampleAnswers(TrainerCallback):
    """A callback that answers the prompts of `examples` after every evaluation of `trainer`.

    All processes generate, because weights may be sharded over them; the first one writes.
    """

    def __init__(
        self, trainer: PlannedDiffusionTrainer, examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase
    ) -> None:
        self.trainer, self.tokenizer = trainer, tokenizer
        self.prompts = [example.ids[: example.prompt_length].tolist() for example in examples]
        self.path = Path(str(trainer.args.output_dir)) / "samples.jsonl"

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        model = cast(PlannedDiffusionForCausalLM, self.trainer.model)  # or with adapters, which generate alike
        was_training = model.training
        model.eval()
        with torch.no_grad(), self.trainer.compute_loss_context_manager():
            samples = [self._sample(model, prompt, state.global_step) for prompt in self.prompts]
        model.train(was_training)
        parts = [part for sample in samples for parts in sample["plan"] for part in parts]
        promised = sum(part["promised"] for part in parts)
        well_formed = sum(sample["well_formed"] for sample in samples) / len(samples)
        room_used = sum(part["used"] for part in parts) / promised if promised else 0.0
        figures = {f"eval_{name}": value for name, value in zip(FIGURES, (well_formed, room_used), strict=True)}
        kwargs["metrics"].update(figures)  # of the Trainer, which finds metric_for_best_model there
        if state.is_world_process_zero:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(sample, ensure_ascii=False) + "\n" for sample in samples)
        self.trainer.log(figures)

    def _sample(self, model: PlannedDiffusionForCausalLM, prompt: list[int], step: int) -> dict[str, Any]:
        """Return a line of `samples.jsonl`."""
        positions = model.config.get_text_config().max_position_embeddings
        out = model.generate(
            input_ids=torch.tensor([prompt], device=model.device),
            tokenizer=self.tokenizer,
            do_sample=False,
            decoding=DECODING,
            max_new_tokens=min(NEW_TOKENS, positions - len(prompt)),
            return_dict_in_generate=True,
        )
        assert isinstance(out, PlannedDiffusionOutput) and out.plans is not None and out.sequences is not None
        plan = [
            [{"topic": part.topic, "promised": part.length, "used": part.stop - part.start} for part in parts]
            for parts in out.plans[0]
        ]
        config = cast(PlannedDiffusionConfig, model.config)
        return {
            "step": step,
            "prompt": self.tokenizer.decode(prompt, skip_special_tokens=True),
            "text": self.tokenizer.decode(out.sequences[0, len(prompt) :], skip_special_tokens=True),
            "plan": plan,
            "well_formed": is_well_formed(free_plan(model, prompt), config),
        }


def free_plan(model: PlannedDiffusionForCausalLM, prompt: list[int]) -> list[int]:
    """Return the first plan as the model writes it by itself: greedily, any token allowed, up to `<sync/>` or EOS."""
    ends = {model.config.sync_token_id, *ControlTokens.from_config(model.config).eos}
    ids, cache = torch.tensor([prompt], device=model.device), DynamicCache(config=model.config)
    plan: list[int] = []
    while len(plan) < FREE_PLAN_TOKENS and not ends.intersection(plan[-1:]):
        logits = model(input_ids=ids, cache=cache, use_cache=True, logits_to_keep=1).logits
        ids = logits[:, -1:].argmax(-1)  # [1, 1]
        plan.append(int(ids.item()))
    return plan


def is_well_formed(plan: list[int], config: PlannedDiffusionConfig) -> bool:
    """Return whether the grammar accepts a plan with its terminator."""
    try:
        parse_round(plan, ControlTokens.from_config(config), Unit(config.tokens_per_length_unit))
    except PlanError:
        return False
    return True
