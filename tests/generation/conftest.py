"""A scripted model for decoders, in letters: an id is a character's code, so that ids read as text.

`<a2>` is a promise with topic "a" and number 2, `[xy.]` a span that ends in a pad, `_` a blank, `|` a <sync/>, `$` EOS.
"""

from dataclasses import dataclass, field, replace

import pytest

from planned_diffusion.generation.decoders.planned import planned
from planned_diffusion.generation.events import Ended, TokensWritten
from planned_diffusion.generation.fields import Settings
from planned_diffusion.generation.plan import Plan, Unit, parse_round
from planned_diffusion.generation.query import Query, Reply, Request
from planned_diffusion.generation.tokens import ControlTokens
from planned_diffusion.generation.visibility import NO_SPAN

LETTERS = ControlTokens(
    mask=ord("_"),
    promise_start=ord("<"),
    topic_end=ord(">"),
    async_start=ord("["),
    async_end=ord("]"),
    sync=ord("|"),
    span_pad=ord("."),
    eos=(ord("$"),),
    digits=tuple(map(ord, "0123456789")),
)


def spell(ids) -> str:
    return "".join(map(chr, ids))


@dataclass
class ScriptedModel:
    """Answers queries from a script.

    says: what it draws where it is asked for one token outside spans (plan, plain text), in this order.
    fills: the finished answer, prompt included, as it will be written: position p of a span gets `fills[p]`.
    scores: per position a digit d: score and confidence d / 10; any other sign, or no script: the leftmost first,
        confidence 0.
    """

    says: str = ""
    fills: str = ""
    scores: str = ""
    queries: list[Query] = field(default_factory=list)

    def __call__(self, query: Query) -> Reply:
        self.queries.append(query)
        positions = [query.positions[index] + 1 for index in query.wanted]
        if query.purpose == "denoising" or any(query.spans[index] != NO_SPAN for index in query.wanted):
            tokens = [ord(self.fills[position]) for position in positions]
        else:
            tokens, self.says = [ord(self.says[0])], self.says[1:]
        forbidden = [token for token in tokens if token not in query.allowed]
        assert not forbidden, f"The script says {spell(forbidden)!r} where that is not allowed."
        return Reply(tokens, [self._score(p) for p in positions], [max(0.0, self._score(p)) for p in positions])

    def _score(self, position: int) -> float:
        sign = self.scores[position] if position < len(self.scores) else ""
        return int(sign) / 10 if sign.isdigit() else -float(position + 1)


@dataclass
class Played:
    """What a decoder did: all events in order, the queries it asked, and its end."""

    events: list
    queries: list[Query]

    def of(self, *kinds) -> list:
        return [event for event in self.events if isinstance(event, kinds)]

    @property
    def ended(self) -> Ended:
        (ended,) = self.of(Ended)
        assert self.events[-1] is ended
        return ended

    @property
    def written(self) -> str:
        return spell(self.ended.written_ids)

    @property
    def answer(self) -> str:
        return spell(self.ended.answer_ids)

    @property
    def steps(self) -> list[str]:
        """Per step what was written, as "position:token" pairs."""
        return [
            " ".join(f"{position}:{chr(token)}" for position, token in zip(step.positions, step.token_ids, strict=True))
            for step in self.of(TokensWritten)
        ]


@pytest.fixture(scope="session")
def letters():
    return LETTERS


@pytest.fixture(scope="session")
def request_in_letters():
    """A `Request` whose prompt, plan (rounds as text) and separator are given in letters."""

    def build(prompt="P", plan=(), unit=1.0, separator="", should_stop=None, sampling=None, **settings) -> Request:
        rounds = tuple(parse_round(list(map(ord, part)), LETTERS, Unit(unit)) for part in plan)
        if settings.pop("dense", False):
            settings["span_attention"] = "dense"
        control = replace(LETTERS, repeat_promises=settings.pop("repeat_promises", False))
        settings = {"max_new_tokens": 100, "suppress_in_spans": LETTERS.all - {LETTERS.span_pad}, **settings}
        return Request(
            prompt_ids=tuple(map(ord, prompt)),
            control=control,
            unit=Unit(unit),
            settings=Settings(**settings),
            plan=Plan(rounds) if rounds else None,
            separator_ids=tuple(map(ord, separator)),
            **({"should_stop": should_stop} if should_stop else {}),
            **({"sampling": sampling} if sampling else {}),
        )

    return build


@pytest.fixture(scope="session")
def drive():
    """drive(generator, model) -> Played: runs a decoder against anything that turns a Query into a Reply."""

    def run(decoder, answer) -> Played:
        played, reply = Played([], []), None
        try:
            while True:
                item = decoder.send(reply)
                if isinstance(item, Query):
                    played.queries.append(item)
                    reply = answer(item)
                else:
                    played.events.append(item)
                    reply = None
        except StopIteration:
            return played

    return run


@pytest.fixture(scope="session")
def play(drive, request_in_letters):
    """play(says=, fills=, scores=, decoder=planned, **of request_in_letters) -> Played by a ScriptedModel."""

    def run(says="", fills="", scores="", decoder=planned, **request) -> Played:
        return drive(decoder(request_in_letters(**request)), ScriptedModel(says, fills, scores))

    return run
