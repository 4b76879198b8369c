"""Trainers of TRL take the included checkpoint as they take any causal language model, and train one step on it."""

import itertools
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from transformers import AutoTokenizer
from trl import (
    DPOConfig,
    DPOTrainer,
    GRPOConfig,
    GRPOTrainer,
    RLOOConfig,
    RLOOTrainer,
    SFTConfig,
    SFTTrainer,
)

from planned_diffusion import PlannedDiffusionForCausalLM

FACTS = Path(__file__).resolve().parents[2] / "checkpoints" / "facts"
QUESTION = "What is the capital of Kenya?"
REWARDS = itertools.cycle([0.0, 1.0])
READ: list[str] = []  # the completions that the reward was asked about


def reward(completions: list[str], **columns) -> list[float]:
    """Return a reward that differs between two answers, even where they are equal."""
    READ.extend(completions)
    return [next(REWARDS) for _ in completions]


ONLINE = {"num_generations": 2, "max_completion_length": 60}
OURS = {"steps_ratio": 0.5, "confidence_threshold": None, "guidance_scale": 1.0, "renormalize_logits": True}
# name -> trainer, its config, what that gets, what the trainer gets, and a row of data
TRAINERS = {
    "grpo": (GRPOTrainer, GRPOConfig, {**ONLINE, "generation_kwargs": OURS}, {"reward_funcs": reward}, {}),
    "rloo": (RLOOTrainer, RLOOConfig, {**ONLINE, "generation_kwargs": OURS}, {"reward_funcs": reward}, {}),
    "dpo": (DPOTrainer, DPOConfig, {}, {}, {"chosen": " Nairobi.", "rejected": " Paris."}),
    "sft": (SFTTrainer, SFTConfig, {}, {}, {"completion": " Nairobi."}),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # their own
@pytest.mark.parametrize("name", TRAINERS)
def test_a_trainer_of_trl_trains_a_step(name, tmp_path, monkeypatch):
    trainer_class, config_class, settings, arguments, row = TRAINERS[name]
    model = PlannedDiffusionForCausalLM.from_pretrained(FACTS, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(FACTS)
    calls, written = [], []
    generate = type(model).generate

    def recorded(self, **given):
        calls.append(given)
        written.append(generate(self, **given)[:, given["input_ids"].shape[1] :])
        return torch.cat([given["input_ids"], written[-1]], dim=1)

    monkeypatch.setattr(type(model), "generate", recorded)
    READ.clear()
    trainer = trainer_class(
        model=model,
        args=config_class(
            str(tmp_path), max_steps=1, learning_rate=1e-3, per_device_train_batch_size=2, use_cpu=True, bf16=False,
            save_strategy="no", report_to="none", **settings,
        ),
        processing_class=tokenizer,
        train_dataset=Dataset.from_list([{"prompt": QUESTION, **row}] * 2),
        **arguments,
    )  # fmt: skip
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    trainer.train()
    assert trainer.state.global_step == 1
    assert any(not weight.equal(before[name]) for name, weight in model.named_parameters())
    is_online = "generation_kwargs" in settings
    assert len(calls) == is_online  # online trainers write answers, and reward them as text
    assert [text for answers in written for text in tokenizer.batch_decode(answers, skip_special_tokens=True)] == READ
    assert len(READ) == 2 * is_online and all("Kenya" in text and "<async>" not in text for text in READ)
    for given in calls:
        fields = model.resolve_fields(given["generation_config"], None, {})
        assert (fields.steps_ratio, fields.confidence_threshold, fields.max_new_tokens) == (0.5, None, 60)
