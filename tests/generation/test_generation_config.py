"""The fields: precedence, validation of each, what is saved and read back."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from planned_diffusion.generation.config import PlannedDiffusionGenerationConfig
from planned_diffusion.generation.fields import FIELDS
from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM

IDS = torch.tensor([[1, 2, 3]])
PLAN = [[[104, 30, 18, 105, 104, 31, 17, 105, 100]]]
# The defaults that users rely on, apart from the table that the code reads.
DEFAULTS = {
    "decoding": "planned",
    "span_attention": None,
    "steps_ratio": 1.0,
    "confidence_threshold": None,
    "unmasking": "entropy",
    "unmasking_rule": "schedule",
    "confidence_factor": 1.0,
    "entropy_bound": 0.1,
    "window_blanks": 16,
    "window_tokens": 128,
    "block_size": 32,
    "block_cache": "dual",
    "mixture_weight": 0.7,
    "kv_window": 16,
    "max_lookahead": 100,
    "refine_share": 0.0,
    "plan_lookahead": 0,
    "draft_tokens": 8,
    "draft_lookup": 8,
    "draft_rows": None,
    "draft_acceptance": 0.5,
    "plan_drafts": 0,
    "length_scale": 1.0,
    "distinct_topics": False,
    "max_spans": 32,
    "max_rounds": 16,
    "close_padding": True,
    "suppress_in_spans": None,
    "keep_plan": False,
    "output_trace": False,
    "seed": None,
}


@pytest.fixture
def model(build_model):
    return build_model(tokens_per_length_unit=4)


def steps(model, **fields) -> int:
    """Denoising steps of a plan whose longest span has 12 tokens."""
    fields = {"max_new_tokens": 60, **fields}
    return model.generate(IDS, plan=PLAN, return_dict_in_generate=True, **fields).trace[0].denoising


# Precedence: kwargs, then generation_config, then the checkpoint's own


def test_defaults():
    config = PlannedDiffusionGenerationConfig()
    assert {name: getattr(config, name) for name in FIELDS} == DEFAULTS
    assert (config.decoding, config.steps_ratio, config.unmasking, config.close_padding) == (
        "planned",
        1.0,
        "entropy",
        True,
    )
    assert (config.max_spans, config.max_rounds, config.length_scale) == (32, 16, 1.0)
    assert config.confidence_threshold is config.span_attention is config.suppress_in_spans is config.seed is None


def test_precedence(model):
    assert steps(model) == 12
    model.generation_config = PlannedDiffusionGenerationConfig(steps_ratio=0.5)
    assert steps(model) == 6
    assert steps(model, generation_config=PlannedDiffusionGenerationConfig(steps_ratio=0.25)) == 3
    assert steps(model, generation_config=PlannedDiffusionGenerationConfig(steps_ratio=0.25), steps_ratio=1.0) == 12
    assert steps(model, steps_ratio=1.0) == 12


def test_a_plain_generation_config_keeps_the_checkpoints_own_fields(model):
    model.generation_config = PlannedDiffusionGenerationConfig(steps_ratio=0.5, max_new_tokens=3)
    assert steps(model, generation_config=GenerationConfig(max_new_tokens=60), max_new_tokens=None) == 6


def test_none_resets_our_own_fields(model):
    """`confidence_threshold=None` switches a checkpoint's threshold off."""
    model.generation_config = PlannedDiffusionGenerationConfig(confidence_threshold=0.001)
    assert steps(model) == 1
    assert steps(model, confidence_threshold=None) == 12


def test_what_a_given_config_does_not_set_is_the_checkpoints(model):
    model.generation_config = PlannedDiffusionGenerationConfig(confidence_threshold=0.001)
    assert steps(model, generation_config=PlannedDiffusionGenerationConfig(max_spans=8)) == 1
    assert steps(model, generation_config=PlannedDiffusionGenerationConfig(confidence_threshold=None)) == 12
    assert steps(model, generation_config={"confidence_threshold": None}) == 12


def test_a_given_config_may_not_contradict_itself(model):
    given = PlannedDiffusionGenerationConfig(decoding="autoregressive", steps_ratio=0.5, max_new_tokens=5)
    with pytest.raises(ValueError, match="decoding='autoregressive' has no use for steps_ratio"):
        model.generate(IDS, generation_config=given)
    model.generation_config = PlannedDiffusionGenerationConfig(steps_ratio=0.5)
    assert model.generate(IDS, generation_config=given).shape[1] <= 8  # that is the checkpoint's own


def test_max_length_beats_what_the_checkpoint_writes_at_most(model):
    model.generation_config = PlannedDiffusionGenerationConfig(max_new_tokens=40, decoding="autoregressive")
    for fields in ({"max_length": 9}, {"generation_config": GenerationConfig(max_length=9)}):
        assert model.generate(IDS, **fields).shape[1] == 9
    assert model.generate(IDS, max_length=9, max_new_tokens=10).shape[1] == 13


