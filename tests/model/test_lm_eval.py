"""lm-eval's own Hugging Face class runs on the included model, in batches: its stop criteria have a flag per row."""

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from planned_diffusion.loading.embedded import EMBEDDED
from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM

huggingface = pytest.importorskip("lm_eval.models.huggingface", reason="lm-eval is not installed: pip install lm_eval")

PROMPTS = [
    "What is the capital of Kenya?",
    "What are the capital and the currency of Kenya?",
    "Which currency does Peru have, and which capital?",
    "What is the main language of Japan?",
]
TAGS = ("mask", "async_start", "async_end", "promise_start", "topic_end", "sync", "span_pad")


@pytest.fixture(scope="module")
def facts():
    model = PlannedDiffusionForCausalLM.from_pretrained(EMBEDDED, dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(EMBEDDED)


@pytest.fixture(scope="module")
def native(facts):
    model, config = facts[0], facts[0].config
    native = AutoModelForCausalLM.from_config(config.backbone_config).eval()
    native.load_state_dict(model.state_dict())
    native.generation_config.eos_token_id = config.eos_token_id
    native.generation_config.suppress_tokens = [getattr(config, f"{tag}_token_id") for tag in TAGS]
    return native


def ask(model, tokenizer, until: list[str], batch_size: int) -> list[str]:
    from lm_eval.api.instance import Instance

    lm = huggingface.HFLM(pretrained=model, tokenizer=copy.deepcopy(tokenizer), batch_size=batch_size, device="cpu")
    options = {"until": until, "max_gen_toks": 40, "do_sample": False}
    requests = [Instance("generate_until", {}, (prompt, options), index) for index, prompt in enumerate(PROMPTS)]
    return lm.generate_until(requests, disable_tqdm=True)


@pytest.mark.parametrize("until", [["."], [" is", " to"], ["never said"]])
def test_left_to_right_answers_are_those_of_the_native_model(until, facts, native):
    model, tokenizer = facts
    left_to_right = copy.deepcopy(model)
    left_to_right.generation_config.decoding = "autoregressive"
    assert ask(left_to_right, tokenizer, until, 3) == ask(native, tokenizer, until, 3)


@pytest.mark.parametrize("until", [["."], [" is", " to"], ["never said"]])
def test_planned_answers_in_batches_are_those_of_the_prompts_alone(until, facts):
    answers = ask(*facts, until, 3)
    assert answers == ask(*facts, until, 1)
    assert all(answers) and not any(text in answer for answer in answers for text in until)
