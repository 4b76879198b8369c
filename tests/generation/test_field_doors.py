"""Every field through every door: keyword, dict, plain and own config, the model's own config, a trainer's config."""

import copy

import pytest
import torch
from transformers import CompileConfig, GenerationConfig, Pipeline, pipeline

from planned_diffusion.generation import field_resolution
from planned_diffusion.generation.config import PlannedDiffusionGenerationConfig
from planned_diffusion.generation.decoders.table import DECODERS
from planned_diffusion.generation.fields import FIELDS, READ_BY_ALL, SHARED_FIELDS
from planned_diffusion.generation.neutral_values import IDLE_FIELDS, IGNORED_ARGUMENTS, NEUTRAL_VALUES

IDS = torch.tensor([[1, 2, 3]])
# A value of every field that is not its default, with the decoding that reads it and what else it needs.
OTHER_VALUES = {
    "decoding": ("autoregressive", {}),
    "span_attention": ("dense", {}),
    "steps_ratio": (0.5, {}),
    "confidence_threshold": (0.8, {}),
    "unmasking": ("margin", {}),
    "unmasking_rule": ("factor", {}),
    "confidence_factor": (2.0, {"unmasking_rule": "factor"}),
    "entropy_bound": (0.5, {"unmasking_rule": "entropy_bound"}),
    "window_blanks": (8, {"unmasking_rule": "deferred_commitment", "confidence_threshold": 0.9}),
    "window_tokens": (64, {"unmasking_rule": "deferred_commitment", "confidence_threshold": 0.9}),
    "block_size": (8, {"decoding": "block_diffusion"}),
    "block_cache": ("prefix", {"decoding": "fast_dllm"}),
    "mixture_weight": (0.5, {"decoding": "adaptive_parallel"}),
    "kv_window": (8, {"decoding": "adaptive_parallel"}),
    "max_lookahead": (8, {"decoding": "adaptive_parallel"}),
    "refine_share": (0.3, {}),
    "plan_lookahead": (3, {}),
    "draft_tokens": (2, {"decoding": "speculative"}),
    "draft_lookup": (2, {"decoding": "speculative"}),
    "draft_rows": (5, {"decoding": "speculative"}),
    "draft_acceptance": (0.8, {"decoding": "speculative"}),
    "plan_drafts": (3, {"decoding": "planned"}),
    "length_scale": (2.0, {}),
    "distinct_topics": (True, {}),
    "max_spans": (2, {}),
    "max_rounds": (1, {}),
    "close_padding": (False, {}),
    "suppress_in_spans": ([5], {}),
    "keep_plan": (True, {}),
    "output_trace": (True, {}),
    "seed": (3, {"do_sample": True}),
    "max_new_tokens": (30, {}),
    "max_length": (40, {}),
    "max_time": (60.0, {}),
    "do_sample": (True, {}),
    "temperature": (0.7, {"do_sample": True}),
    "top_k": (5, {"do_sample": True}),
    "top_p": (0.9, {"do_sample": True}),
    "stop_strings": (["end"], {}),
    "num_return_sequences": (2, {"do_sample": True}),
    "return_dict_in_generate": (True, {}),
    "use_cache": (True, {}),
    "pad_token_id": (99, {}),
    "bos_token_id": (98, {}),
    "eos_token_id": (100, {}),
    "compile_config": (CompileConfig(), {}),
    "disable_compile": (True, {}),
}


def as_trainers_do(fields: dict) -> dict:
    """TRL's online trainers build a config from their arguments and `generation_kwargs`."""
    theirs = {"do_sample": True, "temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": None, "repetition_penalty": 1.0}
    config = GenerationConfig(**{**theirs, "cache_implementation": None, "disable_compile": True, **fields})
    return {"generation_config": config}


DOORS = {
    "dict": lambda fields: {"generation_config": dict(fields)},
    "plain config": lambda fields: {"generation_config": GenerationConfig(**fields)},
    "own config": lambda fields: {"generation_config": PlannedDiffusionGenerationConfig(**fields)},
}


def resolved(model, kwargs: dict) -> dict:
    kwargs = dict(kwargs)
    fields = model.resolve_fields(kwargs.pop("generation_config", None), None, kwargs)
    return {name: getattr(fields, name) for name in (*FIELDS, *SHARED_FIELDS)}


def test_every_field_has_another_value():
    assert OTHER_VALUES.keys() == FIELDS.keys() | SHARED_FIELDS.keys()


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", OTHER_VALUES)
def test_a_field_is_the_same_through_every_door(name, door, model):
    value, needs = OTHER_VALUES[name]
    fields = {name: value, **needs}
    by_keyword = resolved(model, fields)
    assert by_keyword[name] == value
    assert resolved(model, DOORS[door](fields)) == by_keyword


