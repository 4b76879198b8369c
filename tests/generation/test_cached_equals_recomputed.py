"""Every forward of the engine, over its slot cache, against a forward over all tokens of the request without a cache.

The engine runs only what changed; the reference runs everything, with a mask from the labels. Both must give the rows
that the decoder wants, at every step, to rounding, and so every token alike.
"""

import copy
from dataclasses import replace

import pytest
import torch

from planned_diffusion.generation.decoders.autoregressive import autoregressive
from planned_diffusion.generation.decoders.block_diffusion import block_diffusion
from planned_diffusion.generation.decoders.canvas import Canvas
from planned_diffusion.generation.decoders.diffusion import diffusion
from planned_diffusion.generation.decoders.fast_dllm import fast_dllm
from planned_diffusion.generation.decoders.parallel_autoregressive import parallel_autoregressive
from planned_diffusion.generation.decoders.parallel_speculative import parallel_speculative
from planned_diffusion.generation.decoders.planned import planned
from planned_diffusion.generation.decoders.self_verified import self_verified
from planned_diffusion.generation.decoders.speculative import speculative
from planned_diffusion.generation.engine.engine import Engine
from planned_diffusion.generation.events import Ended, PlanShortened, TokensBlanked, TokensWritten
from planned_diffusion.generation.fields import Settings
from planned_diffusion.generation.plan import Plan, Unit, parse_round
from planned_diffusion.generation.query import Query, Reply, Request
from planned_diffusion.generation.visibility import CAUSAL, CLEAN, DRAFT, Labels, dense_mask

PROMPT = (5, 60, 33, 97, 12, 80)
ONE_ROUND = [[104, 30, 16, 17, 105, 104, 31, 18, 105, 100]]  # 12 and 3 tokens
TWO_ROUNDS = [[104, 30, 20, 105, 104, 31, 18, 105, 106], [104, 32, 17, 105, 104, 33, 22, 105, 100]]
THREE_ROUNDS = [
    [104, 30, 20, 105, 104, 31, 18, 105, 106],
    [104, 32, 17, 105, 106],
    [104, 33, 18, 105, 104, 20, 105, 100],
]


class Recomputed:
    """Follows a decoder's queries and events; computes the wanted rows of every query from all tokens so far."""

    def __init__(self, model):
        self.model = copy.deepcopy(model)  # so that hooks on the engine's model see the engine alone
        self.tokens: dict[int, int] = {}
        self.final: set[int] = set()  # positions that were written
        self.labels: dict[tuple[int, int], tuple[int, int]] = {}  # (position, stream) -> span, round
        self.rows: list[torch.Tensor] = []  # per forward [W, V]
        self.shortened = 0  # forwards of the engine that ran fewer tokens than there are
        self.commits = 0
        self.taken_back = 0  # tokens of plans

    def following(self, decoder):
        """The decoder, listened to."""
        reply = None
        while True:
            item = decoder.send(reply)
            if isinstance(item, TokensWritten):
                self.tokens |= zip(item.positions, item.token_ids, strict=True)
                self.final.update(item.positions)
            if isinstance(item, TokensBlanked):
                self.final.difference_update(item.positions)
                self.tokens |= dict.fromkeys(item.positions, 101)
            if isinstance(item, PlanShortened):
                self.taken_back += len(item.positions)
                for position in item.positions:
                    self.tokens.pop(position, None)  # the last one has not run
                    self.labels.pop((position, CLEAN), None)
            if isinstance(item, Query):
                self._recompute(item)
            reply = yield item
            if isinstance(item, Query):
                self._same_tokens(item, reply)
            if isinstance(item, Ended):
                return

    def _recompute(self, query: Query) -> None:
        streams = query.streams or [CLEAN] * len(query.positions)
        states = list(zip(query.positions, streams, strict=True))
        labels = dict(zip(states, zip(query.spans, query.rounds, strict=True), strict=True))
        tokens = dict(zip(states, query.token_ids, strict=True))
        for (position, stream), token in tokens.items():
            if stream < DRAFT:
                assert position not in self.final or self.tokens[position] in (token, 101), "a written token changed"
                self.tokens[position] = token
        self.labels |= {state: label for state, label in labels.items() if state[1] < DRAFT}
        everything = sorted(self.labels | labels)
        if CAUSAL not in streams:  # blanks that are written left to right never run
            clean = [position for position, stream in everything if stream == CLEAN]
            assert clean == list(range(len(clean)))
        self.shortened += len(states) < len(everything)
        self.commits += query.commits
        spans, rounds = torch.tensor([(self.labels | labels)[state] for state in everything]).T
        positions, streams = torch.tensor(everything).T
        labels = Labels(torch.zeros_like(spans), spans, rounds, streams, positions)
        ids = torch.tensor([[self.tokens[s[0]] if s[1] < DRAFT else tokens[s] for s in everything]])
        visible = dense_mask(labels, labels)[None, None]
        with torch.no_grad():
            logits = self.model(ids, attention_mask=visible, position_ids=positions[None]).logits[0]
        self.rows.append(logits[[everything.index(states[index]) for index in query.wanted]])

    def _same_tokens(self, query: Query, reply: Reply) -> None:
        forbidden = [token for token in range(112) if token not in query.allowed]
        rows = self.rows[-1].clone()
        rows[:, forbidden] = -torch.inf
        assert reply.token_ids == rows.argmax(-1).tolist()


