"""What the tests share: tiny real models, prompts for them, and a byte-level tokenizer with the control tags.

Their vocabulary is that of the recorded cases: 112 ids, control ids 100 ... 107, digits 15 ... 24. (Decoders are tested
with a scripted model and a vocabulary that reads as text: tests/generation/conftest.py.)
"""

import importlib.util
import multiprocessing
import os
import socket
import subprocess
import sys
import time
import urllib.request
import warnings
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, PreTrainedTokenizerFast

from planned_diffusion.configuration_planned_diffusion import PlannedDiffusionConfig
from planned_diffusion.generation.tokens import SPELLING, ControlTokens
from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM

sys.path.append(str(Path(__file__).parent))  # for local_server

GOLDEN_IDS = {
    "eos_token_id": 100,
    "mask_token_id": 101,
    "async_start_token_id": 102,
    "async_end_token_id": 103,
    "promise_start_token_id": 104,
    "topic_end_token_id": 105,
    "sync_token_id": 106,
    "span_pad_token_id": 107,
    "digit_token_ids": list(range(15, 25)),
}


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)  # the models are too small to share
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the commands that tests start, too


def tiny_config(architecture: str = "qwen2", plans: bool = True, tie: bool = False, backbone=None, **fields):
    """Two layers, hidden size 64, vocabulary 112; `plans=False` leaves the control ids out."""
    sizes = {
        "vocab_size": 112,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 512,
        "initializer_range": 0.2,  # far from uniform, so that what is seen decides what is written
        "tie_word_embeddings": tie,
        # Configurations differ in their defaults, some of which are control ids here.
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    backbone_config = AutoConfig.for_model(architecture, **{**sizes, **(backbone or {})})
    return PlannedDiffusionConfig(backbone_config, **{**(GOLDEN_IDS if plans else {}), **fields})


@pytest.fixture(scope="session")
def build_config():
    return tiny_config


@pytest.fixture(scope="session")
def build_model():
    """A fresh random model in evaluation mode: build_model("qwen2", seed=0, dtype=torch.float32, **of tiny_config)."""

    def build(architecture: str = "qwen2", seed: int = 0, dtype: torch.dtype = torch.float32, **fields):
        config = tiny_config(architecture, **fields)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return PlannedDiffusionForCausalLM(config).eval().to(dtype)

    return build


@pytest.fixture(scope="session")
def model(build_model):
    """A random model that nobody changes; on most prompts it declines to plan."""
    return build_model()


@pytest.fixture(scope="session")
def planner(build_model):
    """A random model with a taste for plans: it answers with rounds of spans, with plain text, or not at all."""
    model = build_model(seed=3, tokens_per_length_unit=2)
    taste = {"promise_start_token_id": 30, "topic_end_token_id": 28, "sync_token_id": 27, "eos_token_id": 15}
    with torch.no_grad():
        # One constant in every hidden state, so that one column of the head acts as a bias.
        model.model.embed_tokens.weight[:, 0] = 1.0
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight[0] = 0.0
            layer.mlp.down_proj.weight[0] = 0.0
        model.lm_head.weight[:, 0] = 0.0
        for name, bias in taste.items():
            model.lm_head.weight[GOLDEN_IDS[name], 0] = bias
        model.lm_head.weight[GOLDEN_IDS["digit_token_ids"], 0] = 8.0
    return model


@pytest.fixture(scope="session")
def golden_tokens():
    """The control tokens of the real models."""
    return ControlTokens.from_config(tiny_config())


@pytest.fixture(scope="session")
def prompts():
    """prompts(count, longest, seed=0): ragged prompts of ordinary tokens, lists of ids."""

    def draw(count: int, longest: int, seed: int = 0) -> list[list[int]]:
        noise = torch.Generator().manual_seed(seed)
        lengths = torch.randint(1, longest + 1, (count,), generator=noise).tolist()
        return [torch.randint(0, 100, (length,), generator=noise).tolist() for length in lengths]

    return draw


@pytest.fixture(scope="session")
def left_padded():
    """left_padded(prompts) -> input_ids, attention_mask, int64 [B, N]."""

    def pad(rows: list[list[int]], pad_id: int = 99):
        longest = max(map(len, rows))
        ids = torch.tensor([[pad_id] * (longest - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
        return ids, mask

    return pad


@pytest.fixture(scope="session")
def byte_tokenizer():
    """Printable ASCII, byte by byte, in the golden vocabulary: "!" is 0, "0" ... "9" are 15 ... 24, " " is 94."""
    vocabulary = {chr(33 + token): token for token in range(94)} | {"Ġ": 94, "Ċ": 95}
    special = {"<|eos|>": "eos_token_id", "<|mask|>": "mask_token_id"}
    special |= {spelling: name for name, spelling in SPELLING.items()}
    vocabulary |= {f"<|{token}|>": token for token in (*range(96, 100), *range(108, 112))}
    vocabulary |= {spelling: GOLDEN_IDS[name] for spelling, name in special.items()}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|eos|>", mask_token="<|mask|>")
    tokenizer.add_tokens(list(SPELLING.values()), special_tokens=True)
    return tokenizer


# Processes


def _run_command(arguments: list[str], pipes: tuple[int, int, int]) -> None:
    from planned_diffusion.cli.main import main

    torch.set_num_threads(
        torch.get_num_threads()
    )  # makes torch's pool anew after the fork, before threads race to do so
    for number, pipe in enumerate(pipes):
        os.dup2(pipe, number)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
    status = main(arguments)
    sys.exit(status)


@pytest.fixture(scope="module")
def start_command(tmp_path_factory):
    """start_command("batch", ..., out=None) -> a process of its own with the command line, and the file of its errors.

    It is forked: it need not import torch again, which takes longer than most commands. `out` is a file descriptor for
    its standard input and output; without one it reads and writes nothing.
    """
    if sys.platform == "win32":
        pytest.skip("processes are forked, which Windows does not do")
    started = []

    def start(*arguments, out: int | None = None):
        errors = tmp_path_factory.mktemp("command") / "errors"
        with errors.open("w") as told, open(os.devnull, "r+") as nothing, warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: threads of the tests' own servers
            pipe = nothing.fileno() if out is None else out
            given = ([str(argument) for argument in arguments], (pipe, pipe, told.fileno()))
            process = multiprocessing.get_context("fork").Process(target=_run_command, args=given)
            process.start()
        started.append(process)
        return process, errors

    yield start
    for process in started:
        process.kill()
        process.join()


@pytest.fixture(scope="module")
def start_page(start_command):
    """start_page("--queue", 4) -> the address of a page of the included model, in a process of its own.

    Gradio stays out of this process: it leaves event loops behind.
    """
    for name in ("gradio", "fastapi", "prometheus_client"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"the page needs {name}; run pip install -e '.[app]'")
    pipes = []

    def start(*arguments) -> str:
        told, out = os.pipe()
        pipes.append(told)
        process, errors = start_command("app", "--port", 0, "--dtype", "float32", *arguments, out=out)
        os.close(out)
        with open(os.dup(told), encoding="utf-8") as lines:
            line = lines.readline()
        assert " is on http://127.0.0.1:" in line, (line, process.is_alive(), errors.read_text())
        return line.split(" is on ")[1].split()[0]

    yield start
    for pipe in pipes:
        os.close(pipe)


def pytest_collection_modifyitems(config, items):
    """Skip tests in a browser unless they are asked for: Playwright's event loop would run on beside other tests."""
    if "browser" in config.option.markexpr.replace("not browser", ""):
        return
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.skip(reason="needs a browser: make test-browser"))


@dataclass
class OwnProcess:
    """A server of the command line in a fresh process, and where it listens."""

    process: subprocess.Popen
    url: str

    @property
    def megabytes(self) -> float:
        """The memory that the process holds."""
        return psutil.Process(self.process.pid).memory_info().rss / 1e6

    def listens(self, path: str) -> bool:
        """Tell whether a path is answered."""
        try:
            urllib.request.urlopen(self.url + path, timeout=5).close()
        except OSError:
            return False
        return True


@pytest.fixture
def own_process():
    """own_process("serve", ..., up="/health") -> a server that shares no memory with this process, once it listens."""
    started = []

    def start(*arguments: str, up: str) -> OwnProcess:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        line = [sys.executable, "-m", "planned_diffusion", *arguments, "--port", str(port), "--device", "cpu"]
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL)
        started.append(process)
        own, end = OwnProcess(process, f"http://127.0.0.1:{port}"), time.monotonic() + 180
        while not own.listens(up):
            assert process.poll() is None and time.monotonic() < end, line
            time.sleep(0.2)
        return own

    yield start
    for process in started:
        process.terminate()
        process.wait(30)