@pytest.mark.parametrize("name", OTHER_VALUES)
def test_a_field_of_a_plain_config_in_the_model(name, build_model):
    value, needs = OTHER_VALUES[name]
    model = build_model()
    by_keyword = resolved(model, {name: value, **needs})
    model.generation_config = GenerationConfig(**{name: value, **needs})
    assert resolved(model, {}) == by_keyword
    assert resolved(model, {"generation_config": copy.deepcopy(model.generation_config)}) == by_keyword


@pytest.mark.parametrize("name", OTHER_VALUES)
def test_a_field_among_the_generation_kwargs_of_a_trainer(name, model):
    value, needs = OTHER_VALUES[name]
    assert resolved(model, as_trainers_do({name: value, **needs}))[name] == value


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", FIELDS)
def test_a_field_that_is_not_read_is_refused_through_every_door(name, door, model):
    """With any other decoding: the chosen one, and one that is the model's own."""
    if name in READ_BY_ALL:
        return
    value, _ = OTHER_VALUES[name]
    others = [decoding for decoding, decoder in DECODERS.items() if name not in decoder.reads]
    for decoding in others:
        with pytest.raises(ValueError, match=f"decoding='{decoding}' has no use for {name}; leave it out"):
            resolved(model, DOORS[door]({"decoding": decoding, name: value}))


@pytest.mark.parametrize("door", DOORS)
def test_a_bad_value_is_refused_through_every_door(door, model):
    for name, bad in {"steps_ratio": 0, "max_spans": True, "decoding": "magic", "keep_plan": 1, "steps": 3}.items():
        with pytest.raises(ValueError, match=f"{name} is"):
            resolved(model, DOORS[door]({name: bad}))


def test_keywords_come_before_a_plain_config_and_that_before_the_models(build_model):
    model = build_model()
    model.generation_config = GenerationConfig(max_spans=2, max_rounds=2, steps_ratio=0.5, confidence_threshold=0.9)
    given = GenerationConfig(max_rounds=3, steps_ratio=0.25, confidence_threshold=None)
    fields = model.resolve_fields(given, None, {"steps_ratio": 0.75})
    assert (fields.max_spans, fields.max_rounds, fields.steps_ratio) == (2, 3, 0.75)
    assert fields.confidence_threshold is None


def test_answers_are_the_same_through_every_door(planner):
    fields = {"max_new_tokens": 60, "keep_plan": True, "max_spans": 2, "steps_ratio": 0.5}
    expected = planner.generate(IDS, **fields)
    assert not expected.equal(planner.generate(IDS, max_new_tokens=60))
    for door in DOORS.values():
        assert planner.generate(IDS, **door(fields)).equal(expected)


def test_a_pipeline_takes_a_plain_config_with_fields_of_ours(build_model, byte_tokenizer):
    tokenizer = copy.deepcopy(byte_tokenizer)
    tokenizer.pad_token, tokenizer.padding_side = "<|99|>", "left"
    pipe = pipeline("text-generation", model=build_model(), tokenizer=tokenizer)
    theirs = {"return_tensors": True}
    fields = {"max_new_tokens": 12, "do_sample": False, "decoding": "block_diffusion", "block_size": 4}
    expected = pipe("hello", **theirs, **fields)
    assert pipe("hello", **theirs, generation_config=GenerationConfig(**fields)) == expected
    pipe.model.generation_config = GenerationConfig(**fields)
    if CONFIGS_ADD:
        assert pipe("hello", **theirs) == expected


# In older versions of transformers a pipeline copies the model's config once, and a given config replaces the copy.
CONFIGS_ADD = hasattr(Pipeline, "_prepare_generate_kwargs")


class ReachedError(Exception):
    """The resolved fields of a call of `generate`, which ends here."""


@pytest.fixture(scope="module")
def piped(build_model, byte_tokenizer):
    """piped(arguments of the pipeline, arguments of its call) -> the fields that `generate` resolves."""
    tokenizer = copy.deepcopy(byte_tokenizer)
    tokenizer.pad_token, tokenizer.padding_side = "<|99|>", "left"
    model = build_model()

    def stop_here(self, fields, *args, **kwargs):
        raise ReachedError(fields)

    def run(of_pipeline: dict, of_call: dict) -> dict:
        pipe = pipeline("text-generation", model=model, tokenizer=tokenizer, **of_pipeline)
        with pytest.MonkeyPatch.context() as patch, pytest.raises(ReachedError) as reached:
            patch.setattr(type(model), "prepare", stop_here)
            pipe("hello", **of_call)
        return {name: getattr(reached.value.args[0], name) for name in (*FIELDS, *SHARED_FIELDS)}

    return run