def request_of(plan=None, max_new_tokens=120, unit=1.0, prompt=PROMPT, repeat_promises=False, **settings):
    if settings.pop("dense", False):
        settings["span_attention"] = "dense"

    def build(tokens) -> Request:
        suppressed = tokens.all - {tokens.span_pad}
        rounds = tuple(parse_round(ids, tokens, Unit(unit)) for ids in plan or ())
        return Request(
            prompt_ids=prompt,
            control=replace(tokens, repeat_promises=repeat_promises),
            unit=Unit(unit),
            settings=Settings(max_new_tokens=max_new_tokens, suppress_in_spans=suppressed, **settings),
            plan=Plan(rounds) if rounds else None,
        )

    return build


def largest_difference(model, decoder, request: Request) -> tuple[float, Recomputed, Ended]:
    """Runs one request and compares the wanted logits of all its forwards."""
    reference, engine, heads = Recomputed(model), Engine(model), []
    engine.add(reference.following(decoder(request)), request.sampling)
    hook = model.lm_head.register_forward_hook(lambda module, args, out: heads.append(out.detach().clone()))
    try:
        with torch.no_grad():
            ended = [event for _, event in engine.run() if isinstance(event, Ended)]
    finally:
        hook.remove()
    assert engine.runners[0].slots.taken == 0
    assert len(heads) == len(reference.rows)
    return max(float((a - b).abs().max()) for a, b in zip(heads, reference.rows, strict=True)), reference, ended[0]


@pytest.mark.parametrize("ratio", [1.0, 0.5, 0.1])
@pytest.mark.parametrize("dense", [False, True], ids=["sparse", "dense"])
@pytest.mark.parametrize("plan", [ONE_ROUND, TWO_ROUNDS, THREE_ROUNDS], ids=["one", "two", "three"])
def test_given_plans(plan, dense, ratio, model, golden_tokens):
    request = request_of(plan, dense=dense, steps_ratio=ratio)(golden_tokens)
    difference, reference, ended = largest_difference(model, planned, request)
    assert difference < 1e-4
    assert reference.shortened > 0 or ratio == 0.1
    assert ended.reason == "eos" and len(ended.plans) == len(plan)


@pytest.mark.parametrize("dense", [False, True], ids=["sparse", "dense"])
@pytest.mark.parametrize("architecture", ["qwen3", "llama"])
def test_other_backbones(architecture, dense, build_model, golden_tokens):
    request = request_of(TWO_ROUNDS, dense=dense, steps_ratio=0.5)(golden_tokens)
    assert largest_difference(build_model(architecture, seed=1), planned, request)[0] < 1e-4


