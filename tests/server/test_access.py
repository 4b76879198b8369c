"""Who may ask, what a request can name, and what answers give away: nothing."""

import json
import re

import pytest
from transformers import AutoTokenizer

from planned_diffusion.generation.tokens import SPELLING
from planned_diffusion.inference.server.limits import Access
from planned_diffusion.inference.server.run_server import Address, Serving

CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "abc"}], "max_tokens": 5}
KEY = "sk-secret"


@pytest.fixture(scope="module")
def locked(tiny, start):
    """A server with a key, a name and a page that may call it."""
    access = Access(KEY, hosts=("models.example.org",), origins=("https://chat.example.org",))
    with start({"tiny": tiny}, access=access) as server:
        yield server


def asked(server, **headers) -> int:
    return server.ask("/v1/chat/completions", CHAT, **headers)[0]


def test_the_key_opens(locked):
    assert asked(locked, Authorization=f"Bearer {KEY}") == 200
    assert asked(locked, Authorization=f"bearer  {KEY}") == 200


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer ", f"Basic {KEY}", KEY, "Bearer sk-secre", f"Bearer {KEY}x"])
def test_anything_else_does_not(given, locked):
    status, headers, text = locked.ask("/v1/chat/completions", CHAT, Authorization=given)
    assert status == 401 and headers["www-authenticate"] == "Bearer"
    error = json.loads(text)["error"]
    assert error["code"] == "invalid_api_key" and KEY not in error["message"]


@pytest.mark.parametrize("path", ["/v1/models", "/metrics", "/v1/models/tiny", "/nope"])
def test_everything_but_health_needs_the_key(path, locked):
    assert locked.ask(path)[0] == 401
    assert locked.ask("/health")[0] == 200


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8000", "127.0.0.1:1", "[::1]:1", "10.1.2.3", "Models.Example.org"]
)
def test_known_hosts_are_served(host, locked):
    assert asked(locked, Authorization=f"Bearer {KEY}", Host=host) == 200


@pytest.mark.parametrize("host", ["evil.org", "localhost.evil.org", "evil.org:8000", "", "[::1", "127.0.0.1.evil.org"])
def test_a_stranger_who_resolves_to_this_machine_is_refused(host, locked, tiny_server):
    for server in (locked, tiny_server):
        status, answer = server.post("/v1/chat/completions", CHAT, Authorization=f"Bearer {KEY}", Host=host)
        assert status == 403 and answer["error"]["code"] == "host_not_allowed"
        assert server.ask("/health", Host=host)[0] == 403


@pytest.mark.parametrize(
    "origin", ["https://evil.org", "null", "http://localhost:3000", "https://chat.example.org.evil"]
)
def test_pages_of_others_are_refused(origin, locked, tiny_server):
    for server in (locked, tiny_server):
        status, answer = server.post("/v1/chat/completions", CHAT, Authorization=f"Bearer {KEY}", Origin=origin)
        assert status == 403 and answer["error"]["code"] == "origin_not_allowed"


def test_a_page_that_was_named_may_call(locked, tiny_server):
    page = "https://chat.example.org"
    status, headers, _ = locked.ask("/v1/chat/completions", CHAT, Authorization=f"Bearer {KEY}", Origin=page)
    assert status == 200 and headers["access-control-allow-origin"] == page
    assert "access-control-allow-origin" not in tiny_server.ask("/v1/models")[1]


@pytest.mark.parametrize(
    "path", ["/docs", "/redoc", "/openapi.json", "/unload_model", "/reset", "/v1/models/..%2f..%2fetc"]
)
def test_there_is_nothing_else(path, tiny_server):
    status, _, text = tiny_server.ask(path)
    assert status == 404 and json.loads(text)["error"]["type"] == "invalid_request_error"


def test_a_model_that_is_served_is_ready_and_others_are_not_loaded(tiny_server):
    status, _, text = tiny_server.ask("/load_model", {"model": "tiny"})
    assert status == 200 and text == 'data: {"status": "ready", "cached": true}\n\n'
    assert tiny_server.ask("/load_model", {"model": "owner/name"})[0] == 404
    assert list(tiny_server.service.models) == ["tiny"]


def test_a_failure_gives_nothing_away(tiny, start, monkeypatch):
    from planned_diffusion.inference.server.responses import Shape

    def fail(self, answers):
        raise RuntimeError("/home/someone/secret.py")

    with start({"tiny": tiny}) as server:
        monkeypatch.setattr(Shape, "whole", fail)
        status, answer = server.post("/v1/chat/completions", CHAT)
        assert status == 500 and answer["error"] == {
            "message": "The server failed to answer this request; its log says why.",
            "type": "server_error",
            "param": None,
            "code": None,
        }
        assert server.settled() == {}


TAGS = [*SPELLING.values(), "<|mask|>", "<|end|>", "<|user|>", "<|assistant|>", "<|pad|>"]


@pytest.mark.parametrize("tag", [*TAGS, " ".join(TAGS)])
def test_control_tags_in_any_text_stay_text(tag, facts, facts_server):
    """A tag is one control token, and as text several: no id of a tag is in the prompt but the template's own."""
    tokenizer = AutoTokenizer.from_pretrained(facts.source, trust_remote_code=False)
    question = f"What {tag} is the capital of Kenya?"
    as_text = tokenizer(question, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    own = tokenizer("")["input_ids"]
    bodies = (
        {"messages": [{"role": "user", "content": question}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": question}]}]},
        {"prompt": question},
    )
    for body in bodies:
        _, told = facts_server.post("/tokenize", {"model": "facts", **body})
        assert told["tokens"] == [own[0], *as_text, own[1]]
    chat = facts_server.chat(question, max_tokens=8)
    assert chat["usage"]["prompt_tokens"] == len(as_text) + len(own)


def test_control_tags_in_a_plan_stay_text(facts, facts_server):
    plan = [[{"topic": "capital</topic><async>", "length": 24}]]
    [choice] = facts_server.chat("What is the capital of Kenya?", plan=plan)["choices"]
    assert choice["plan"][0][0]["topic"] == "capital</topic><async>"


# Start


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "models.example.org"])
def test_other_machines_need_a_key(host):
    with pytest.raises(ValueError, match=rf"Other machines reach {re.escape(host)}, and there is no API key"):
        Serving(Address(host))
    assert Serving(Address(host), access=Access(KEY)).access.api_key == KEY


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_this_machine_needs_none(host):
    assert Serving(Address(host)).access.api_key is None


@pytest.mark.parametrize("key", ["", " ", "a\nb", "schlüssel", " a"])
def test_a_key_that_no_header_carries_is_refused(key):
    with pytest.raises(ValueError, match="The API key is empty or holds characters"):
        Access(key)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_out_of_range_is_refused(port):
    with pytest.raises(ValueError, match=rf"port is {port}; give a number from 1 to 65535"):
        Address(port=port)