def test_eos_token_id_replaces_the_checkpoints(model):
    """As in transformers, but for plans, whose end the model was trained on."""
    out = model.generate(IDS, decoding="autoregressive", max_new_tokens=12)[0, 3:].tolist()
    stopped = model.generate(IDS, decoding="autoregressive", max_new_tokens=12, eos_token_id=out[4])[0, 3:].tolist()
    assert stopped == out[: out.index(out[4]) + 1]
    model.config.eos_token_id = out[4]
    again = model.generate(IDS, decoding="autoregressive", max_new_tokens=12, eos_token_id=100)
    assert again[0, 3:].tolist() == out
    model.config.eos_token_id = 100
    model.generation_config.eos_token_id = [100, 7]  # as checkpoints of chat models have it
    assert model.generate(IDS, plan=PLAN, max_new_tokens=60).shape[1] > 3


@pytest.mark.parametrize("decoding", ["fast_dllm", "block_diffusion"])
def test_the_default_block_is_no_longer_than_the_room(decoding, model):
    assert model.generate(IDS, decoding=decoding, max_new_tokens=20).shape[1] <= 23


def test_nothing_is_changed_by_a_call(model):
    given = PlannedDiffusionGenerationConfig(steps_ratio=0.25)
    before = model.generation_config.to_dict(), given.to_dict()
    steps(model, generation_config=given, steps_ratio=0.5, suppress_in_spans=[3])
    assert (model.generation_config.to_dict(), given.to_dict()) == before


# Saving


def test_our_fields_survive_saving(model, tmp_path):
    model.generation_config = PlannedDiffusionGenerationConfig(
        steps_ratio=0.5,
        confidence_threshold=0.9,
        unmasking="margin",
        suppress_in_spans=[],
        max_new_tokens=77,
        do_sample=False,
    )
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "generation_config.json").read_text())["confidence_threshold"] == 0.9
    for loader in (PlannedDiffusionForCausalLM, AutoModelForCausalLM):
        read = loader.from_pretrained(tmp_path).generation_config
        assert isinstance(read, PlannedDiffusionGenerationConfig)
        assert (read.steps_ratio, read.confidence_threshold, read.unmasking) == (0.5, 0.9, "margin")
        assert (read.suppress_in_spans, read.max_new_tokens, read.do_sample) == ([], 77, False)
        assert read.decoding == "planned" and read.max_rounds == 16


def test_a_checkpoint_without_generation_config_has_the_defaults(model, tmp_path):
    model.save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").unlink()
    read = PlannedDiffusionForCausalLM.from_pretrained(tmp_path).generation_config
    assert isinstance(read, PlannedDiffusionGenerationConfig)
    assert {name: getattr(read, name) for name in FIELDS} == DEFAULTS


def test_a_saved_checkpoint_generates_alike(model, tmp_path):
    model.save_pretrained(tmp_path)
    again = PlannedDiffusionForCausalLM.from_pretrained(tmp_path)
    for fields in ({"plan": PLAN}, {"decoding": "autoregressive"}):
        expected = model.generate(IDS, max_new_tokens=60, **fields)
        assert again.generate(IDS, max_new_tokens=60, **fields).equal(expected)


def test_an_own_generation_config_may_be_passed_on_loading(model, tmp_path):
    model.save_pretrained(tmp_path)
    given = GenerationConfig(max_new_tokens=5)
    read = PlannedDiffusionForCausalLM.from_pretrained(tmp_path, generation_config=given).generation_config
    assert isinstance(read, PlannedDiffusionGenerationConfig) and read.max_new_tokens == 5


def test_it_is_not_derived_from_a_model_config(model):
    with pytest.raises(NotImplementedError, match="not derived from a model config"):
        PlannedDiffusionGenerationConfig.from_model_config(model.config)


@pytest.mark.parametrize(
    "fields",
    [
        {"top_k": 0},  # how transformers writes "off"
        {"steps_ratio": 3},
        {"confidence_threshold": 1},
        {"confidence_threshold": 1.0},
        {"temperature": 0.0},
        {"length_scale": 0.1},
        {"num_beams": 1},
        {"repetition_penalty": 1.0},
        {"num_return_sequences": 1},
        {"span_attention": "dense"},
        {"suppress_in_spans": (1, 2)},
        {"seed": [1, None]},
        {"do_sample": True, "num_return_sequences": 3},
        {"use_cache": True},
    ],
    ids=str,
)
def test_accepted(fields):
    config = PlannedDiffusionGenerationConfig(**fields)
    assert {name: getattr(config, name) for name in fields} == fields
