"""A tiny random checkpoint that plans, and the command line run in this process."""

import io
import sys
from dataclasses import dataclass

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, PreTrainedTokenizerFast
from transformers.utils import logging

from planned_diffusion.cli.main import main
from planned_diffusion.configuration_planned_diffusion import PlannedDiffusionConfig
from planned_diffusion.generation.config import PlannedDiffusionGenerationConfig
from planned_diffusion.generation.tokens import SPELLING, ControlTokens
from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM

CHAT_TEMPLATE = (
    "{% for message in messages %}<|user|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


PLANS = (
    "<promise>-<topic>capital 4</topic><promise>-<topic>money 2</topic><sync/>",
    "<promise>-<topic>more 3</topic><|end|>",
)


@dataclass
class Ran:
    status: int
    out: str
    err: str


def byte_tokenizer() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator([], trainers.BpeTrainer(vocab_size=256, initial_alphabet=alphabet, show_progress=False))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|end|>", pad_token="<|pad|>", mask_token="<|mask|>"
    )
    tokenizer.add_tokens(["<|user|>", "<|assistant|>", *SPELLING.values()], special_tokens=True)
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def tiny_model(tokenizer) -> PlannedDiffusionForCausalLM:
    """Two layers of hidden size 32, at random, but for the plan that `teach` teaches."""
    torch.manual_seed(0)
    backbone = AutoConfig.for_model(
        "llama",
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
    )
    config = PlannedDiffusionConfig(
        backbone_config=backbone,
        mask_token_id=tokenizer.mask_token_id,
        eos_token_id=tokenizer.eos_token_id,
        digit_token_ids=tokenizer.convert_tokens_to_ids(list("0123456789")),
        tokens_per_length_unit=4,
        **{field: tokenizer.convert_tokens_to_ids(spelling) for field, spelling in SPELLING.items()},
    )
    model = PlannedDiffusionForCausalLM(config)
    model.generation_config = PlannedDiffusionGenerationConfig(
        max_new_tokens=90, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    return model


def teach(model, tokenizer) -> None:
    """Overfits two rounds of promises after the prompt "What?", whatever the spans say."""
    prompt = "<|user|>What?<|end|><|assistant|>"
    first, second = tokenizer.encode(prompt + PLANS[0]), tokenizer.encode(PLANS[1])
    start, control = len(tokenizer.encode(prompt)), ControlTokens.from_config(model.config)
    opening, closing = control.async_start, control.async_end
    letters = torch.tensor([token for token in first if token < 256])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(200):
        texts = letters[torch.randint(len(letters), (16, 16))].tolist()  # as muddled as what it will write
        spans = [[opening, *text, closing, opening, *text[:8], closing] for text in texts]
        ids = torch.tensor([[*first[:-1], *row, first[-1], *second] for row in spans])
        labels = ids.clone()
        labels[:, :start] = -100
        labels[:, len(first) : len(first) + len(spans[0])] = -100  # tags, and <sync/>, which follows the plan instead
        plan = torch.tensor([first])
        loss = model(ids, labels=labels).loss + model(plan, labels=plan).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.fixture(scope="session")
def tokenizer():
    return byte_tokenizer()


@pytest.fixture(scope="session")
def control(checkpoint):
    return ControlTokens.from_config(checkpoint[0].config)


@pytest.fixture(scope="session")
def checkpoint(tokenizer, tmp_path_factory):
    """(model, folder) of a model that answers "What?" in two rounds, of two spans and of one."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("checkpoint")
    model = tiny_model(tokenizer)
    teach(model, tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model, folder


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command line as a pipe would: status, standard output, standard error."""

    def run(*arguments, stdin: str | bytes = b"") -> Ran:
        given = stdin.encode() if isinstance(stdin, str) else stdin
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ran(status, captured.out, captured.err)

    return run


@pytest.fixture(autouse=True)
def loud_again():
    """The command line silences transformers; other tests want it as it was."""
    verbosity = logging.get_verbosity()
    yield
    logging.set_verbosity(verbosity)
    logging.enable_progress_bar()
