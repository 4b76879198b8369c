"""The tokenizer that lies beside a checkpoint: topics as text in and out, and what pipelines do with both."""

import copy

import pytest
import torch
from transformers import pipeline

from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM

IDS = torch.tensor([[1, 2, 3]])
PLAN = [[[("cause", 5), ("end", 4)]]]


@pytest.fixture
def folder(build_model, tmp_path):
    build_model(tokens_per_length_unit=3).save_pretrained(tmp_path)
    return tmp_path


def test_it_is_found(folder, byte_tokenizer):
    byte_tokenizer.save_pretrained(folder)
    model = PlannedDiffusionForCausalLM.from_pretrained(folder)
    out = model.generate(IDS, plan=PLAN, max_new_tokens=60, return_dict_in_generate=True)
    assert [(span.topic, span.length) for span in out.plans[0][0]] == [("cause", 5), ("end", 4)]


def test_without_one_topics_stay_ids(folder):
    model = PlannedDiffusionForCausalLM.from_pretrained(folder)
    out = model.generate(IDS, plan=[[[([30], 5)]]], max_new_tokens=60, return_dict_in_generate=True)
    assert [(span.topic, span.topic_ids) for span in out.plans[0][0]] == [(None, (30,))]
    with pytest.raises(ValueError, match="The topic 'cause' is text and this model came without a tokenizer"):
        model.generate(IDS, plan=PLAN, max_new_tokens=60)


def test_a_tokenizer_given_counts_more(folder, byte_tokenizer):
    model = PlannedDiffusionForCausalLM.from_pretrained(folder)
    out = model.generate(IDS, plan=PLAN, max_new_tokens=60, tokenizer=byte_tokenizer, return_dict_in_generate=True)
    assert [span.topic for span in out.plans[0][0]] == ["cause", "end"]


def test_a_pipeline_reads_prose(folder, byte_tokenizer):
    tokenizer = copy.deepcopy(byte_tokenizer)  # every test shares the fixture
    tokenizer.pad_token, tokenizer.padding_side = "<|99|>", "left"
    model = PlannedDiffusionForCausalLM.from_pretrained(folder)
    pipe = pipeline("text-generation", model=model, tokenizer=tokenizer)
    prompts = ["hello", "what is it?"]
    for batch_size in (1, 2):
        answers = pipe(prompts, do_sample=False, max_new_tokens=30, batch_size=batch_size, return_full_text=False)
        for prompt, [answer] in zip(prompts, answers, strict=True):
            ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
            out = model.generate(ids, max_new_tokens=30)[0, ids.shape[1] :]
            assert answer["generated_text"] == tokenizer.decode(out, skip_special_tokens=True)
