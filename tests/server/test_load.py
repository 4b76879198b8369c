"""Many clients at a time, some of whom leave: every answer is that of its single run, and nothing is left behind."""

import gc
import itertools
import json
import random
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from planned_diffusion.generation.decoders.table import DECODERS
from planned_diffusion.inference.answer import ask

PROMPTS = ("abc", "K9 what", "zz top", "a longer prompt of some words", "abcd")


def load(count: int, seed: int) -> list[dict]:
    """Return so many requests: decoders, prompts, samples and limits mixed; a fifth of them is aborted."""
    noise, decoders = random.Random(seed), itertools.cycle(DECODERS)
    return [
        {
            "prompt": noise.choice(PROMPTS),
            "decoding": next(decoders),
            "temperature": noise.choice((0, 0.9)),
            "seed": noise.randrange(5),
            "max_tokens": noise.choice((12, 50, 80)),
            "stream": noise.random() < 0.5,
            "abort": noise.random() < 0.2,
        }
        for _ in range(count)
    ]


def answered(server, request: dict) -> tuple[str, str] | None:
    """Return text and finish reason as the server gives them; None where the client leaves early."""
    fields = {name: value for name, value in request.items() if name not in ("prompt", "abort")}
    if request["abort"]:
        body = {"model": "tiny", "messages": [{"role": "user", "content": request["prompt"]}], **fields}
        if request["stream"]:
            with server.opened("/v1/chat/completions", body) as response:
                response.read(30)
        else:
            server.sent(body).close()
        return None
    if request["stream"]:
        chunks = server.stream(request["prompt"], **fields)
        return chunks.text(), chunks.reasons()[0]
    [choice] = server.chat(request["prompt"], **fields)["choices"]
    return choice["message"]["content"], choice["finish_reason"]


def alone(tiny, request: dict) -> tuple[str, str]:
    """Return text and finish reason of a single run."""
    fields = {name: request[name] for name in ("decoding", "temperature", "seed")}
    sampled = {**fields, "do_sample": fields["temperature"] > 0, "max_new_tokens": request["max_tokens"]}
    answer = ask(tiny, request["prompt"], sampled)
    return answer.text, "length" if answer.ended == "length" else "stop"


def check(count: int, users: int, seed: int, tiny, server) -> None:
    """Send requests from so many users; compare every answer with its single run."""
    requests = load(count, seed)
    with ThreadPoolExecutor(users) as pool:
        answers = list(pool.map(lambda request: answered(server, request), requests))
    expected: dict[str, tuple[str, str]] = {}
    for request, answer in zip(requests, answers, strict=True):
        if answer is not None:
            key = json.dumps({**request, "stream": None, "abort": None})
            if key not in expected:
                expected[key] = alone(tiny, request)
            assert answer == expected[key], request
    assert sum(answer is None for answer in answers) > count / 10
    assert server.settled() == {}


def test_every_answer_under_load_is_that_of_its_single_run(tiny, tiny_server):
    check(80, 16, 0, tiny, tiny_server)


def tensor_bytes() -> int:
    """Return the bytes of all tensors that are alive, those that share memory counted once."""
    ordinary = (torch.Tensor, torch.nn.Parameter)  # no tensors without a memory, which compilation leaves
    tensors = [one for one in gc.get_objects() if type(one) in ordinary and one.layout == torch.strided]
    return sum({one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in tensors}.values())


@pytest.mark.slow
def test_a_thousand_requests_leave_nothing_behind(tiny, start):
    with start({"tiny": tiny}) as server:
        check(200, 64, 1, tiny, server)  # pools, caches and buffers have grown
        gc.collect()
        tracemalloc.start()
        before, tensors_before = tracemalloc.get_traced_memory()[0], tensor_bytes()
        check(1000, 64, 2, tiny, server)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert tensor_bytes() - tensors_before < 2**20
        assert grown < 2**20, f"{grown} bytes more"
