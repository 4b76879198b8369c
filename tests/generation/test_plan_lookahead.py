"""Guessing ahead: the same plans as without, in fewer forwards."""

import random
import statistics
import zlib

import pytest
import torch

from planned_diffusion.generation.decoders.lookahead import look_ahead
from planned_diffusion.generation.decoders.parallel_autoregressive import parallel_autoregressive
from planned_diffusion.generation.decoders.planned import planned
from planned_diffusion.generation.decoders.self_verified import self_verified
from planned_diffusion.generation.engine.engine import Engine
from planned_diffusion.generation.events import Ended, Forward, PlanToken
from planned_diffusion.generation.fields import Settings
from planned_diffusion.generation.grammar import RoundGrammar
from planned_diffusion.generation.plan import Unit
from planned_diffusion.generation.query import Reply, Request, Sampling
from planned_diffusion.generation.visibility import NO_SPAN

SIGNS = [ord(sign) for sign in "<>[]|._$123ab "]


class ModelWithStates:
    """Draws what the tokens before a row suggest, as it saw them when they last ran: a stale state shows.

    Spans do not matter to it, so that decoders which fill them otherwise plan alike.
    """

    def __init__(self, seed: int):
        self.seed, self.states = seed, {}

    def __call__(self, query) -> Reply:
        for position in query.forget:
            del self.states[position]
        for position, token, span in zip(query.positions, query.token_ids, query.spans, strict=True):
            self.states[position] = token if span == NO_SPAN else 0
        drawn = []
        for index, row in enumerate(query.wanted):
            allowed = query.allowed[index] if isinstance(query.allowed, list) else query.allowed
            seen = [self.states.get(position, 0) for position in range(query.positions[row] + 1)]
            choose = random.Random(zlib.crc32(bytes(seen[-2:])) + self.seed)
            tokens = [token for token in SIGNS if token in allowed]
            weights = [9 if chr(token) in "<>|" else 1 for token in tokens]
            drawn += choose.choices(tokens, weights)
        return Reply(drawn, [0.0] * len(drawn), [0.0] * len(drawn))


@pytest.mark.slow
@pytest.mark.parametrize("decoder", [planned, parallel_autoregressive, self_verified])
@pytest.mark.parametrize("lookahead", [1, 3, 8])
def test_plans_are_those_without_guesses(decoder, lookahead, drive, request_in_letters):
    forwards = {0: 0, lookahead: 0}
    for seed in range(60):
        written = []
        for guesses in forwards:
            fields = {"plan_lookahead": guesses, "distinct_topics": seed % 3 == 0}
            request = request_in_letters(prompt="ab ", max_new_tokens=90, max_rounds=3, **fields)
            played = drive(decoder(request), ModelWithStates(seed))
            written.append((played.written, played.answer, played.ended.reason, played.of(PlanToken)))
            forwards[guesses] += sum(query.purpose == "planning" for query in played.queries)
        assert written[0] == written[1], seed
    assert forwards[lookahead] < 0.8 * forwards[0], forwards


def test_a_plan_that_repeats_itself_takes_few_forwards(drive, request_in_letters):
    """Behind "<a1>" every forward confirms what it guessed: by hand."""

    def answer(query) -> Reply:
        text = "P<a1><a1><a1><a1>" + ("$" if query.purpose == "planning" else "[x][x][x][x]")
        drawn = [ord(text[query.positions[row] + 1 :][:1] or "?") for row in query.wanted]
        return Reply(drawn, [0.0] * len(drawn), [1.0] * len(drawn))

    played = drive(planned(request_in_letters(plan_lookahead=4)), answer)
    assert played.written == "<a1><a1><a1><a1>[x][x][x][x]$"
    planning = [query for query in played.queries if query.purpose == "planning"]
    run = ["".join(map(chr, query.token_ids)) for query in planning]
    # P, and "<" as a guess; nothing is known of topics yet; from the first digit on the plan repeats.
    assert run == ["P<", "a", "1><a1", "><a1>", "<a1><"]


