"""Servers in this process: of the included model, whose answers are known, and of a tiny random planner."""

import contextlib
import copy
import http.client
import json
import socket
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="serving needs fastapi")
pytest.importorskip("prometheus_client", reason="serving needs prometheus-client")
import uvicorn

from planned_diffusion.inference.answer import Checkpoint, open_checkpoint
from planned_diffusion.inference.server.app import build_app
from planned_diffusion.inference.server.limits import Access, Limits
from planned_diffusion.inference.server.service import Service

sys.path.insert(0, str(Path(__file__).parent))  # for scripted_engine
ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}{% endfor %}{% if add_generation_prompt %}: {% endif %}"
)


@dataclass
class Running:
    """A server that listens: its address, and what is inside."""

    url: str
    service: Service
    server: uvicorn.Server

    def ask(self, path: str, body=None, **headers) -> tuple[int, dict, str]:
        """Post a body, JSON unless it is bytes, or get a path without one; return status, headers and text."""
        with self.opened(path, body, **headers) as response:
            return response.status, dict(response.headers), response.read().decode()

    def post(self, path: str, body, **headers) -> tuple[int, dict]:
        """Post a body; return status and the JSON that came back."""
        status, _, text = self.ask(path, body, **headers)
        return status, json.loads(text)

    def chat(self, content: str, **fields) -> dict:
        """Return the whole answer to a chat of one message."""
        body = {"model": self.model, "messages": [{"role": "user", "content": content}], **fields}
        status, answer = self.post("/v1/chat/completions", body)
        assert status == 200, answer
        return answer

    def sent(self, body) -> socket.socket:
        """Send a chat and return the open connection, on which the answer will come."""
        host, port = self.url.removeprefix("http://").split(":")
        content = json.dumps(body).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        connection = socket.create_connection((host, int(port)))
        connection.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        return connection

    def stream(self, content: str, **fields) -> "Chunks":
        """Return the chunks of a streamed chat."""
        body = {"model": self.model, "messages": [{"role": "user", "content": content}], "stream": True, **fields}
        status, headers, text = self.ask("/v1/chat/completions", body)
        assert status == 200 and headers["content-type"].startswith("text/event-stream"), text
        return Chunks.of(text)

    @contextlib.contextmanager
    def opened(self, path: str, body=None, **headers):
        """Open a response."""
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=60)
        given = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        known = {} if body is None else {"Content-Type": "application/json"}
        try:
            connection.request("GET" if body is None else "POST", path, given, known | headers)
            yield connection.getresponse()
        finally:
            connection.close()

    @property
    def model(self) -> str:
        """The first model's name; in front of another engine the name that its tests give theirs."""
        return next(iter(getattr(self.service, "models", ["facts"])))

    @property
    def leaks(self) -> dict[str, tuple[int, int, int]]:
        """Return what an idle server holds, by model: (answers in the engine, slots of the cache, places)."""
        engines, taken = self.service.engine.engines, self.service.admission.taken
        held = {name: (len(one), one.slots, taken.get(name, 0)) for name, one in engines.items()}
        return {name: counts for name, counts in held.items() if any(counts)}

    def settled(self, seconds: float = 10) -> dict[str, tuple[int, int, int]]:
        """Wait until the server is idle; return what it then still holds."""
        end = time.monotonic() + seconds
        while self.leaks and time.monotonic() < end:
            time.sleep(0.01)
        return self.leaks


class Chunks(list):
    """The chunks of a stream; the last one is "[DONE]" where it ended well. Comments are left out."""

    @classmethod
    def of(cls, text: str) -> "Chunks":
        datas = [event.removeprefix("data: ") for event in text.split("\n\n") if event.startswith("data: ")]
        return cls(data if data == "[DONE]" else json.loads(data) for data in datas)

    @property
    def choices(self) -> list[dict]:
        return [choice for chunk in self[:-1] for choice in chunk["choices"]]

    def text(self, index: int = 0) -> str:
        """Join the pieces of a choice."""
        deltas = [choice["delta"] for choice in self.choices if choice["index"] == index]
        return "".join(delta.get("content") or "" for delta in deltas)

    def reasons(self) -> list[str]:
        """Return why the choices ended."""
        return [choice["finish_reason"] for choice in self.choices if choice["finish_reason"]]


def running(checkpoints, limits: Limits | None = None, access: Access | None = None):
    """Serve checkpoints on a free port of this machine."""
    return running_app(build_app(checkpoints, limits, access))


@contextlib.contextmanager
def running_app(app):
    """Run an app on a free port of this machine."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="error", ws="none", timeout_graceful_shutdown=20)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield Running(f"http://127.0.0.1:{listening.getsockname()[1]}", app.state.service, server)
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def at():
    """at(url) -> a `Running` that is asked there; it runs in other processes, and nothing inside can be seen."""
    return lambda url: Running(url, None, None)


@pytest.fixture(scope="session")
def start():
    """start({name: checkpoint}, limits, access) -> a context with a `Running` server."""
    return running


@pytest.fixture(scope="session")
def start_app():
    """start_app(app) -> a context with a `Running` server of it."""
    return running_app


@pytest.fixture(scope="session")
def facts() -> Checkpoint:
    """The included model."""
    return open_checkpoint(str(ROOT / "checkpoints" / "facts"), "float32", "cpu")


@pytest.fixture(scope="session")
def tiny(planner, byte_tokenizer) -> Checkpoint:
    """A random model with a taste for plans, which reads and writes printable ASCII."""
    tokenizer = copy.deepcopy(byte_tokenizer)  # other tests change the template of theirs
    tokenizer.chat_template = TEMPLATE
    return Checkpoint(planner, tokenizer, "tiny")


@pytest.fixture(scope="session")
def facts_server(facts):
    """A server of the included model."""
    with running({"facts": facts}) as server:
        yield server


@pytest.fixture(scope="session")
def tiny_server(tiny):
    """A server of the random model with small limits."""
    with running({"tiny": tiny}, Limits(answer_tokens=200, choices=4)) as server:
        yield server
