"""Random bodies near to good ones: each is answered or refused in OpenAI's form, never by an error of the server."""

import copy
import json
import random

import pytest

from planned_diffusion.generation.decoders.table import DECODERS
from planned_diffusion.inference.server.body_reading import own_fields

CHAT, TEXT, TOKENS = "/v1/chat/completions", "/v1/completions", "/tokenize"
GOOD = {
    CHAT: {
        "model": "tiny",
        "messages": [
            {"role": "system", "content": "Be."}, {"role": "user", "content": [{"type": "text", "text": "abc"}]},
        ],
        "max_tokens": 60, "temperature": 0.5, "top_p": 0.9, "n": 1, "seed": 3, "stop": ["x"], "logprobs": True,
        "top_logprobs": 2, "decoding": "planned", "steps_ratio": 0.5, "confidence_threshold": 0.9, "stream": False,
        "plan": [[{"topic": "a", "length": 3}, {"topic": "b", "text": "bc", "keep": True}]],
        "response_format": {"type": "text"}, "generation_config": '{"do_sample": true}',
    },
    TEXT: {"model": "tiny", "prompt": ["abc"], "max_tokens": 8, "logprobs": 1, "echo": False, "plan_lookahead": 2},
    TOKENS: {"model": "tiny", "messages": [{"role": "user", "content": "abc"}]},
}  # fmt: skip
VALUES = (
    None, True, False, 0, 1, -1, 2, 0.5, -0.5, 10**6, 10**30, 1e308, "", "a", "tiny", "\x00", "é", "<async>",
    "\U0001f600",
    "a\ud800", [], {}, [None], ["a"], [[]], {"a": 1}, {"type": "text"}, {"role": "user", "content": "a"}, [1, 2],
    "planned", *DECODERS, "none", "random", "dense", "2", " ", "[PAD]", {"topic": "a", "length": 2}, [[["a", 3]]],
)  # fmt: skip


def places(value, path=()) -> list[tuple]:
    """Return the paths of everything inside a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, inner in items for place in places(inner, (*path, key)))]


def changed(body: dict, noise: random.Random) -> dict:
    """Return a body in which a few things are dropped, replaced, added or doubled."""
    body = copy.deepcopy(body)
    for _ in range(noise.choice((1, 1, 2, 3))):
        *above, last = noise.choice([place for place in places(body) if place] or [("model",)])
        owner = body
        for key in above:
            owner = owner[key]
        kind = noise.randrange(4)
        if kind == 0 and (isinstance(owner, list) or last in owner):
            del owner[last]
        elif kind == 1 and isinstance(owner, dict):
            owner[noise.choice([*own_fields(), "mood", "tools", "response_format", "n", "stream"])] = noise.choice(
                VALUES
            )
        elif kind == 2 and isinstance(owner, list):
            owner.append(copy.deepcopy(owner[0]) if owner else None)
        else:
            owner[last] = copy.deepcopy(noise.choice(VALUES))
    return body


def test_the_bodies_themselves_are_good(tiny_server):
    for path, body in GOOD.items():
        status, answer = tiny_server.post(path, body)
        assert status == 200, answer


def check(count: int, seed: int, server) -> None:
    noise, statuses = random.Random(seed), []
    for _ in range(count):
        path = noise.choice((CHAT, CHAT, CHAT, TEXT, TOKENS))
        body = changed(GOOD[path], noise)
        status, headers, text = server.ask(path, body)
        statuses.append(status)
        if status == 200 and "event-stream" in headers["content-type"]:
            assert text.endswith("data: [DONE]\n\n"), (body, text)
            continue
        answer = json.loads(text)
        assert status in (200, 400, 404), (body, answer)
        if status != 200:
            error = answer["error"]
            assert error["type"] == "invalid_request_error" and error["message"].endswith((".", ")")), (body, error)
            leaks = [word for word in ("Traceback", "site-packages", " object at 0x") if word in error["message"]]
            assert not leaks, (body, error)
    assert server.ask("/health")[0] == 200 and server.settled() == {}
    assert statuses.count(200) > count / 20 and statuses.count(400) > count / 3


def test_random_bodies_are_answered_or_refused(tiny_server):
    check(150, 0, tiny_server)


@pytest.mark.slow
def test_many_random_bodies_are_answered_or_refused(tiny_server):
    check(3000, 1, tiny_server)
