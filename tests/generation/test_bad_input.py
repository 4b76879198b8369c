"""Bad input, one table: what was given, and what the sentence says. Afterwards the model is as it was, and works."""

import re

import pytest
import torch
from transformers import GenerationConfig

from planned_diffusion.generation.config import PlannedDiffusionGenerationConfig
from planned_diffusion.generation.plan import Plan, Round, Span
from planned_diffusion.generation.skeleton import Blank, Kept

IDS = torch.tensor([[1, 2, 3]])
TWO = torch.tensor([[1, 2, 3], [4, 5, 6]])
PROMISE = [104, 30, 16, 105]


class Silent:
    def put(self, value): ...

    def end(self): ...


# (what generate gets besides a prompt of three tokens, fragment of the sentence)
TABLE = [
    # Prompts
    ({"input_ids": None}, "input_ids is missing; give token ids of shape [prompts, tokens]"),
    ({"input_ids": torch.tensor([1, 2])}, "input_ids has shape [2]; give token ids of shape [prompts, tokens]"),
    ({"input_ids": torch.zeros(0, 3, dtype=torch.long)}, "input_ids of shape [0, 3] hold no prompt; give at least"),
    ({"input_ids": torch.zeros(1, 0, dtype=torch.long)}, "input_ids of shape [1, 0] hold no prompt"),
    ({"input_ids": [[1, 2, 3]]}, "give token ids of shape [prompts, tokens]"),
    ({"input_ids": IDS.float()}, "input_ids"),
    ({"input_ids": torch.ones(1, 64, dtype=torch.long)}, "Prompt 0 has 64 tokens, and this model has 64"),
    ({"input_ids": torch.tensor([[1, 112]])}, "Prompt 0 has token id 112, outside the vocabulary of 112; encode"),
    ({"input_ids": torch.tensor([[1, -100]])}, "Prompt 0 has token id -100, outside the vocabulary"),
    ({"input_ids": TWO, "attention_mask": torch.tensor([[1, 1, 1], [0, 0, 0]])}, "Prompt 1 is all padding; leave"),
    ({"input_ids": torch.tensor([[99, 99]]), "pad_token_id": 99}, "Prompt 0 is all padding"),
    ({"attention_mask": torch.ones(1, 4)}, "attention_mask has shape [1, 4]; give one of input_ids' shape [1, 3]"),
    ({"attention_mask": torch.ones(1, 1, 3, 3)}, "attention_mask has shape [1, 1, 3, 3]; give one of"),
    # Room
    ({"max_new_tokens": 6, "plan": [[[*PROMISE, 100]]]}, "room for 6 new tokens, but the given plan needs 9; raise"),
    (
        {"input_ids": torch.ones(1, 60, dtype=torch.long), "plan": [[[*PROMISE, 100]]]},
        "room for 4 new tokens, but the given plan needs 9; shorten the prompt (the model has 4 positions left)",
    ),
    ({"max_length": 3}, "max_length=3 leaves nothing after a prompt of 3 tokens; raise it, or set max_new_tokens"),
    ({"max_length": 9, "plan": [[[*PROMISE, 100]]]}, "room for 6 new tokens"),
    # Fields
    ({"decoding": "magic"}, "decoding is 'magic'; choose one of planned, autoregressive"),
    ({"unmasking": "luck"}, "unmasking is 'luck'; choose one of entropy, confidence, margin, random"),
    ({"span_attention": "full"}, "span_attention is 'full'; choose one of sparse, dense"),
    ({"steps_ration": 0.5}, "steps_ration is no generation field; choose among max_new_tokens"),
    ({"keep_plans": False}, "keep_plans is no generation field"),
    ({"num_beams": 4}, "num_beams=4 has no meaning for planned diffusion; leave it out"),
    ({"repetition_penalty": 1.2}, "repetition_penalty=1.2 has no meaning"),
    ({"no_repeat_ngram_size": 3}, "no_repeat_ngram_size=3 has no meaning"),
    ({"min_new_tokens": 3}, "min_new_tokens=3 has no meaning"),
    ({"generation_config": GenerationConfig(num_beams=2)}, "num_beams=2 has no meaning"),
    ({"assistant_model": "another"}, "decoding='planned' has no use for assistant_model; leave it out, or choose"),
    ({"suppress_tokens": torch.tensor([1, 2])}, "suppress_tokens=tensor([1, 2]) has no meaning"),
    ({"num_beams": torch.tensor([1, 2])}, "num_beams=tensor([1, 2]) has no meaning"),
    ({"pad_token_id": 10**30}, "give a token id"),
    ({"eos_token_id": [100, 10**30]}, "give a token id, or a list of them"),
    # What accompanies a call
    ({"tokenizer": 5}, "tokenizer is 5; give a tokenizer of transformers, or leave it out"),
    ({"listener": "x"}, "listener is 'x'; give a function of (index of the answer, event)"),
    ({"streamer": "x"}, "streamer is 'x', which has no put(); give a streamer of transformers"),
    ({"logits_processor": lambda ids, scores: scores * torch.nan}, "returned scores that are no numbers (NaN); let it"),
    ({"inputs_embeds": torch.zeros(1, 3, 64), "input_ids": None}, "inputs_embeds has no meaning for planned diffusion"),
    *[({"steps_ratio": bad}, f"steps_ratio is {bad!r}; give a number above 0") for bad in (0, -1, None, "1", True)],
    ({"steps_ratio": float("nan")}, "steps_ratio is nan"),
    ({"steps_ratio": float("inf")}, "steps_ratio is inf"),
    *[
        ({"confidence_threshold": value}, f"confidence_threshold is {value}; give a number above 0 and at most 1")
        for value in (0, -0.1, 1.01)
    ],
    *[({"length_scale": value}, f"length_scale is {value}; give a number above 0") for value in (0, -2)],
    ({"temperature": -1.0}, "temperature is -1.0; give a number of at least 0"),
    ({"temperature": 10**400}, "give a number of at least 0"),
    ({"steps_ratio": 10**400}, "give a number above 0"),
    *[({"top_p": value}, f"top_p is {value}; give a number above 0 and at most 1") for value in (0.0, 1.5)],
    ({"top_k": -1}, "top_k is -1; give a whole number of at least 0"),
    ({"top_k": 2.5}, "top_k is 2.5"),
    ({"max_new_tokens": 0}, "max_new_tokens is 0; give a whole number of at least 1"),
    ({"max_time": 0}, "max_time is 0; give a number above 0 (seconds)"),
    ({"max_spans": 0}, "max_spans is 0; give a whole number of at least 1"),
    ({"max_rounds": True}, "max_rounds is True"),
    ({"max_spans": None}, "max_spans is None"),
    ({"close_padding": "no"}, "close_padding is 'no'; give True or False"),
    ({"keep_plan": 1}, "keep_plan is 1; give True or False"),
    ({"output_trace": None}, "output_trace is None"),
    ({"suppress_in_spans": 101}, "suppress_in_spans is 101; give a list of token ids, [] to suppress nothing"),
    ({"suppress_in_spans": ["a"]}, "suppress_in_spans is ['a']"),
    ({"suppress_in_spans": [112]}, "suppress_in_spans"),
    ({"suppress_in_spans": [-1]}, "suppress_in_spans"),
    ({"eos_token_id": 112}, "eos_token_id"),
    ({"seed": -1}, "seed is -1; give a whole number of 0 or more, or one per prompt"),
    ({"seed": "x"}, "seed is 'x'"),
    ({"seed": 2**63}, "seed is 9223372036854775808; give"),
    ({"steps_ratio": 1e300}, "steps_ratio is 1e+300; give a number above 0 and at most 1000"),
    ({"length_scale": 1e308}, "length_scale is 1e+308; give a number above 0 and at most 1000"),
    ({"decoding": ["planned"]}, "decoding is ['planned']; choose one of planned"),
    ({"eos_token_id": "end"}, "eos_token_id is 'end'; give a token id, or a list of them"),
    ({"eos_token_id": [1, 22]}, "decoding='planned' ends an answer with its plan, not at token"),
    ({"pad_token_id": "x"}, "pad_token_id is 'x'; give a token id"),
    ({"attention_mask": [[1, 1, 1]]}, "attention_mask is no tensor; give one of input_ids' shape"),
    ({"generation_config": "mine"}, "generation_config is a str; give a GenerationConfig"),
    ({"generation_config": {"max_spans": 0}}, "max_spans is 0"),
    ({"compile_config": {}}, "compile_config is {}; give a CompileConfig of transformers"),
    ({"seed": [1, 2], "do_sample": True}, "seed lists 2 seeds for 1 prompts; give one each, or one number"),
    ({"num_return_sequences": 2}, "num_return_sequences=2 would return equal answers; set do_sample=True"),
    ({"num_return_sequences": 2, "do_sample": True, "temperature": 0}, "would return equal answers"),
    ({"num_return_sequences": 0}, "num_return_sequences is 0"),
    ({"input_ids": TWO, "streamer": Silent()}, "A streamer follows one answer, but 2 were asked for; stream"),
    ({"streamer": Silent(), "num_return_sequences": 2, "do_sample": True}, "A streamer follows one answer"),
    # Rules
    ({"unmasking_rule": "luck"}, "unmasking_rule is 'luck'; choose one of schedule, factor, entropy_bound"),
    ({"confidence_factor": 0}, "confidence_factor is 0; give a number above 0"),
    ({"entropy_bound": -1}, "entropy_bound is -1; give a number of at least 0"),
    ({"window_blanks": 0}, "window_blanks is 0; give a whole number of at least 1"),
    ({"window_tokens": 2.5}, "window_tokens is 2.5; give a whole number of at least 1"),
    ({"unmasking_rule": "entropy_bound", "unmasking": "margin"}, "adds up entropies, but unmasking is 'margin'"),
    ({"unmasking_rule": "deferred_commitment"}, "writes the tokens that reach confidence_threshold; set it"),
    ({"unmasking_rule": "factor", "steps_ratio": 0.5}, "unmasking_rule='factor' has no use for steps_ratio; leave"),
    ({"entropy_bound": 1.0}, "unmasking_rule='schedule' has no use for entropy_bound; leave it out, or choose"),
    # Blocks
    ({"block_size": 0, "decoding": "fast_dllm"}, "block_size is 0; give a whole number of at least 1"),
    ({"block_cache": "some", "decoding": "fast_dllm"}, "block_cache is 'some'; choose one of dual, prefix, none"),
    *[
        ({"decoding": name, "block_size": 30, "max_new_tokens": 20}, "block_size is 30, but there is room for 20 new")
        for name in ("fast_dllm", "block_diffusion")
    ],
    ({"block_size": 8}, "decoding='planned' has no use for block_size; leave it out, or choose decoding='fast_dllm'"),
    ({"decoding": "diffusion", "max_spans": 3}, "decoding='diffusion' has no use for max_spans; leave it out"),
    ({"decoding": "diffusion", "plan": [[[*PROMISE, 100]]]}, "decoding='diffusion' has no use for plan; leave it out"),
    ({"decoding": "parallel_autoregressive", "steps_ratio": 0.5}, "has no use for steps_ratio; leave it out"),
    # Adaptive parallel decoding
    *[
        ({"decoding": "adaptive_parallel", name: 0}, f"{name} is 0; give a whole number of at least 1")
        for name in ("kv_window", "max_lookahead")
    ],
    ({"mixture_weight": 1.5}, "mixture_weight is 1.5; give a number of at least 0 and at most 1"),
    ({"decoding": "adaptive_parallel", "assistant_model": "small"}, "assistant_model is a str; give a causal language"),
    ({"decoding": "adaptive_parallel", "steps_ratio": 0.5}, "has no use for steps_ratio"),
    # Left to right
    *[
        ({"decoding": "autoregressive", name: value}, f"decoding='autoregressive' has no use for {name}; leave")
        for name, value in [
            ("steps_ratio", 0.5), ("confidence_threshold", 0.9), ("unmasking", "margin"), ("length_scale", 2),
            ("max_spans", 3), ("max_rounds", 2), ("close_padding", False), ("suppress_in_spans", []),
            ("keep_plan", True), ("span_attention", "dense"), ("plan", [[[*PROMISE, 100]]]),
        ]
    ],
    # Plans
    ({"plan": [[[*PROMISE, 100]]] * 2}, "plan has 2 entries for 1 prompts; give a list with one entry per prompt"),
    ({"plan": "a plan"}, "plan is a str for 1 prompts"),
    ({"plan": ["a plan"]}, "A plan is 'a plan'; give a list of rounds"),
    ({"plan": [[]]}, "A plan is []; give a list of rounds"),
    ({"plan": [[[]]]}, "A round of the plan is empty"),
    ({"plan": [[7]]}, "Round 0 of a plan is 7; give a list of (topic, length) or of token ids"),
    ({"plan": [[[(None, 8)]]]}, "The topic None is neither text nor a list of token ids; give one of them"),
    ({"plan": [[[([1.5], 8)]]]}, "The topic [1.5] is neither text nor"),
    ({"plan": [[PROMISE]]}, "This plan ends in 105; a round's plan ends in <sync/> (106)"),
    ({"plan": [[[104, 30, 105, 100]]]}, "has no number"),
    ({"plan": [[[104, 30, 16, 100]]]}, "is never closed; end it with </topic> (105)"),
    ({"plan": [[[104, 30, 15, 105, 100]]]}, "has length 0; promise at least 1"),
    ({"plan": [[[104, 30, 24, 24, 24, 105, 100]]]}, "room for 61 new tokens, but the given plan needs 2007"),
    ({"plan": [[[104, *[24] * 400, 105, 100]]]}, "plan"),
    ({"plan": [[[104, 104, 16, 105, 100]]]}, "has control token 104 inside; promises do not nest"),
    ({"plan": [[[30, *PROMISE, 100]]]}, "Token 30 stands at place 0 of the plan, outside every promise"),
    ({"plan": [[[*PROMISE, 100], [*PROMISE, 100]]]}, "Round 0 of a plan ends in EOS, but more rounds follow; end"),
    ({"plan": [[[104, 500, 16, 105, 100]]]}, "outside the vocabulary of 112"),
    ({"plan": [[[([500], 5)]]]}, "outside the vocabulary of 112"),
    ({"plan": [[[([-1], 5)]]]}, "outside the vocabulary of 112"),
    ({"plan": [Plan((Round((Span((500,), 1, 2),), (104, 500, 16, 105), 100),))]}, "outside the vocabulary of 112"),
    ({"plan": [[[("cause", 5)]]]}, "The topic 'cause' is text and this model came without a tokenizer; pass"),
    ({"plan": [[[([30], 0)]]]}, "has length 0; give a whole number of tokens, at least 1"),
    ({"plan": [[[([30], 10**9)]]]}, "but the given plan needs 1000000"),
    ({"plan": [[[([30], 10**400)]]]}, "plan"),
    ({"plan": [[[([30, 105], 5)]]]}, "contains control tokens; a topic is ordinary text"),
    ({"plan": [[[([30], [[1, 2]])]]]}, "A canvas has no blanks; put a Blank(tokens) into it, or give a text to keep"),
    ({"plan": [[[([30], [])]]]}, "A canvas has no blanks"),
    ({"plan": [[[([30], Kept([1, 2]))]]]}, "Every part of a plan is kept, so there is nothing to write; give at least"),
    ({"plan": [[[([30], Kept([1, 103]))]]]}, "A kept part holds control token 103 as text; leave it out"),
    ({"plan": [[[([30], Kept([]))]]]}, "A kept part has room for 0 tokens; give a whole number from 1"),
    ({"plan": [[[([30], Kept(5))]]]}, "A kept part is 5; give text, or token ids"),
    ({"plan": [[[([30], Kept([1], 0))]]]}, "A kept part has room for 0 tokens; give a whole number from 1 to 1048576"),
    ({"plan": [[[([30], Kept([1], 10**30))]]]}, "give a whole number from 1 to 1048576"),
    ({"plan": [[[([30], Kept([500])), ([31], 3)]]]}, "A canvas has token id 500, outside the vocabulary of 112"),
    ({"plan": [[[([30], [Blank(0)])]]]}, "A blank has room for 0 tokens; give a whole number of at least 1"),
    ({"plan": [[[([30], [Blank(10**9)])]]]}, "A blank has room for 1000000000 tokens; give 1048576 at most"),
    ({"plan": [[[([30], [Blank(10**30)])]]]}, "give 1048576 at most"),
    ({"plan": [[[([30], [Blank(2), 7])]]]}, "A piece of a canvas is 7; give text, token ids, or Blank(tokens)"),
    ({"plan": [[[([30], [Blank(2), [5, 103]])]]]}, "A canvas holds control token 103 as text; leave it out"),
    ({"plan": [[[([30], [Blank(2), [500]])]]]}, "A canvas has token id 500, outside the vocabulary of 112"),
    ({"plan": [[[([30], [Blank(90)])]]]}, "but the given plan needs 98"),
    *[
        ({"decoding": name, "plan": [[[([30], [Blank(2)])]]]}, f"decoding={name!r} writes from left to right")
        for name in ("parallel_autoregressive", "self_verified")
    ],
    ({"plan": [[[([30], 5, 6)]]]}, "give a (topic, length in tokens) pair"),
]  # fmt: skip


