"""A byte-level tokenizer with the control tokens, its ids as `ControlTokens`, examples and rows from strings."""

import copy
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, PreTrainedTokenizerFast
from trl import SFTConfig

from planned_diffusion.configuration_planned_diffusion import PlannedDiffusionConfig
from planned_diffusion.generation.tokens import SPELLING, ControlTokens
from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM
from planned_diffusion.training.collator import PlannedDiffusionCollator
from planned_diffusion.training.dataset import encode_records
from planned_diffusion.training.examples import Example, Promise
from planned_diffusion.training.objective import Objective
from planned_diffusion.training.rows import draw_row
from planned_diffusion.training.trainer import PlannedDiffusionTrainer

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
    """An example from one letter per token; topics and promised numbers are not read."""
    span, round_id, is_inside, rows = -1, 0, False, []
    for place, letter in enumerate(text):
        span, is_inside = (span + 1, True) if letter == "<" else (span, is_inside)
        round_id += letter == "S"
        rows.append(
            (_symbols(control)[letter], span if is_inside else -1, round_id, place >= prompt and letter not in "<>")
        )
        is_inside = is_inside and letter != ">"
    ids, spans, rounds, targets = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    promises = tuple(
        Promise("", 1, len(content), round_index)
        for round_index, written in enumerate(text.split("S"))
        for content in re.findall("<(.*?)>", written)
    )
    plain = "".join(re.findall("<(.*?)>", text)) + "E" if promises else text[prompt:]
    return Example(
        ids,
        spans,
        rounds,
        targets.astype(bool),
        prompt_length=prompt,
        plain_answer=np.array([_symbols(control)[letter] for letter in plain]),
        promises=promises,
    )


def _written(ids, control):
    letters = {index: letter for letter, index in _symbols(control).items()} | {-100: "."}
    return "".join(letters[index] for index in ids.tolist())


def _row(text, control, seed=0, **fields):
    fields = {"span_padding": [1, 1], "noise_range": [1.0, 1.0], "complementary_masks": False, **fields}
    return draw_row(_example(text, control), Objective(**fields), control, np.random.default_rng(seed))


@pytest.fixture(scope="session")
def example_of(control):
    """`example_of("pqPa1T<x>E")`: an example from one letter per token; its first two letters are the prompt."""
    return lambda text: _example(text, control)


@pytest.fixture(scope="session")
def row_of(control):
    """`row_of(text, seed=0, **fields)`: a row with one pad per span, all masked, one view; fields change that."""
    return lambda text, seed=0, **fields: _row(text, control, seed, **fields)


@pytest.fixture(scope="session")
def written(control):
    """`written(ids)`: the letters of ids; `.` for no label, `#` for the mask, `_` for `[PAD]`."""
    return lambda ids: _written(ids, control)


ONE = "<promise>-<topic>cause 3</topic><async>It is caused by the sun.</async>"
TWO = "<promise>-<topic>a 1</topic><promise>-<topic>b 2</topic><async>sun</async><async> in sky.</async><sync/>" + ONE
RECORDS = [
    {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
    for question in ("What is an aurora?", "user")
    for answer in (ONE, TWO, "An aurora is light.", TWO + "<sync/>" + ONE)
]


@pytest.fixture(scope="session")
def records():
    """Eight records: one round, two rounds, three rounds, plain; two questions each."""
    return RECORDS


@pytest.fixture
def trainer_for(config, control, tokenizer, records):
    """`trainer_for(folder, callbacks=(), objective=None, **SFTConfig fields)`: trains a tiny model on `records`."""

    def build(folder, callbacks=(), objective=None, **changes):
        settings = {
            "learning_rate": 1e-2,
            "max_steps": 6,
            "per_device_train_batch_size": 2,
            "logging_steps": 100,
            "bf16": False,
            "save_strategy": "no",
            "gradient_checkpointing": False,
            "use_cpu": True,
            "report_to": "none",
            "disable_tqdm": True,
            "dataloader_pin_memory": False,
            "lr_scheduler_type": "linear",
            "seed": 3,
        }
        torch.manual_seed(0)
        objective = objective or Objective(span_padding=[0, 3], plain_share=0.2, complementary_masks=False)
        examples = encode_records(records, tokenizer, control)
        return PlannedDiffusionTrainer(
            model=PlannedDiffusionForCausalLM(copy.deepcopy(config)),  # the trainer writes token ids into it
            args=SFTConfig(output_dir=str(folder), **{**settings, **changes}),
            collator=PlannedDiffusionCollator(examples, objective, control),
            evaluation=examples,
            processing_class=tokenizer,
            callbacks=callbacks,
        )

    return build


@pytest.fixture
def workspace(tmp_path, tokenizer, monkeypatch):
    """A folder with tokenizer, data, a configuration and a recipe; tests run inside it."""
    monkeypatch.chdir(tmp_path)
    tokenizer.save_pretrained("tokenizer")
    Path("train.jsonl").write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    backbone = {
        "model_type": "qwen2",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 256,
    }
    Path("scratch.yaml").write_text(yaml.safe_dump({"backbone_config": backbone, "tokens_per_length_unit": 4}))
    recipe = {
        "train_file": "train.jsonl",
        "from_scratch": "scratch.yaml",
        "tokenizer": "tokenizer",
        "output_dir": "out",
        "span_padding": [0, 3],
        "max_steps": 4,
        "per_device_train_batch_size": 2,
        "bf16": False,
        "use_cpu": True,
        "gradient_checkpointing": False,
        "report_to": "none",
        "disable_tqdm": True,
        "save_strategy": "no",
    }
    Path("recipe.yaml").write_text(yaml.safe_dump(recipe))
    return tmp_path
