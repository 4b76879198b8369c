"""Public clients against the server as a process of its own: openai, transformers chat, llm; and openai's types."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

QUESTION = [{"role": "user", "content": "What are the capital and the currency of Kenya?"}]
CAPITAL = "The capital city of Kenya, as any atlas will show, is Nairobi."
KEY = "sk-test"
openai = pytest.importorskip("openai", reason="needs the openai client")


@pytest.fixture(scope="module")
def address(start_command, tmp_path_factory):
    """The address of a server of the included model, started by the command line, with a key."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    key = tmp_path_factory.mktemp("key") / "key"
    key.write_text(KEY + "\n")
    server, errors = start_command("serve", "--port", port, "--device", "cpu", "--api-key-file", key)
    url, end = f"http://127.0.0.1:{port}", time.monotonic() + 120
    while not answers(f"{url}/health"):
        assert server.is_alive() and time.monotonic() < end, errors.read_text()
        time.sleep(0.1)
    yield url
    server.terminate()
    server.join(20)
    assert not server.is_alive()


def answers(url: str) -> bool:
    """Tell whether a server is there."""
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def client(address):
    with openai.OpenAI(base_url=f"{address}/v1", api_key=KEY, max_retries=0) as client:
        yield client


def test_chats_whole_and_streamed(client):
    answer = client.chat.completions.create(model="facts", messages=QUESTION, extra_body={"plan_lookahead": 0})
    [choice] = answer.choices
    assert choice.message.content.startswith(CAPITAL) and choice.finish_reason == "stop"
    assert [part["topic"] for part in choice.plan[0]] == ["capital", "currency"]
    assert answer.usage.completion_tokens_details.plan_tokens == 12
    stream = client.chat.completions.create(
        model="facts", messages=QUESTION, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == choice.message.content and chunks[-1].usage == answer.usage


def test_samples_log_probabilities_and_texts_to_stop_at(client):
    answer = client.chat.completions.create(
        model="facts", messages=QUESTION, temperature=0.7, top_p=0.9, max_tokens=60, seed=3, n=2,
        stop=["atlas"], logprobs=True, top_logprobs=2,
    )  # fmt: skip
    assert [choice.message.content for choice in answer.choices] == ["The capital city of Kenya, as any "] * 2
    assert all(len(entry.top_logprobs) == 2 for entry in answer.choices[0].logprobs.content)
    text = client.completions.create(model="facts", prompt="What is the capital of Kenya?", logprobs=1)
    plan_tokens = text.usage.completion_tokens_details.plan_tokens
    assert text.choices[0].text == CAPITAL
    assert len(text.choices[0].logprobs.tokens) == text.usage.completion_tokens - plan_tokens
    pieces = client.completions.create(model="facts", prompt="What is the capital of Kenya?", stream=True)
    assert "".join(piece.choices[0].text for piece in pieces) == CAPITAL


def test_models_are_listed(client):
    assert [model.id for model in client.models.list()] == ["facts"]
    assert client.models.retrieve("facts").owned_by == "planned-diffusion"


def test_refusals_are_the_clients_errors(client, address):
    with pytest.raises(openai.BadRequestError, match="frequency_penalty is 0.5") as refused:
        client.chat.completions.create(model="facts", messages=QUESTION, frequency_penalty=0.5)
    assert refused.value.param == "frequency_penalty"
    with pytest.raises(openai.NotFoundError, match="not served"):
        client.chat.completions.create(model="gpt", messages=QUESTION)
    stranger = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
    with stranger, pytest.raises(openai.AuthenticationError):
        stranger.models.list()


def test_every_response_is_of_openais_types(facts_server):
    """As the types say, not as the client reads them, which lets everything through."""
    from openai.types import Completion, Model
    from openai.types.chat import ChatCompletion, ChatCompletionChunk

    content, asked = QUESTION[0]["content"], {"logprobs": True, "top_logprobs": 2, "temperature": 0.9, "n": 2}
    ChatCompletion.model_validate(facts_server.chat(content, **asked), strict=True)
    options = {"stream_options": {"include_usage": True}, "stream_plan": "drafts"}
    chunks = facts_server.stream(content, **asked, **options)
    assert len(chunks) > 5
    for chunk in chunks[:-1]:
        ChatCompletionChunk.model_validate(chunk, strict=True)
    text = {"model": "facts", "prompt": content, "logprobs": 2}
    Completion.model_validate(facts_server.post("/v1/completions", text)[1], strict=True)
    streamed = facts_server.ask("/v1/completions", {**text, "stream": True})[2]
    for data in streamed.split("\n\n")[:-2]:
        chunk = json.loads(data.removeprefix("data: "))
        for choice in chunk["choices"]:
            choice["finish_reason"] = choice["finish_reason"] or "stop"  # null as OpenAI sends it; the type has no null
        Completion.model_validate(chunk, strict=True)
    Model.model_validate_json(facts_server.ask("/v1/models/facts")[2], strict=True)


@pytest.mark.slow
def test_transformers_chat(facts, start):
    """The client of transformers asks whether the model is ready, and samples unless told otherwise."""
    with start({"facts": facts}) as server:
        done = subprocess.run(
            [sys.executable, "-m", "transformers.cli.transformers", "chat", "facts", server.url, "do_sample=False"],
            input="What is the capital of Kenya?\n!exit\n",
            env={**os.environ, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_UPDATE_CHECK": "1", "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    assert CAPITAL in done.stdout


@pytest.mark.slow
def test_llm(address, tmp_path):
    """The client llm, which streams; --no-stream asks for the whole answer."""
    pytest.importorskip("llm", reason="needs the client llm: pip install llm")
    model = f"- {{model_id: ours, model_name: facts, api_base: {address}/v1, api_key_name: ours}}\n"
    (tmp_path / "extra-openai-models.yaml").write_text(model)
    environment = {**os.environ, "LLM_USER_PATH": str(tmp_path), "LLM_LOAD_PLUGINS": ""}
    for options in ([], ["--no-stream", "-o", "temperature", "0"]):
        done = subprocess.run(
            [sys.executable, "-m", "llm", "What is the capital of Kenya?", "-m", "ours", "--key", KEY, *options],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == CAPITAL