@pytest.fixture(scope="module")
def small(build_model):
    return build_model(tokens_per_length_unit=2, backbone={"max_position_embeddings": 64})


@pytest.fixture(scope="module")
def expected(small):
    return small.generate(IDS, max_new_tokens=20)


@pytest.mark.parametrize(
    "given, sentence", TABLE, ids=[f"{number}-{case[1][:32]}" for number, case in enumerate(TABLE)]
)
def test_refused_in_words(given, sentence, small, expected):
    small.train()
    with pytest.raises(ValueError, match=re.escape(sentence)):
        small.generate(**{"input_ids": IDS, **given})
    assert small.training
    small.eval()
    assert small.generate(IDS, max_new_tokens=20).equal(expected)


def test_a_config_object_is_checked_when_it_is_made():
    with pytest.raises(ValueError, match="steps_ratio is 0"):
        PlannedDiffusionGenerationConfig(steps_ratio=0)
    config = PlannedDiffusionGenerationConfig()
    config.steps_ratio = -1
    with pytest.raises(ValueError, match="steps_ratio is -1"):
        config.validate()


# Checkpoints


def test_a_checkpoint_without_control_ids_says_what_is_missing(build_model):
    model = build_model(plans=False)
    with pytest.raises(
        ValueError, match=r"has no mask_token_id, .*digit_token_ids, so it cannot plan; add the control tokens"
    ):
        model.generate(IDS, max_new_tokens=40)
    for missing in ("sync_token_id", "digit_token_ids", "eos_token_id"):
        with pytest.raises(ValueError, match=f"config has no {missing}, so it cannot plan"):
            build_model(**{missing: None}).generate(IDS, max_new_tokens=40)


