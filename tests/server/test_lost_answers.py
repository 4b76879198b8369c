"""What of replicas needs no Ray: errors of its proxy in the form of the server's, and one replica."""

import asyncio
import json
from pathlib import Path

import pytest
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse

from planned_diffusion.inference.server.limits import Limits
from planned_diffusion.inference.server.lost_answers import ClearErrors, middlewares
from planned_diffusion.inference.server.ray_serving import failure_in
from planned_diffusion.inference.server.replica import ModelSource, Replica
from planned_diffusion.inference.server.run_server import Serving

ROOT = Path(__file__).resolve().parents[2]
FACTS = str(ROOT / "checkpoints" / "facts")
LOST = "The process that wrote this answer has ended before the answer did; ask again."
AWAY = "The server is starting or stopping, and nothing answers at the moment; try again later."


# Errors of Ray's proxy


def response_of(app, path: str = "/v1/models", headers=()) -> tuple[int, str, str, bool]:
    """Return status, type and text of the response through the middleware, and whether it is whole."""
    messages = []

    async def send(message):
        messages.append(message)

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "path": path, "method": "GET", "headers": list(headers)}
    asyncio.run(ClearErrors(app)(scope, receive, send))
    start, *bodies = messages
    text = b"".join(body["body"] for body in bodies).decode()
    return start["status"], dict(start["headers"])[b"content-type"].decode(), text, not bodies[-1].get("more_body")


async def silent(scope, receive, send):
    """Answer as Ray's proxy does where the replica is lost."""


def half(kind: str):
    """Return an app that is lost in the middle of a response of that type."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind.encode())]})
        await send({"type": "http.response.body", "body": b"data: {}\n\n", "more_body": True})

    return app


def test_an_answer_that_is_lost_before_its_beginning_is_an_error():
    status, kind, text, is_whole = response_of(silent)
    assert (status, kind, is_whole) == (503, "application/json", True)
    assert json.loads(text)["error"] == {
        "message": LOST, "type": "server_error", "param": None, "code": "replica_lost",
    }  # fmt: skip


def test_a_stream_that_is_lost_in_its_middle_ends_by_an_error():
    status, _, text, is_whole = response_of(half("text/event-stream; charset=utf-8"))
    first, last, nothing = text.split("\n\n")
    assert (status, first, nothing, is_whole) == (200, "data: {}", "", True)
    assert json.loads(last.removeprefix("data: "))["error"]["message"] == LOST
    *_, is_whole = response_of(half("application/json"))  # which cannot be mended: the connection is closed
    assert not is_whole


@pytest.mark.parametrize("status", [404, 429, 500, 503])
def test_errors_of_ray_in_plain_text_have_the_form_of_the_servers(status):
    found, kind, text, _ = response_of(PlainTextResponse("Path not found.", status))
    assert (found, kind) == (503, "application/json") and json.loads(text)["error"]["message"] == AWAY


@pytest.mark.parametrize(
    "response",
    [
        JSONResponse({"error": {}}, 404),
        PlainTextResponse("a 1.0"),
        StreamingResponse(iter(["data: {}\n\n", "data: [DONE]\n\n"]), media_type="text/event-stream"),
    ],
)
def test_whole_responses_pass_as_they_are(response):
    plain = []

    async def app(scope, receive, send):
        async def noting(message):
            plain.append(message)
            await send(message)

        await response({**scope, "asgi": {"spec_version": "2.4"}}, receive, noting)

    status, _, text, is_whole = response_of(app)
    assert (status, is_whole) == (plain[0]["status"], True)
    assert text.encode() == b"".join(message["body"] for message in plain[1:])


def test_rays_own_addresses_pass_and_orders_to_ray_do_not():
    assert response_of(PlainTextResponse("no", 503), "/-/healthz")[2] == "no"
    seen = []

    async def app(scope, receive, send):
        seen.extend(name for name, _ in scope["headers"])
        await JSONResponse({})(scope, receive, send)

    orders = [b"x-request-disconnect-disabled", b"serve_multiplexed_model_id", b"x-session-id"]
    response_of(app, headers=[(name, b"?1") for name in (*orders, b"host", b"authorization")])
    assert seen == [b"host", b"authorization"]
    assert [one.cls for one in middlewares()] == [ClearErrors]


# A replica, without Ray


def test_a_replica_serves_and_tells_its_name_in_metrics(start_app):
    replica = Replica({"facts": ModelSource(FACTS, "float32", "cpu")}, Serving(limits=Limits(queue=3)), "r1")
    with pytest.raises(RuntimeError, match="The engine has stopped"):
        replica.check_health()  # not started
    with start_app(replica.__serve_build_asgi_app__()) as server:
        replica.check_health()
        assert "Nairobi" in server.chat("What is the capital of Kenya?")["choices"][0]["message"]["content"]
        metrics = server.ask("/metrics")[2]
        assert 'planned_diffusion_answers_ended_total{end="stop",model="facts",replica="r1"} 1.0' in metrics
        assert all('replica="r1"' in line for line in metrics.splitlines() if not line.startswith("#"))
        assert server.service.limits.queue == 3


TRACEBACK = """Error:
ray::ServeReplica.initialize() (pid=1)
  File "a.py", line 1, in load
    raise OSError("No file.")
OSError: No file.

The above exception was the direct cause of the following exception:

  File "b.py", line 2, in open
"""


@pytest.mark.parametrize(
    ("told", "kind", "says"),
    [
        (TRACEBACK + "ValueError: It is none: No\nfile.", ValueError, "It is none: No\nfile."),
        (TRACEBACK + "torch.OutOfMemoryError: CUDA", RuntimeError, "A replica failed: torch.OutOfMemoryError: CUDA"),
        ("It is unhealthy.", RuntimeError, "The replicas could not start: It is unhealthy."),
    ],
)  # fmt: skip
def test_why_a_replica_did_not_start_is_the_last_error(told, kind, says):
    failure = failure_in(told)
    assert type(failure) is kind and str(failure) == says
