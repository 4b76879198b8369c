"""Requests of every decoder in one engine run: each answers as if alone."""

import pytest
import torch

from planned_diffusion.generation.decoders.table import DECODERS
from planned_diffusion.generation.engine.engine import Engine
from planned_diffusion.generation.events import Ended, Forward, TokensWritten
from planned_diffusion.generation.fields import Settings
from planned_diffusion.generation.plan import Unit
from planned_diffusion.generation.query import Request, Sampling

VARIANTS = [
    ("planned", {"steps_ratio": 0.5}),
    ("planned", {"unmasking_rule": "factor", "span_attention": "dense"}),
    ("autoregressive", {}),
    ("diffusion", {"unmasking_rule": "entropy_bound", "entropy_bound": 1.0}),
    ("fast_dllm", {"block_size": 8, "confidence_threshold": 0.3}),
    ("block_diffusion", {"block_size": 5}),
    ("adaptive_parallel", {"max_lookahead": 6, "kv_window": 2}),
    ("parallel_autoregressive", {}),
    ("self_verified", {"steps_ratio": 0.2}),
    ("speculative", {"draft_tokens": 3}),
    ("parallel_speculative", {"draft_tokens": 3}),
]
DRAFTING = [decoder.run for decoder in DECODERS.values() if "draft_tokens" in decoder.reads]


def requests_of(tokens, prompts, samplings) -> list[tuple]:
    made = []
    for index, ((name, fields), prompt) in enumerate(zip(VARIANTS, prompts(len(VARIANTS), 30, seed=4), strict=True)):
        suppressed = tokens.tags - {tokens.span_pad}
        suppressed |= set(tokens.eos) if DECODERS[name].plans else set()
        settings = Settings(max_new_tokens=40 + index, max_spans=3, suppress_in_spans=suppressed, **fields)
        sampling = samplings[index % len(samplings)]
        made.append((DECODERS[name].run, Request(tuple(prompt), tokens, Unit(2.0), settings, sampling)))
    return made


@torch.no_grad()
def outcomes(engine: Engine, requests) -> list[tuple]:
    """Per request what was written, in order, its forwards, and its end."""
    numbers = [engine.add(decoder(request), request.sampling) for decoder, request in requests]
    seen = {number: ([], [], []) for number in numbers}
    for number, event in engine.run():
        written, forwards, ended = seen[number]
        if isinstance(event, TokensWritten):
            written.append((event.positions, event.token_ids))
        if isinstance(event, Forward):
            forwards.append(event)
        if isinstance(event, Ended):
            ended.append(event)
    assert all(runner.slots.taken == 0 for runner in engine.runners)
    return [seen[number] for number in numbers]


@pytest.mark.slow
@pytest.mark.parametrize(
    "samplings",
    [[Sampling()], [Sampling(temperature=0.8, seed=3), Sampling(), Sampling(temperature=1.0, top_p=0.9, seed=4)]],
    ids=["greedy", "sampled"],
)
@pytest.mark.parametrize("live", [64, 3])
def test_every_decoder_in_one_run_is_each_alone(live, samplings, planner, golden_tokens, prompts):
    requests = requests_of(golden_tokens, prompts, samplings)
    alone = [outcomes(Engine(planner), [request])[0] for request in requests]
    together = outcomes(Engine(planner, live_requests=live), requests)
    for (decoder, _), one, other in zip(requests, alone, together, strict=True):
        if decoder in DRAFTING:  # how many guesses are free, and so the steps, depends on who shares the forward
            assert one[-1] == other[-1]
        else:
            assert one == other
    assert all(written for written, _, _ in alone)


def test_every_decoder_is_covered():
    assert {name for name, _ in VARIANTS} == set(DECODERS)


def test_forwards_of_the_assistant_are_shared_too(planner, build_model, golden_tokens, prompts):
    from dataclasses import replace

    requests = [
        (decoder, replace(request, has_assistant=True))
        for decoder, request in requests_of(golden_tokens, prompts, [Sampling()])
        if decoder is DECODERS["adaptive_parallel"].run
    ]
    requests += [(decoder, replace(request, prompt_ids=(9, 8, 7))) for decoder, request in requests]
    requests += requests_of(golden_tokens, prompts, [Sampling()])[:3]
    assistant = build_model("llama", seed=5)
    alone = [outcomes(Engine(planner, assistant=assistant), [request])[0] for request in requests]
    assert outcomes(Engine(planner, assistant=assistant), requests) == alone