@pytest.mark.parametrize("field", ["mask_token_id", "sync_token_id", "eos_token_id"])
def test_control_ids_outside_the_vocabulary(field, build_model):
    for token in (112, -2):
        with pytest.raises(
            ValueError, match=rf"Control or digit ids \[{token}\] lie outside the vocabulary of 112 ids"
        ):
            build_model(**{field: token}).generate(IDS, max_new_tokens=40)


@pytest.mark.parametrize("token", [112, -2])
def test_control_ids_outside_the_vocabulary_left_to_right(token, build_model):
    """Its tags are suppressed, so they must be ids of the vocabulary."""
    with pytest.raises(ValueError, match=str(token)):
        build_model(mask_token_id=token).generate(IDS, max_new_tokens=9, decoding="autoregressive")


@pytest.mark.parametrize("field, token", [("mask_token_id", 106), ("sync_token_id", 100), ("span_pad_token_id", 15)])
def test_control_ids_given_twice(field, token, build_model):
    with pytest.raises(ValueError, match="Control and digit ids must differ from each other"):
        build_model(**{field: token}).generate(IDS, max_new_tokens=40)


@pytest.mark.parametrize("field", ["mask_token_id", "eos_token_id"])
def test_what_decoders_without_tags_need(field, build_model):
    model = build_model(plans=False, **{"mask_token_id": 101, "eos_token_id": 100, field: None})
    with pytest.raises(ValueError, match=f"config has no {field}, so decoding='diffusion' cannot fill and end an answ"):
        model.generate(IDS, max_new_tokens=9, decoding="diffusion")