@pytest.mark.parametrize("fields", [{"confidence_threshold": 0.3}, {"close_padding": False}], ids=["threshold", "pads"])
@pytest.mark.parametrize("dense", [False, True], ids=["sparse", "dense"])
def test_other_ways_of_writing(fields, dense, model, golden_tokens):
    request = request_of(THREE_ROUNDS, dense=dense, **fields)(golden_tokens)
    assert largest_difference(model, planned, request)[0] < 1e-4


@pytest.mark.parametrize("dense", [False, True], ids=["sparse", "dense"])
def test_plans_of_the_model(dense, planner, golden_tokens, prompts):
    """Planning forwards too, those that carry a commit along, and those after tokens of the plan were taken back."""
    rounds, commits, taken_back = [], 0, 0
    for prompt in prompts(8, 30, seed=4)[3:6]:
        fields = {"dense": dense, "max_spans": 3, "steps_ratio": 0.5, "max_new_tokens": 250}
        request = request_of(unit=2.0, prompt=tuple(prompt), **fields)(golden_tokens)
        difference, reference, ended = largest_difference(planner, planned, request)
        assert difference < 1e-4
        rounds.append(len(ended.plans))
        commits += reference.commits
        taken_back += reference.taken_back
    assert max(rounds) > 1 and commits > 3 and taken_back > 3, (rounds, commits, taken_back)


def test_left_to_right(model, golden_tokens):
    request = request_of(max_new_tokens=40)(golden_tokens)
    difference, reference, ended = largest_difference(model, autoregressive, request)
    assert difference < 1e-4
    assert reference.shortened >= len(ended.written_ids) - 1


@pytest.mark.parametrize(
    "decoder, fields",
    [
        (diffusion, {"steps_ratio": 0.5}),
        (block_diffusion, {"block_size": 7}),
        (block_diffusion, {"block_size": 1}),
        (fast_dllm, {"block_size": 8, "block_cache": "none"}),
        (fast_dllm, {"block_size": 30, "block_cache": "dual"}),
    ],
    ids=lambda value: value if callable(value) else str(value),
)
def test_without_tags(decoder, fields, model, golden_tokens):
    """Caches that are declared exact; the approximate ones of Fast-dLLM where they are exact."""
    request = request_of(max_new_tokens=30, **fields)(golden_tokens)
    request = replace(request, settings=request.settings.but(suppress_in_spans=golden_tokens.all))
    difference, reference, ended = largest_difference(model, decoder, request)
    assert difference < 1e-4
    assert reference.shortened > 0 and len(ended.written_ids) == 30
    assert (reference.commits > 0) == (decoder is block_diffusion)


@pytest.mark.parametrize("ratio", [1.0, 0.1])
@pytest.mark.parametrize("plan", [ONE_ROUND, TWO_ROUNDS, THREE_ROUNDS], ids=["one", "two", "three"])
def test_self_verified(plan, ratio, model, golden_tokens):
    request = request_of(plan, steps_ratio=ratio)(golden_tokens)
    difference, reference, ended = largest_difference(model, self_verified, request)
    assert difference < 1e-4
    assert reference.shortened > 0 and ended.reason == "eos"


@pytest.mark.parametrize("plan", [ONE_ROUND, TWO_ROUNDS, THREE_ROUNDS], ids=["one", "two", "three"])
def test_spans_from_left_to_right(plan, model, golden_tokens):
    """Both streams: CAUSAL while a span is written, CLEAN for the rounds after it."""
    difference, reference, ended = largest_difference(model, parallel_autoregressive, request_of(plan)(golden_tokens))
    assert difference < 1e-4
    assert ended.reason == "eos" and len(ended.plans) == len(plan)


