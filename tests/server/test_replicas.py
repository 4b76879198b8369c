"""Replicas on Ray Serve: the same answers behind the same guard; a killed one costs its answers an error, no more."""

import http.client
import importlib.util
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from planned_diffusion.facts.countries import load_countries
from planned_diffusion.inference.answer import ask

KEY = {"Authorization": "Bearer sk-test"}
LOST = "The process that wrote this answer has ended before the answer did; ask again."
ANSWERS = "planned_diffusion_answers{"  # the metric of answers in the engine
PLAN = [[{"topic": "capital", "length": 120}, {"topic": "currency", "length": 120}]]
LONG = {
    "model": "facts", "messages": [{"role": "user", "content": "What are the capital and the currency of Kenya?"}],
    "plan": PLAN, "temperature": 1, "n": 16, "max_tokens": 400,
}  # fmt: skip
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finding replicas' processes needs /proc"),
]


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """command(*arguments) -> a process of `serve` by two replicas, its output and its errors."""
    if not all(map(importlib.util.find_spec, ("ray", "aiohttp", "watchfiles"))):  # the latter by ray[serve] alone
        pytest.skip("replicas need Ray Serve: pip install 'planned-diffusion[ray]'")
    folder, started = tmp_path_factory.mktemp("serve"), []
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}

    def start(*arguments):
        line = [sys.executable, "-m", "planned_diffusion", "serve", "--device", "cpu", "--dtype", "float32"]
        out, errors = folder / f"out{len(started)}", folder / f"errors{len(started)}"
        with out.open("w") as told, errors.open("w") as failed:
            process = subprocess.Popen(
                [*line, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=told, stderr=failed, env=environment
            )
        started.append(process)
        return process, out, errors

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def server(command, at, tmp_path_factory):
    """A server by two replicas with a key; `process` is its command."""
    key = tmp_path_factory.mktemp("key") / "key"
    key.write_text("sk-test")
    process, out, errors = command("--replicas", 2, "--port", 0, "--api-key-file", key, "--body-bytes", 5000)
    end = time.monotonic() + 300
    while not out.read_text().endswith("\n"):
        assert process.poll() is None and time.monotonic() < end, errors.read_text()
        time.sleep(0.1)
    said = out.read_text().split()
    assert said[:3] == ["Serving", "facts", "on"] and said[4:] == ["by", "2", "replicas"]
    server = at(said[3].removesuffix("/v1"))
    server.process = process
    return server


def replicas_of(process: subprocess.Popen) -> set[int]:
    """Return the process numbers of replicas that descend from a process."""
    parents, found = {}, set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if (folder / "cmdline").read_bytes().startswith(b"ray::ServeReplica"):
                found.add(int(folder.name))

    def descends(number: int) -> bool:
        return number == process.pid or (number in parents and descends(parents[number]))

    return {number for number in found if descends(number)}


def requests_of(count: int) -> list[dict]:
    """Return requests about countries, some of them cut, half of them streamed."""
    noise, names = random.Random(0), [country.name for country in load_countries()]
    distinct = [
        {
            "messages": [{"role": "user", "content": f"What are the capital and the currency of {name}?"}],
            "max_tokens": noise.choice((10, 25, 200)),
        }
        for name in noise.sample(names, 30)
    ]
    return [{"model": "facts", "stream": bool(n % 2), **distinct[n // 2 % 30]} for n in range(count)]


def outcome(server, request: dict) -> tuple[str, str]:
    """Return ("stop" or "length", text), or ("error", why): one of them, whole, in the form of its kind."""
    status, headers, text = server.ask("/v1/chat/completions", request, **KEY)
    if headers["content-type"] == "application/json":
        body = json.loads(text)
        if status != 200:
            return "error", body["error"]["message"]
        [choice] = body["choices"]
        return choice["finish_reason"], choice["message"]["content"]
    assert status == 200 and text.endswith("\n\n")
    *chunks, last = [event.removeprefix("data: ") for event in text.split("\n\n")[:-1] if event[0] != ":"]
    choices = [choice for chunk in chunks for choice in json.loads(chunk)["choices"]]
    reasons = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
    if last != "[DONE]":
        assert not reasons
        return "error", json.loads(last)["error"]["message"]
    [reason] = reasons
    return reason, "".join(choice["delta"].get("content") or "" for choice in choices)


def expected(facts, requests: list[dict]) -> list[tuple[str, str]]:
    """Return the outcomes of single runs."""
    known: dict[str, tuple[str, str]] = {}
    for request in requests:
        key = json.dumps([request["messages"], request["max_tokens"]])
        if key not in known:
            answer = ask(facts, request["messages"], {"max_new_tokens": request["max_tokens"], "do_sample": False})
            known[key] = ("length" if answer.ended == "length" else "stop", answer.text)
    return [known[json.dumps([request["messages"], request["max_tokens"]])] for request in requests]


def gauges(server, name: str, replicas: int, asked: int = 40) -> dict[str, float]:
    """Return the values of a metric by replica; each call of /metrics tells those of one."""
    found = {}
    for _ in range(asked):
        for line in server.ask("/metrics", **KEY)[2].splitlines():
            if line.startswith(name):
                found[line.split('replica="')[1].split('"')[0]] = float(line.split()[-1])
        if len(found) >= replicas:
            break
    return found


def descendants(number: int) -> set[int]:
    """Return the process numbers of children, their children, and so on."""
    children = {
        int(child) for file in Path(f"/proc/{number}/task").glob("*/children") for child in file.read_text().split()
    }
    return children.union(*map(descendants, children))


def test_answers_and_refusals_are_those_of_one_process(server, facts):
    requests = requests_of(12)
    assert [outcome(server, request) for request in requests] == expected(facts, requests)
    assert server.ask("/v1/models")[0] == 401 and server.ask("/health")[0] == 200
    assert json.loads(server.ask("/v1/models", **KEY)[2])["data"][0]["id"] == "facts"
    assert server.ask("/v1/models", **KEY, Host="evil.org")[0] == 403
    assert server.ask("/v1/models", **KEY, Origin="https://evil.org")[0] == 403
    status, body = server.post("/v1/chat/completions", {**requests[0], "n": 0}, **KEY)
    assert (status, body["error"]["param"]) == (400, "n")
    assert server.post("/v1/chat/completions", b"x" * 6000, **KEY)[0] == 413
    assert set(gauges(server, ANSWERS, 2).values()) == {0.0}


def test_answers_of_clients_that_leave_are_dropped(server):
    for times, stream in enumerate((True, False), 1):
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"))
        body = json.dumps({**LONG, "stream": stream})
        connection.request("POST", "/v1/chat/completions", body, {**KEY, "Content-Type": "application/json"})
        end = time.monotonic() + 120
        while not any(gauges(server, ANSWERS, 2).values()):
            assert time.monotonic() < end
        connection.close()
        while any(gauges(server, ANSWERS, 2).values()):
            assert time.monotonic() < end
            time.sleep(0.1)
        dropped = gauges(server, 'planned_diffusion_answers_ended_total{end="dropped"', 2)
        assert sum(dropped.values()) == 16 * times


def test_a_killed_replica_costs_its_answers_an_error_and_nothing_else(server, facts):
    requests = requests_of(300)
    before, numbers = replicas_of(server.process), itertools.count()
    assert len(before) == 2

    def answered(request: dict) -> tuple[str, str]:
        found = outcome(server, request)
        if next(numbers) == 60:
            os.kill(min(before), signal.SIGKILL)
        return found

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(answered, requests))
    lost = [answer for answer in answers if answer[0] == "error"]
    assert 1 <= len(lost) <= 16 and set(lost) == {("error", LOST)}
    for request, answer, single in zip(requests, answers, expected(facts, requests), strict=True):
        assert answer[0] == "error" or answer == single, request
    end = time.monotonic() + 120
    while len(replicas_of(server.process)) < 2 or len(gauges(server, ANSWERS, 2)) < 2:
        assert time.monotonic() < end
        time.sleep(0.5)
    assert min(before) not in replicas_of(server.process)


def test_running_answers_end_before_the_server_does_and_no_ray_is_left(server):
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(server.post, "/v1/chat/completions", LONG, **KEY)
        end = time.monotonic() + 60
        while not any(gauges(server, ANSWERS, 2).values()):
            assert time.monotonic() < end
        family = descendants(server.process.pid)
        server.process.send_signal(signal.SIGINT)
        status, body = answer.result()
    assert status == 200 and [choice["finish_reason"] for choice in body["choices"]] == ["stop"] * 16, body
    assert server.process.wait(150) == 130  # 40 s at most for the answers; Ray takes its own time on a busy machine
    assert family and not [number for number in family if Path(f"/proc/{number}").exists()]