def test_a_checkpoint_with_a_mask_and_an_eos_can_diffuse(build_model):
    model = build_model(plans=False, mask_token_id=101, eos_token_id=100)
    for decoding in ("diffusion", "fast_dllm", "block_diffusion"):
        fields = {"block_size": 4} if decoding != "diffusion" else {}
        assert 3 < model.generate(IDS, max_new_tokens=9, decoding=decoding, **fields).shape[1] <= 12


# Failures while running


def test_continuous_batching_of_transformers_is_refused(build_model):
    with pytest.raises(ValueError, match=r"reads left to right only; pass all prompts to generate\(\) as one batch"):
        build_model().generate_batch([[1, 2, 3]], max_new_tokens=40)


def test_nan_logits_are_an_error_and_nothing_is_lost(build_model):
    model = build_model().train()
    weight = model.lm_head.weight[3].clone()
    with torch.no_grad():
        model.lm_head.weight[3] = torch.nan
    with pytest.raises(
        FloatingPointError, match=r"logits are NaN at position 3 of request 0 while planning; check the "
    ):
        model.generate(IDS, max_new_tokens=40)
    assert model.training
    with torch.no_grad():
        model.lm_head.weight[3] = weight
    assert model.generate(IDS, max_new_tokens=40).shape[1] > 3


def test_a_callback_that_fails_leaves_the_model_as_it_was(build_model):
    model = build_model().train()

    def fail(*args, **kwargs):
        raise RuntimeError("mine")

    for field in ("listener", "stopping_criteria", "logits_processor"):
        with pytest.raises(RuntimeError, match="mine"):
            model.generate(IDS, max_new_tokens=40, **{field: [fail] if field == "stopping_criteria" else fail})
        assert model.training


def test_flash_attention_is_refused(build_model):
    model = build_model()
    model.model.config._attn_implementation = "flash_attention_2"  # it cannot be installed everywhere
    with pytest.raises(ValueError, match="attn_implementation='flash_attention_2' cannot express spans"):
        model.generate(IDS, max_new_tokens=40)
