"""Whole requests with given statistics, on models that cannot plan: the real decoder, its draws overruled.

A request is rounds of promised lengths. The decoder plans under its grammar, token by token, fills at ratio 1 and
commits as always; only the plan's tokens are those wanted here instead of the model's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from planned_diffusion.generation.decoders.table import DECODERS
from planned_diffusion.generation.fields import Settings
from planned_diffusion.generation.plan import Unit, render_promise
from planned_diffusion.generation.query import Query, Request, Sampling
from planned_diffusion.generation.tokens import ControlTokens


@dataclass(frozen=True)
class Scripted:
    """The text that a request writes.

    rounds: per round, the number of every promise.
    unit: tokens per promised number.
    topic_tokens: number of topic tokens in every promise.
    """

    rounds: tuple[tuple[int, ...], ...]
    unit: int
    topic_tokens: int

    @property
    def steps(self) -> int:
        return self.unit * sum(map(max, self.rounds))

    @property
    def text_tokens(self) -> int:
        return self.unit * sum(map(sum, self.rounds))

    @property
    def plan_tokens(self) -> int:
        """Drawn one by one, terminators included."""
        digits = sum(len(str(number)) for numbers in self.rounds for number in numbers)
        return digits + (self.topic_tokens + 2) * self.spans + len(self.rounds)

    @property
    def spans(self) -> int:
        return sum(map(len, self.rounds))

    @property
    def tokens(self) -> int:
        """Everything written: plan, tags and text."""
        return self.plan_tokens + 2 * self.spans + self.text_tokens


# The averages of the paper (arXiv 2510.18087): 31 plan tokens (terminators included), 3 spans a round, 124 steps, and
# 129.5 tokens a step. Two rounds, since 2.2 are the mean of the released checkpoint.
PAPER = Scripted(rounds=((31, 22, 22), (31, 30, 9)), unit=2, topic_tokens=1)
AUTOREGRESSIVE_TOKENS = 367  # the same paper's left-to-right answers
SIX_BY_FORTY = Scripted(rounds=((4,) * 6,), unit=10, topic_tokens=2)  # 31 plan tokens, 40 steps
# A recorded mix: 1-3 rounds, 1-10 spans a round (median 2, mean 2.75), spans of 10-80 tokens.
MIX = tuple(
    Scripted(rounds, unit=10, topic_tokens=2)
    for rounds in (
        ((3, 5), (2,)),
        ((1,),),
        ((4, 4, 6, 2),),
        ((8,), (3, 3, 1), (2,)),
        ((2, 1, 1, 3, 2, 4, 1, 2, 3, 1),),
        ((5, 7, 3), (6,)),
        ((2, 2), (1, 4, 3)),
        ((6,),),
        ((3, 1, 2, 5, 2, 2), (4, 2)),
        ((2,), (7,)),
        ((1, 2, 3, 2, 1),),
        ((4, 3, 8), (5, 2, 2, 1)),
    )
)
MARGIN = 64  # tokens of room beyond the script, so that the grammar forbids none of it


def scripted_request(model, scripted: Scripted, prompt_ids: Sequence[int]) -> Iterator:
    """A decoder, for `Engine.add`, that plans and fills as the script says."""
    tokens = ControlTokens.from_config(model.config)
    plan = plan_tokens(scripted, tokens, ordinary_ids(model)[-1])
    settings = Settings(max_new_tokens=scripted.tokens + MARGIN, close_padding=False, suppress_in_spans=tokens.all)
    return overruled(DECODERS["planned"].run(_request(prompt_ids, tokens, settings, scripted.unit)), plan)


def autoregressive_request(model, count: int, prompt_ids: Sequence[int]) -> Iterator:
    """A decoder that writes exactly `count` tokens from left to right."""
    tokens = ControlTokens.from_config(model.config)
    script = [ordinary_ids(model)[0]] * count
    settings = Settings(max_new_tokens=count)
    return overruled(DECODERS["autoregressive"].run(_request(prompt_ids, tokens, settings, 1)), script)


def _request(prompt_ids, tokens: ControlTokens, settings: Settings, unit: int) -> Request:
    return Request(tuple(prompt_ids), tokens, Unit(unit), settings, Sampling())


def plan_tokens(scripted: Scripted, tokens: ControlTokens, topic_id: int) -> list[int]:
    """Return the tokens that the planner draws, terminators included."""
    ids, last = [], len(scripted.rounds) - 1
    for number, promises in enumerate(scripted.rounds):
        for promised in promises:
            ids += render_promise([topic_id] * scripted.topic_tokens, promised, tokens)
        ids.append(tokens.eos[0] if number == last else tokens.sync)
    return ids


def overruled(decoder: Iterator, script: Sequence[int]) -> Iterator:
    """Return the decoder with the script in place of its left-to-right draws, token after token."""
    left, reply = iter(script), None
    while True:
        try:
            item = decoder.send(reply)
        except StopIteration:
            return
        reply = yield item
        if isinstance(item, Query) and item.purpose in ("planning", "decoding"):
            reply = replace(reply, token_ids=[next(left)])


def recorded(decoder: Iterator, log: list[Query]) -> Iterator:
    """The decoder, its queries kept in `log`."""
    reply = None
    while True:
        try:
            item = decoder.send(reply)
        except StopIteration:
            return
        if isinstance(item, Query):
            log.append(item)
        reply = yield item


def ordinary_ids(model) -> list[int]:
    """Some ids that are neither control tokens nor digits."""
    tokens = ControlTokens.from_config(model.config)
    special = tokens.all | set(tokens.digits)
    return [token for token in range(min(model.config.vocab_size, 1000)) if token not in special]