@pytest.mark.slow
def test_the_distribution_of_sampled_plans_stays(drive, request_in_letters):
    """Independent draws per row: as many promises, on average, as without guesses."""
    means = []
    for lookahead in (0, 4):
        choose = random.Random(lookahead)

        def answer(query, choose=choose) -> Reply:
            rules = query.allowed if isinstance(query.allowed, list) else [query.allowed] * len(query.wanted)
            drawn = [choose.choice([token for token in SIGNS if token in allowed]) for allowed in rules]
            return Reply(drawn, [0.0] * len(drawn), [0.0] * len(drawn))

        counts = []
        for _ in range(1500):
            ended = drive(
                planned(request_in_letters(max_new_tokens=60, max_rounds=1, plan_lookahead=lookahead)), answer
            ).ended
            counts.append(len(ended.plans[0]) if ended.plans else 0)
        means.append((statistics.fmean(counts), statistics.stdev(counts) / len(counts) ** 0.5))
    (first, error), (second, _) = means
    assert abs(first - second) < 4 * error, means


def test_guesses_are_what_the_grammar_allows(letters):
    """Near the end of its room the grammar wants the round closed: no guess goes beyond."""
    for room in range(9, 40):
        grammar = RoundGrammar(letters, Unit(1.0), room=room, max_spans=3, may_sync=True)
        for sign in "<a1>":
            assert ord(sign) in grammar.allowed() and grammar.push(ord(sign))
        before = (grammar.ids.copy(), grammar.spans.copy(), grammar.ended)
        guesses, allowed = look_ahead(grammar, list(map(ord, "P<a1>")), 20)
        assert (grammar.ids, grammar.spans, grammar.ended) == before
        assert len(allowed) == len(guesses) + 1
        for guess, rule in zip(guesses, allowed, strict=False):
            assert guess in rule and guess in grammar.allowed() and grammar.push(guess)
        assert allowed[-1] == grammar.allowed()


@pytest.mark.parametrize(
    "written, expected",
    [
        ("P<ab 2><cd", " 2><"),  # nothing is known of "d": its promise ends as the one before
        ("P<ab 23>|<cd", " 2><"),  # of the number the first digit, in an earlier round
        ("P<ab 2><cd ", "2><c"),
        ("Pad, <ab 2><cd", ", "),  # "d" stands in the prompt
        ("P<cd", ""),  # the first promise: there is none to go by
        ("P<2><cd", ""),  # no topic to go by
    ],
)
def test_a_new_word_is_guessed_to_end_its_topic(written, expected, letters):
    plan = written[written.rindex("|") + 1 if "|" in written else written.index("<") :]
    grammar = RoundGrammar(letters, Unit(1.0), room=90, max_spans=9, may_sync=True)
    for sign in plan:
        assert grammar.push(ord(sign))
    guesses, _ = look_ahead(grammar, list(map(ord, written)), 4)
    assert "".join(map(chr, guesses)) == expected


@torch.no_grad()
def test_a_model_with_a_cache_writes_the_same(planner, golden_tokens, prompts):
    """Greedy, three decoders at once, rounds and spans behind the guesses: nothing sees a guess that was dropped."""
    outcomes = []
    for lookahead in (0, 5):
        engine, ended, planning = Engine(planner), {}, 0
        for number, prompt in enumerate(prompts(9, 20, seed=11)):
            decoder = (planned, parallel_autoregressive, self_verified)[number % 3]
            settings = Settings(
                max_new_tokens=90,
                max_spans=4,
                plan_lookahead=lookahead,
                span_attention="sparse" if number else "dense",
                suppress_in_spans=golden_tokens.all - {golden_tokens.span_pad},
            )
            request = Request(tuple(prompt), golden_tokens, Unit(2.0), settings, Sampling())
            engine.add(decoder(request), request.sampling)
        for number, event in engine.run():
            planning += isinstance(event, Forward) and event.purpose == "planning"
            if isinstance(event, Ended):
                ended[number] = event
        assert engine.runners[0].slots.taken == 0
        outcomes.append((ended, planning))
    (without, slow), (with_guesses, fast) = outcomes
    assert without == with_guesses
    assert any(event.plans for event in without.values()) and fast < slow
