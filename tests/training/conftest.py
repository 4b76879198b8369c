"""A byte-level tokenizer with the control tokens, its ids as `ControlTokens`, examples and rows from strings."""

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, PreTrainedTokenizerFast

from planned_diffusion.configuration_planned_diffusion import PlannedDiffusionConfig
from planned_diffusion.generation.tokens import SPELLING, ControlTokens
from planned_diffusion.training.corruption import Objective, draw_row
from planned_diffusion.training.records import Example

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] | trim }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXTS = ["An aurora is light in the sky.", " It is caused by the sun.", "What is an aurora?", "user", "assistant"]


def _byte_tokenizer(are_special: bool = True) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator(TEXTS, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|endoftext|>", mask_token="<|mask|>"
    )
    tokenizer.add_tokens(["<|im_start|>"], special_tokens=True)
    tokenizer.add_tokens(list(SPELLING.values()), special_tokens=are_special)
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _config(tokenizer, **changes) -> PlannedDiffusionConfig:
    ids = {field: tokenizer.convert_tokens_to_ids(spelling) for field, spelling in SPELLING.items()}
    settings = {
        "mask_token_id": tokenizer.mask_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "digit_token_ids": tokenizer.convert_tokens_to_ids(list("0123456789")),
        "tokens_per_length_unit": 4,
        "span_attention": "sparse",
        **ids,
        **changes,
    }
    backbone = AutoConfig.for_model(
        "qwen2",
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        attn_implementation="sdpa",
    )
    return PlannedDiffusionConfig(backbone_config=backbone, **settings)


@pytest.fixture(scope="session")
def tokenizer():
    return _byte_tokenizer()


@pytest.fixture(scope="session")
def config(tokenizer):
    return _config(tokenizer)


@pytest.fixture(scope="session")
def control(config):
    return ControlTokens.from_config(config)


@pytest.fixture(scope="session")
def byte_tokenizer():
    """`byte_tokenizer(are_special=True)`: a new one."""
    return _byte_tokenizer


@pytest.fixture(scope="session")
def config_for():
    """`config_for(tokenizer, **changes)`."""
    return _config


def _symbols(control):
    named = {"P": control.promise_start, "T": control.topic_end, "<": control.async_start, ">": control.async_end}
    named |= {"S": control.sync, "E": control.eos[0], "_": control.span_pad, "#": control.mask}
    return {**{letter: ord(letter) for letter in "pqabcxyzw12"}, **named}


def _example(text, control, prompt=2):
    """An example from one letter per token."""
    span, round_id, is_inside, rows = -1, 0, False, []
    for place, letter in enumerate(text):
        span, is_inside = (span + 1, True) if letter == "<" else (span, is_inside)
        round_id += letter == "S"
        rows.append(
            (_symbols(control)[letter], span if is_inside else -1, round_id, place >= prompt and letter not in "<>")
        )
        is_inside = is_inside and letter != ">"
    ids, spans, rounds, targets = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    plain = [_symbols(control)[letter] for letter in "".join(part.split(">")[0] for part in text.split("<")[1:]) + "E"]
    return Example(ids, spans, rounds, targets.astype(bool), np.array(plain))


def _written(ids, control):
    letters = {index: letter for letter, index in _symbols(control).items()} | {-100: "."}
    return "".join(letters[index] for index in ids.tolist())


def _row(text, control, seed=0, **settings):
    settings = {"span_padding": (1, 1), "noise_range": (1.0, 1.0), **settings}
    return draw_row(_example(text, control), Objective(**settings), control, np.random.default_rng(seed))


@pytest.fixture(scope="session")
def example_of(control):
    """`example_of("pqPa1T<x>E")`: an example from one letter per token; its first two letters are the prompt."""
    return lambda text: _example(text, control)


@pytest.fixture(scope="session")
def row_of(control):
    """`row_of(text, seed=0, **settings)`: a row with one pad per span and everything masked, unless settings differ."""
    return lambda text, seed=0, **settings: _row(text, control, seed, **settings)


@pytest.fixture(scope="session")
def written(control):
    """`written(ids)`: the letters of ids; `.` for no label, `#` for the mask, `_` for `[PAD]`."""
    return lambda ids: _written(ids, control)