@pytest.mark.parametrize(
    "decoder, plan, fields",
    [
        (planned, ONE_ROUND, {}),
        (planned, THREE_ROUNDS, {"steps_ratio": 0.5}),
        (planned, TWO_ROUNDS, {"dense": True}),
        (block_diffusion, None, {"block_size": 7, "max_new_tokens": 30}),
    ],
    ids=["one round", "three rounds", "dense", "blocks"],
)
def test_refined(decoder, plan, fields, model, golden_tokens):
    """Joined spans, and the plans of later rounds, which see what changes."""
    request = request_of(plan, **fields, refine_share=0.5)(golden_tokens)
    request = replace(request, settings=request.settings.but(suppress_in_spans=golden_tokens.all))
    difference, reference, ended = largest_difference(model, decoder, request)
    assert difference < 1e-4
    assert reference.shortened > 0 and ended.reason == ("eos" if plan else "length")


@pytest.mark.parametrize("cache", ["dual", "prefix"])
def test_approximate_caches_differ(cache, model, golden_tokens):
    request = request_of(max_new_tokens=30, block_size=8, block_cache=cache)(golden_tokens)
    request = replace(request, settings=request.settings.but(suppress_in_spans=golden_tokens.all))
    with pytest.raises(AssertionError):  # a token differs already
        assert largest_difference(model, fast_dllm, request)[0] < 1e-2


def test_float64_agrees_to_the_last_digits(build_model, golden_tokens):
    request = request_of(THREE_ROUNDS, steps_ratio=0.5)(golden_tokens)
    assert largest_difference(build_model(dtype=torch.float64), planned, request)[0] < 1e-12


def test_without_the_commit_the_difference_shows(model, golden_tokens, monkeypatch):
    """The published shortcut: the next round reads spans as they were before their last tokens were known."""
    whole = Canvas.next_round

    def forgetful(canvas: Canvas, first_ids=()) -> None:
        canvas.stale.clear()
        whole(canvas, first_ids)

    monkeypatch.setattr(Canvas, "next_round", forgetful)
    with pytest.raises(AssertionError):  # a token differs already
        assert largest_difference(model, planned, request_of(TWO_ROUNDS, steps_ratio=0.1)(golden_tokens))[0] < 1e-2


@pytest.mark.parametrize("drafts", [1, 3, 8])
def test_drafts_of_text(drafts, model, golden_tokens):
    request = request_of(max_new_tokens=40, draft_tokens=drafts)(golden_tokens)
    difference, reference, ended = largest_difference(model, speculative, request)
    assert difference < 1e-4 and reference.shortened > 0
    assert ended.answer_ids == largest_difference(model, autoregressive, request)[2].answer_ids


@pytest.mark.parametrize("drafts", [1, 3, 8])
@pytest.mark.parametrize("plan", [ONE_ROUND, THREE_ROUNDS], ids=["one", "three"])
def test_drafts_in_spans(plan, drafts, model, golden_tokens):
    request = request_of(plan, draft_tokens=drafts)(golden_tokens)
    difference, reference, ended = largest_difference(model, parallel_speculative, request)
    assert difference < 1e-4 and reference.shortened > 0
    assert ended.written_ids == largest_difference(model, parallel_autoregressive, request)[2].written_ids


@pytest.mark.parametrize(
    "decoder, fields",
    [
        (planned, {"steps_ratio": 0.5}),
        (planned, {"dense": True, "refine_share": 0.3}),
        (self_verified, {"steps_ratio": 0.3}),
        (parallel_autoregressive, {}),
        (parallel_speculative, {"draft_tokens": 3}),
    ],
    ids=lambda value: value.__name__ if callable(value) else "-".join(value),
)
def test_spans_that_begin_with_their_promise(decoder, fields, model, golden_tokens):
    request = request_of(TWO_ROUNDS, repeat_promises=True, **fields)(golden_tokens)
    difference, reference, ended = largest_difference(model, decoder, request)
    assert difference < 1e-4 and reference.shortened > 0
    openings = [reference.tokens[position] for position in range(6 + 8, 6 + 12)]
    assert openings == [102, 30, 20, 105], "<async>, and the promise again"
    assert ended.reason == "eos" and len(ended.plans) == 2
    if decoder is parallel_speculative:
        assert ended.written_ids == largest_difference(model, parallel_autoregressive, request)[2].written_ids
