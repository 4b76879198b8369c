"""The server of transformers with this package's models, asked by the clients that people use."""

import os
import socket
import subprocess
import sys
import time
import urllib.request

import huggingface_hub
import pytest
from transformers import AutoTokenizer

from planned_diffusion.cli.main import main
from planned_diffusion.generation.tokens import SPELLING
from planned_diffusion.inference import serve

QUESTION = [{"role": "user", "content": "What is the capital of Kenya?"}]
CAPITAL = "The capital city of Kenya, as any atlas will show, is Nairobi."


@pytest.fixture(scope="module")
def address(embedded, start_command):
    """Of a server of the embedded model, in a process of its own."""
    pytest.importorskip("fastapi", reason="serving needs fastapi")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        server, errors = start_command("serve", "--host", "127.0.0.1", "--port", port, "--device", "cpu")
    url, end = f"http://127.0.0.1:{port}", time.monotonic() + 120
    while not answers(f"{url}/health"):
        assert server.is_alive() and time.monotonic() < end, errors.read_text()
        time.sleep(0.2)
    yield url
    server.terminate()
    server.join(10)


def answers(url: str) -> bool:
    """Whether a server is there."""
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except OSError:
        return False
    return True


def test_the_openai_client_plain_and_streamed(address, embedded):
    openai = pytest.importorskip("openai", reason="needs the openai client")
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none") as client:
        answer = client.chat.completions.create(model=str(embedded), messages=QUESTION)
        assert answer.choices[0].message.content == CAPITAL
        assert answer.choices[0].finish_reason == "stop" and answer.usage.completion_tokens == 19
        chunks = list(client.chat.completions.create(model=str(embedded), messages=QUESTION, stream=True))
        pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices[0].delta.content]
        assert "".join(pieces) == CAPITAL and len(pieces) > 5
        sampled = client.chat.completions.create(
            model=str(embedded), messages=QUESTION, temperature=0.7, top_p=0.9, max_tokens=60, seed=3
        )
        assert "Nairobi" in sampled.choices[0].message.content
        text = client.completions.create(model=str(embedded), prompt=QUESTION[0]["content"], max_tokens=60)
        assert text.choices[0].text == CAPITAL


def test_a_text_to_stop_at(address, embedded):
    openai = pytest.importorskip("openai", reason="needs the openai client")
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none") as client:
        answer = client.chat.completions.create(model=str(embedded), messages=QUESTION, stop=["Kenya"])
        assert answer.choices[0].message.content == "The capital city of Kenya"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"max_tokens": 0}, "max_new_tokens is 0"),
        ({"frequency_penalty": 0.5}, "has no meaning for planned diffusion"),
    ],
)
def test_what_generate_refuses_is_the_clients_error(fields, says, address, embedded):
    openai = pytest.importorskip("openai", reason="needs the openai client")
    client = openai.OpenAI(base_url=f"{address}/v1", api_key="none")
    with client, pytest.raises(openai.BadRequestError, match=says):
        client.chat.completions.create(model=str(embedded), messages=QUESTION, **fields)


@pytest.mark.slow
def test_transformers_chat(address, embedded):
    """The client of transformers, which samples unless told otherwise."""
    done = subprocess.run(
        [sys.executable, "-m", "transformers.cli.transformers", "chat", str(embedded), address, "do_sample=False"],
        input=f"{QUESTION[0]['content']}\n!exit\n",
        env={**os.environ, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_UPDATE_CHECK": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert CAPITAL in done.stdout


def test_the_command_hands_its_arguments_over(monkeypatch, capsys, embedded):
    seen = []
    monkeypatch.setattr(serve, "serve", seen.append)
    for arguments in ([], ["--port", "1"], ["owner/name", "--port", "1"], ["--help"]):
        assert main(["serve", *arguments]) == 0
    assert seen == [[str(embedded)], [str(embedded), "--port", "1"], ["owner/name", "--port", "1"], ["--help"]]


def test_missing_libraries_are_named(monkeypatch, capsys):
    monkeypatch.setattr(serve, "is_serve_available", lambda: False)
    assert main(["serve"]) == 1
    assert "pip install 'planned-diffusion[serve]'" in capsys.readouterr().err


TAGS = [*SPELLING.values(), "<|mask|>", "<|end|>", "<|user|>", "<|assistant|>", "<|pad|>"]


@pytest.mark.parametrize("tag", [*TAGS, " ".join(TAGS)])
def test_control_tags_in_messages_stay_text(tag, address, embedded):
    """A tag is one control token, and as text several: the server counts the ids of the prompt."""
    openai = pytest.importorskip("openai", reason="needs the openai client")
    tokenizer = AutoTokenizer.from_pretrained(embedded, trust_remote_code=False)
    question = f"What {tag} is the capital of Kenya?"
    as_text = tokenizer(question, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none") as client:
        chat = client.chat.completions.create(
            model=str(embedded), messages=[{"role": "user", "content": question}], max_tokens=8
        )
        text = client.completions.create(model=str(embedded), prompt=question, max_tokens=8)
    assert chat.usage.prompt_tokens == len(as_text) + 2  # <|user|> and <|assistant|> are the template's own
    assert len(tokenizer(question)["input_ids"]) < len(as_text)
    assert text.usage.prompt_tokens == len(tokenizer(question)["input_ids"])  # nothing says which are the user's
