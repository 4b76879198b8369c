"""The embedded tokenizer as a counter, files of rows, and a small endpoint that answers as it is told."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from local_server import LocalServer
from transformers import AutoTokenizer

from planned_diffusion import modeling_planned_diffusion  # noqa: F401 - registers the configuration
from planned_diffusion.annotation.tagging import TokenCounter

ROOT = Path(__file__).resolve().parents[2]
FACTS = ROOT / "checkpoints" / "facts"
DATA = ROOT.parent / "shared" / "data"
sys.path.insert(0, str(ROOT / "benchmarks"))  # fit_independence


@pytest.fixture(scope="session")
def tokenizer():
    return AutoTokenizer.from_pretrained(FACTS)


@pytest.fixture(scope="session")
def counter(tokenizer):
    return TokenCounter(tokenizer, 8)


@pytest.fixture(scope="session")
def facts() -> str:
    return str(FACTS)


@pytest.fixture(scope="session")
def shared_data():
    """shared_data("gsm8k/test.jsonl"): a file of the shared data; the test is skipped where it is absent."""

    def path(name: str) -> Path:
        if not (DATA / name).exists():
            pytest.skip(f"needs {name} of the shared data, which lie beside the project")
        return DATA / name

    return path


@pytest.fixture
def jsonl(tmp_path):
    """jsonl(rows, name="in.jsonl") writes a file and returns its path."""

    def write(rows, name: str = "in.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


TIPS = (
    "Here are three tips for a calm evening at home:\n"
    "1. Quiet light: switch the bright lamps off an hour before you go to bed.\n"
    "2. Fresh air: open the window for a while, whatever the weather is like.\n"
    "3. Warm drink: make a cup of herbal tea and drink it slowly by the stove.\n\n"
    "By following these tips you will sleep better."
)


@pytest.fixture(scope="session")
def tips() -> str:
    """An answer with a preamble that announces, three items, and a conclusion that refers to them."""
    return TIPS


@pytest.fixture
def rows():
    """rows(count): requests for tips, all different."""
    return lambda count: [
        {"prompt": f"Give me three tips, number {index}.", "response": TIPS, "id": index} for index in range(count)
    ]


class Endpoint:
    """An OpenAI-compatible server in a thread. `reply(chat, number)` gives the text of the reply to request `number`,
    or (status, body) to fail with; `chats` are the chats that were asked, `requests` the whole requests."""

    def __init__(self):
        self.chats: list[list[dict]] = []
        self.requests: list[dict] = []
        self.reply = lambda chat, number: '{"rounds": []}'
        self._lock = threading.Lock()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                chat = request["messages"]
                with endpoint._lock:
                    endpoint.requests.append(request)
                    endpoint.chats.append(chat)
                    number = len(endpoint.chats) - 1
                self._answer(endpoint.reply(chat, number))

            def _answer(self, reply):
                status, body = reply if isinstance(reply, tuple) else (200, json.dumps(_completion(reply)))
                body = body if isinstance(body, bytes) else body.encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = LocalServer(Handler)
        self.url = f"{self.server.url}/v1"


def _completion(text: str) -> dict:
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "fake",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }


@pytest.fixture
def endpoint():
    """A fresh `Endpoint`, shut down afterwards."""
    server = Endpoint()
    yield server
    server.server.close()