THROUGH_A_PIPELINE = {
    "keyword of the call": lambda fields: ({}, fields),
    "keyword of the pipeline": lambda fields: (fields, {}),
    "plain config": lambda fields: ({}, {"generation_config": GenerationConfig(**fields)}),
    "own config": lambda fields: ({}, {"generation_config": PlannedDiffusionGenerationConfig(**fields)}),
}


@pytest.mark.parametrize("door", THROUGH_A_PIPELINE)
@pytest.mark.parametrize("name", OTHER_VALUES)
def test_a_field_through_a_pipeline(name, door, piped):
    """And nothing else: a pipeline itself chooses a limit, to sample, and the ids of its tokenizer."""
    value, needs = OTHER_VALUES[name]
    fields = {name: value, **needs}
    found, without = piped(*THROUGH_A_PIPELINE[door](fields)), piped({}, {})
    assert {field: found[field] for field in fields} == fields
    others = {field for field in found if found[field] != without[field]} - fields.keys()
    if "config" in door and not CONFIGS_ADD:
        return
    assert others <= {"max_new_tokens", "do_sample", "temperature", "pad_token_id", "eos_token_id"}


# Values that change nothing

NEUTRAL = [
    *NEUTRAL_VALUES.items(),
    *[(name, True) for name in IGNORED_ARGUMENTS if name != "synced_gpus"],  # GenerationConfig itself refuses that one
    *[(name, 0.5 if name == "assistant_ensemble_weight" else 1) for name in IDLE_FIELDS if "batching" not in name],
    ("guidance_scale", 1.0), ("length_penalty", 1.0), ("renormalize_logits", True), ("low_memory", False),
    ("disable_compile", False), ("early_stopping", False), ("suppress_tokens", []), ("begin_suppress_tokens", None),
    ("bad_words_ids", None), ("sequence_bias", None), ("output_scores", False), ("output_logits", False),
    ("remove_invalid_values", False), ("token_healing", False), ("use_cache", True), ("num_return_sequences", 1),
    ("temperature", 1.0), ("top_p", 1.0), ("top_k", 0),
]  # fmt: skip


@pytest.mark.parametrize("door", ["keyword", *DOORS])
@pytest.mark.parametrize("name, value", NEUTRAL, ids=str)
def test_neutral_values_pass_through_every_door(name, value, door, model):
    fields = {"decoding": "autoregressive", "max_new_tokens": 3}
    given = {**fields, name: value}
    assert model.generate(IDS, **(given if door == "keyword" else DOORS[door](given))).equal(
        model.generate(IDS, **fields)
    )


@pytest.mark.parametrize("name, value", NEUTRAL, ids=str)
def test_neutral_values_pass_in_the_models_own_config_and_in_a_trainers(name, value, build_model):
    model = build_model()
    fields = {"decoding": "autoregressive", "max_new_tokens": 3}
    assert model.generate(IDS, **as_trainers_do({**fields, name: value})).shape[1] <= 6
    for kind in (GenerationConfig, PlannedDiffusionGenerationConfig):
        model.generation_config = kind(**{**fields, name: value})
        assert model.generate(IDS).shape[1] <= 6


@pytest.mark.parametrize("door", ["keyword", *DOORS])
@pytest.mark.parametrize(
    "name, value",
    [("num_beams", 2), ("repetition_penalty", 1.1), ("guidance_scale", 1.5), ("suppress_tokens", [3]), ("min_p", 0.1)],
)
def test_values_that_would_change_something_are_refused_through_every_door(name, value, door, model):
    with pytest.raises(ValueError, match=f"{name}=.* has no meaning for planned diffusion; leave it out"):
        model.generate(IDS, **({name: value} if door == "keyword" else DOORS[door]({name: value})))


def test_disable_compile_beats_compile_config(model, monkeypatch):
    chosen = []
    monkeypatch.setattr(type(model), "run_requests", lambda self, requests, listeners, assistant, compiled: (
        chosen.append(compiled) or 1 / 0
    ))  # fmt: skip
    for disabled in (True, False):
        with pytest.raises(ZeroDivisionError):
            model.generate(IDS, compile_config=CompileConfig(), disable_compile=disabled)
    assert chosen[0] is None and isinstance(chosen[1], CompileConfig)


def test_a_cache_that_is_switched_off_is_said_to_change_nothing(model, monkeypatch):
    said = []
    monkeypatch.setattr(field_resolution.logger, "warning_once", said.append)
    for door in DOORS.values():
        model.generate(IDS, **door({"use_cache": False, "max_new_tokens": 3}))
    model.generate(IDS, use_cache=False, max_new_tokens=3)
    assert len(said) == 4 and "use_cache=False changes nothing" in said[0]
    model.generate(IDS, use_cache=True, max_new_tokens=3)
    assert len(said) == 4
