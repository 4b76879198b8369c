"""Log-likelihoods of answers, beside a native model of transformers that reads one answer at a time."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from planned_diffusion.evaluation.likelihood import likelihoods

ANSWERS = [
    ("What is the capital of Kenya?", "The capital city of Kenya is Nairobi."),
    ("What?", "The currency that people in Chad use to pay is purple, and it rains."),
    ([{"role": "user", "content": "Which language do they speak in Peru?"}], "Spanish, and Quechua."),
    ("What is the capital of Chad?", ""),
    ("What is the capital of Chad?", "N"),
    *(("Where is Peru?", "In South America. " * count) for count in range(1, 6)),  # more than one group
]


@pytest.fixture(scope="module")
def native(facts_checkpoint):
    model = AutoModelForCausalLM.from_config(facts_checkpoint.model.config.backbone_config).eval()
    model.load_state_dict(facts_checkpoint.model.state_dict())
    return model


@torch.no_grad()
def alone(native, tokenizer, prompt, text) -> tuple[float, int]:
    """The sum of a native model's log-softmax at the answer's tokens."""
    chat = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    start = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    scores = native(torch.tensor([[*start, *ids]])).logits[0].log_softmax(-1)
    return sum(float(scores[len(start) - 1 + place, token]) for place, token in enumerate(ids)), len(ids)


def test_likelihoods_are_those_of_the_native_model(facts_checkpoint, native):
    for found, pair in zip(likelihoods(facts_checkpoint, ANSWERS), ANSWERS, strict=True):
        total, tokens = alone(native, facts_checkpoint.tokenizer, *pair)
        assert found.tokens == tokens
        assert found.total == pytest.approx(total, abs=1e-3, rel=1e-5)


def test_a_true_answer_is_likelier_than_a_false_one_and_tags_are_text(facts_checkpoint):
    question = "What is the capital of Kenya?"
    true, false, tag = likelihoods(
        facts_checkpoint, [(question, text) for text in ("It is Nairobi.", "It is Lima.", "<async>")]
    )
    assert true.total / true.tokens > false.total / false.tokens
    assert tag.tokens > 1
