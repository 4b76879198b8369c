"""Servers that take no temperature, or no system message: options, and one more try without what a refusal names."""

import json
import logging
from functools import partial

import pytest

from planned_diffusion.annotation.llm import ask_all
from planned_diffusion.annotation.llm_endpoint import Endpoint, check_endpoint
from planned_diffusion.annotation.llm_request import Form
from planned_diffusion.annotation.pipeline import AnnotationJob, annotate_file
from planned_diffusion.cli.main import main

openai = pytest.importorskip("openai")

NO_TEMPERATURE = (
    "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) is supported."
)
NO_SYSTEM = "System role not supported"
ALTERNATE = "Conversation roles must alternate user/assistant/user/assistant/..."


def refusing(*words, status=400):
    """A reply function: refuses a temperature, system messages, or both, one after the other."""

    def refuse(endpoint, request):
        if "temperature" in words and "temperature" in request:
            return status, json.dumps({"error": {"message": NO_TEMPERATURE, "param": "temperature"}})
        if "system" in words and request["messages"][0]["role"] == "system":
            return status, json.dumps({"error": {"message": NO_SYSTEM}})
        if "alternate" in words and request["messages"][0]["role"] == "system":
            return status, json.dumps({"detail": ALTERNATE})
        return '{"rounds": []}'

    return refuse


@pytest.fixture
def run(jsonl, rows, tmp_path, facts, endpoint, monkeypatch):
    """run(refusal, form, count) -> the report of a job whose endpoint refuses as told."""
    monkeypatch.setattr(openai.AsyncOpenAI, "_calculate_retry_timeout", lambda *_, **__: 0.01)

    def run(refuse, form=None, count=3, concurrency=2):
        endpoint.reply = lambda chat, number: refuse(endpoint, endpoint.requests[number])
        job = AnnotationJob(str(jsonl(rows(count))), tmp_path / "out.jsonl", facts, annotator="llm", llm="fake")
        server = Endpoint("fake", endpoint.url, concurrency, retries=0, seconds=5, form=form or Form())
        return annotate_file(job, partial(ask_all, endpoint=server))

    return run


@pytest.mark.parametrize("status", [400, 422, 500])
@pytest.mark.parametrize("words", [(), ("temperature",), ("system",), ("alternate",), ("temperature", "system")])
def test_what_the_first_refusal_names_is_left_out_from_then_on(words, status, run, endpoint, caplog):
    with caplog.at_level(logging.WARNING):
        assert run(refusing(*words, status=status), count=4, concurrency=1)["kinds"] == {"plain": 4}
    assert len(endpoint.requests) == 4 + len(words) == 4 + len(caplog.records)
    last = endpoint.requests[-1]
    assert ("temperature" in last) is ("temperature" not in words)
    roles = [message["role"] for message in last["messages"]]
    assert roles == (["user"] if {"system", "alternate"} & set(words) else ["system", "user"])
    assert "You plan how an answer" in last["messages"][0]["content"] and "Request: " in last["messages"][-1]["content"]


def test_many_at_a_time_lose_no_record(run, endpoint):
    assert run(refusing("temperature", "system"), count=12, concurrency=6)["kinds"] == {"plain": 12}
    assert all("temperature" not in request for request in endpoint.requests[-6:])


def test_forms_that_are_asked_for(run, endpoint):
    assert run(refusing(), Form(temperature=None, system=False))["written"] == 3
    for request in endpoint.requests:
        assert "temperature" not in request and [message["role"] for message in request["messages"]] == ["user"]


def test_a_second_reply_is_asked_for_in_the_same_form(run, endpoint):
    def refuse(endpoint, request):
        return "No." if len(request["messages"]) == 1 else '{"rounds": []}'

    assert run(refuse, Form(None, False), count=1)["written"] == 1
    assert [message["role"] for message in endpoint.requests[1]["messages"]] == ["user", "assistant", "user"]


@pytest.mark.parametrize(
    ("status", "message", "says"),
    [
        (400, "max_tokens is required", "once the endpoint takes the request: see --temperature none and --no-system"),
        (422, "no", "once the endpoint takes the request"),
        (401, "temperature", "once OPENAI_API_KEY holds the endpoint's key"),
        (403, "no", "OPENAI_API_KEY"),
        (404, "no such model", "--endpoint .* and --llm name what the server has"),
        (503, "busy", r"Run the same command again to go on from there\.$"),
    ],
)
def test_other_refusals_are_no_reason_to_ask_otherwise_and_say_what_to_do(status, message, says, run, endpoint):
    body = json.dumps({"error": {"message": message}})
    with pytest.raises(RuntimeError, match=f"0 finished records are kept.*{says}"):
        run(lambda *_: (status, body), count=2, concurrency=1)
    assert len(endpoint.requests) == 1


def test_a_refusal_that_stays_ends_the_run(run, endpoint):
    body = json.dumps({"error": {"message": "temperature and system prompt are not supported"}})
    with pytest.raises(RuntimeError, match="BadRequestError"):
        run(lambda *_: (400, body), count=2, concurrency=1)
    assert len(endpoint.requests) == 2


def test_once_others_have_passed_a_refusal_is_about_its_record(run, endpoint):
    body = json.dumps({"error": {"message": "the system flagged this temperature record"}})
    report = run(lambda _, request: (400, body) if "number 1." in str(request) else '{"rounds": []}', concurrency=1)
    assert report["written"] == 2 and "temperature" in endpoint.requests[-1]


@pytest.mark.parametrize(
    ("arguments", "temperature", "roles"),
    [
        ([], 0.0, ["system", "user"]),
        (["--temperature", "0.6"], 0.6, ["system", "user"]),
        (["--temperature", "none", "--no-system"], None, ["user"]),
    ],
)
def test_options_of_the_command(arguments, temperature, roles, endpoint, jsonl, rows, tmp_path, capsys):
    command = ["annotate", str(jsonl(rows(1))), str(tmp_path / "out.jsonl"), "--annotator", "llm", "--llm", "fake"]
    assert main([*command, "--endpoint", endpoint.url, *arguments]) == 0
    [request] = endpoint.requests
    assert request.get("temperature") == temperature
    assert [message["role"] for message in request["messages"]] == roles


@pytest.mark.parametrize("temperature", ["hot", "-1", "nan", "inf"])
def test_a_temperature_that_is_none_is_refused(temperature, jsonl, rows, tmp_path, capsys):
    command = ["annotate", str(jsonl(rows(1))), str(tmp_path / "out.jsonl"), "--annotator", "llm", "--llm", "fake"]
    assert main([*command, "--endpoint", "http://127.0.0.1:9/v1", f"--temperature={temperature}"]) == 2
    assert "give a number of at least 0, or none" in capsys.readouterr().err


def test_a_form_is_checked():
    with pytest.raises(ValueError, match="temperature is -0.5"):
        check_endpoint(Endpoint("m", form=Form(-0.5)))
