"""Another engine that does what a test says, and remembers what it was asked."""

import contextlib
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from local_server import LocalServer

RETRY_AT_ONCE = {"retry-after-ms": "1"}


@dataclass
class Reply:
    """A reply: of a status, with a body in JSON or as bytes; `cut` closes the connection in the middle of it."""

    body: object
    status: int = 200
    headers: dict = field(default_factory=dict)
    cut: bool = False


def completion(text, prompt=10, written=5, reason="stop", **fields) -> dict:
    """Return a chat completion."""
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}
    choice = {"index": 0, "message": message, "finish_reason": reason}
    head = {"id": "x", "object": "chat.completion", "created": 1, "model": "facts"}
    return {**head, "choices": [choice], "usage": usage, **fields}


def outline(*rounds) -> str:
    """Return an outline in JSON, from rounds of (topic, tokens)."""
    return json.dumps({"rounds": [[{"topic": topic, "tokens": tokens} for topic, tokens in one] for one in rounds]})


def chunks(*texts, reason="stop", done=True) -> bytes:
    """Return the events of a stream."""
    deltas = [({"role": "assistant", "content": text}, None) for text in texts]
    deltas += [({}, reason)] if reason else []
    events = [
        {
            "id": "x", "object": "chat.completion.chunk", "created": 1, "model": "facts",
            "choices": [{"index": 0, "delta": delta, "finish_reason": ended}],
        }
        for delta, ended in deltas
    ]  # fmt: skip
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    events += [{**events[0], "choices": [], "usage": usage}] if reason else []
    return "".join(f"data: {json.dumps(one)}\n\n" for one in events).encode() + (b"data: [DONE]\n\n" if done else b"")


@dataclass
class ScriptedEngine:
    """An engine with OpenAI's API, whose replies come from `script(body)`: a text, a `Reply`, or any JSON.

    bodies: of the requests, in the order in which they came.
    left: requests whose client left before the reply.
    """

    script: object = None
    bodies: list = field(default_factory=list)
    keys: list = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    left: int = 0
    url: str = ""
    released: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def questions(self) -> list[str]:
        """The last message of each chat that was asked."""
        return [body["messages"][-1]["content"] for body in self.bodies]

    def wait(self, handler, seconds: float = 20) -> bool:
        """Wait until the test releases it; return False where the client left before that."""
        handler.connection.settimeout(0.02)
        end = time.monotonic() + seconds
        while not self.released.is_set() and time.monotonic() < end:
            with contextlib.suppress(TimeoutError):
                if handler.connection.recv(1) == b"":
                    self.left += 1
                    return False
        handler.connection.settimeout(None)
        return True


@contextlib.contextmanager
def scripted_engine(script):
    """Run an engine on a free port of this machine."""
    engine = ScriptedEngine(script)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.send({"object": "list", "data": [{"id": "facts", "object": "model", "created": 7, "owned_by": "me"}]})

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with engine.lock:
                engine.bodies.append(body)
                engine.keys.append(self.headers.get("Authorization"))
                engine.at_once += 1
                engine.most_at_once = max(engine.most_at_once, engine.at_once)
            try:
                reply = engine.script(body)
                if reply is ...:  # it hangs until it is released
                    if not engine.wait(self):
                        self.close_connection = True
                        return
                    reply = "late"
                self.send(completion(reply) if isinstance(reply, str) else reply)
            finally:
                with engine.lock:
                    engine.at_once -= 1

        def send(self, reply):
            reply = reply if isinstance(reply, Reply) else Reply(reply)
            content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            is_stream = content.startswith(b"data: ")
            self.send_response(reply.status)
            self.send_header("Content-Type", "text/event-stream" if is_stream else "application/json")
            self.send_header("Content-Length", str(len(content) + (100 if reply.cut else 0)))
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)
            self.close_connection = self.close_connection or reply.cut

        def log_message(self, *given):
            pass

    server = LocalServer(Handler)
    engine.url = f"{server.url}/v1"
    try:
        yield engine
    finally:
        engine.released.set()
        server.close()
