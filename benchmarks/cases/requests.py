"""Whole requests with the paper's plan statistics, and a mix: planned, left to right, native `generate`, idealised."""

from collections.abc import Callable

import torch
from bench import Bench, affordable, run_through
from harness import interleaved, ratio, timing
from ideal import Ideal
from models import native_twin
from plans import AUTOREGRESSIVE_TOKENS, MIX, PAPER, Scripted, autoregressive_request, recorded, scripted_request
from roofline import Work, forward_work

from planned_diffusion.generation.query import Query, Sampling

PROMPT = 64  # tokens
TOGETHER = 8  # requests of the mix
SHORT = 64  # tokens of the comparison with native `generate`


def paper(bench: Bench) -> list[dict]:
    """The paper's average planned answer against its average left-to-right one of 367 tokens."""
    one = _seconds_of_one(bench)
    total = PAPER.plan_tokens + PAPER.steps + AUTOREGRESSIVE_TOKENS
    if not affordable(bench, one * total):
        return [{"request": "planned", "note": f"not run: more than {bench.point_s:g} s"}]
    prompt = bench.prompt(PROMPT)
    ideal, planned_work = idealised(bench, PAPER, prompt)
    competitors = {
        "planned": runner(bench, lambda: scripted_request(bench.model, PAPER, prompt)),
        "idealised": ideal,
        "autoregressive": runner(bench, lambda: autoregressive_request(bench.model, AUTOREGRESSIVE_TOKENS, prompt)),
        "native generate": native(bench, prompt, AUTOREGRESSIVE_TOKENS),
    }
    seconds = interleaved(competitors, bench.repeats, bench.point_s)
    left_to_right = left_to_right_work(bench, AUTOREGRESSIVE_TOKENS)
    forwards = PAPER.plan_tokens + PAPER.steps
    rows = []
    for name, values in seconds.items():
        is_planned = name in ("planned", "idealised")
        row = {"request": name, "forwards": forwards if is_planned else AUTOREGRESSIVE_TOKENS, **timing(values)}
        row["gain over autoregressive"] = ratio(seconds["autoregressive"], values)
        rows.append(row | sum_of_limits(bench, planned_work if is_planned else left_to_right, row["ms"]))
    return rows


def left_to_right(bench: Bench) -> list[dict]:
    """64 tokens from left to right: ours against native `generate`, the same weights."""
    prompt = bench.prompt(PROMPT)
    competitors = {
        "ours": runner(bench, lambda: autoregressive_request(bench.model, SHORT, prompt)),
        "native generate": native(bench, prompt, SHORT),
    }
    seconds = interleaved(competitors, bench.repeats, bench.point_s)
    work, rows = left_to_right_work(bench, SHORT), []
    for name, values in seconds.items():
        row = {"system": name, "tokens": SHORT, **timing(values), "x native": ratio(values, seconds["native generate"])}
        rows.append(row | sum_of_limits(bench, work, row["ms"]))
    return rows


def mix(bench: Bench) -> list[dict]:
    """Eight requests of the recorded mix together in one engine against one after the other."""
    decoders = [
        lambda scripted=scripted, seed=seed: scripted_request(bench.model, scripted, bench.prompt(PROMPT, seed))
        for seed, scripted in enumerate(MIX[:TOGETHER])
    ]
    steps = sum(scripted.plan_tokens + scripted.steps for scripted in MIX[:TOGETHER])
    if not affordable(bench, _seconds_of_one(bench) * steps):
        return [{"requests": TOGETHER, "note": f"not run: more than {bench.point_s:g} s"}]
    alone = [runner(bench, decoder) for decoder in decoders]
    competitors = {
        "in sequence": lambda: [run() for run in alone],
        "together": runner(bench, *decoders),
    }
    seconds = interleaved(competitors, bench.repeats, bench.point_s)
    text = sum(scripted.text_tokens for scripted in MIX[:TOGETHER])
    rows = []
    for name, values in seconds.items():
        row = {"requests": f"{TOGETHER} {name}", **timing(values), "gain": ratio(seconds["in sequence"], values)}
        rows.append(row | {"text tokens/s": 1000 * text / row["ms"]})
    return rows


def runner(bench: Bench, *decoders: Callable) -> Callable[[], None]:
    """Runs requests together to their end, in an engine that lives on."""
    engine = bench.engine(len(decoders))

    def run() -> None:
        for decoder in decoders:
            engine.add(decoder(), Sampling())
        run_through(engine.run())

    return run


def native(bench: Bench, prompt: list[int], tokens: int) -> Callable[[], object]:
    """`generate` of transformers' own model over the same parameters, exactly so many tokens."""
    twin, ids = native_twin(bench.model), torch.tensor([prompt], device=bench.device)
    never = bench.model.config.vocab_size - 1
    return lambda: twin.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False,
        eos_token_id=never, pad_token_id=never,
    )  # fmt: skip


def idealised(bench: Bench, scripted: Scripted, prompt: list[int]) -> tuple[Callable[[], None], list[Work]]:
    """Prepare every forward of a request; return them with the work of each."""
    log: list[Query] = []
    runner(bench, lambda: recorded(scripted_request(bench.model, scripted, prompt), log))()
    ideal, steps, works = Ideal(bench.model, 1, len(prompt) + scripted.tokens), [], []
    for query in log:
        steps.append(ideal.prepare(query))
        counts = len(query.token_ids), max(query.positions) + 1, ideal.pairs[-1], len(query.wanted)
        works.append(forward_work(bench.model, *counts))

    def run() -> None:
        for step in steps:
            step()

    return run, works


def left_to_right_work(bench: Bench, tokens: int) -> list[Work]:
    """Return the work of the prompt's forward and of one forward for every token after it."""
    first = forward_work(bench.model, PROMPT, PROMPT, PROMPT * (PROMPT + 1) // 2, 1)
    seen = range(PROMPT + 1, PROMPT + tokens)
    return [first, *(forward_work(bench.model, 1, slots, slots, 1) for slots in seen)]


def sum_of_limits(bench: Bench, works: list[Work], milliseconds: float) -> dict:
    """The columns of the roofline for forwards that cannot overlap."""
    total = sum(works, Work())
    limit = 1000 * sum(map(bench.machine.limit_s, works))
    return {"MB": total.bytes / 1e6, "GFLOP": total.flops / 1e9, "limit ms": limit, "x limit": milliseconds / limit}


def _seconds_of_one(bench: Bench) -> float:
    """Return seconds per token of a few tokens left to right."""
    run = runner(bench, lambda: autoregressive_request(bench.model, 4, bench.prompt(4)))
    return interleaved({"ours": run}, 1)["ours"][0] / 4
