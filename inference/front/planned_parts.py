"""The parts of an answer as they are planned: given by a client, or by a planner round after round."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...generation.skeleton import Kept
from ..server.asked_fields import rounds_of
from ..server.bodies import Part

CHARACTERS_PER_TOKEN = 4  # for a kept text without a length


@dataclass(frozen=True)
class PlannedPart:
    """A part: its topic, its length in tokens, and the text that it keeps; None where it is to be written."""

    topic: str
    length: int
    text: str | None = None


Round = Sequence[PlannedPart]


def given_rounds(plan: list[list[Part]]) -> list[Round]:
    """Return the plan that a client gives; rounds without parts are left out.

    Raises:
        RefusalError: a part that has neither a length nor a text to keep, or nothing that is to be written.
    """
    rounds = [[_given(topic, value) for topic, value in parts] for parts in rounds_of(plan) or () if parts]
    return list[Round](rounds)


def _given(topic: str, value: int | Kept) -> PlannedPart:
    if not isinstance(value, Kept):
        return PlannedPart(topic, value)
    assert isinstance(value.text, str)
    return PlannedPart(topic, value.tokens or max(1, len(value.text) // CHARACTERS_PER_TOKEN), value.text)


class PlanSource:
    """A plan of which one round after the other becomes known. Used on the event loop's thread.

    Args:
        rounds: that are known.
        is_complete: no further ones will come.
        plan_tokens, prompt_tokens: that the engine took for it.

    Attributes:
        close: stops the planner.
    """

    def __init__(
        self, rounds: Sequence[Round] = (), is_complete: bool = True, plan_tokens: int = 0, prompt_tokens: int = 0
    ) -> None:
        self.rounds, self.is_complete = list(rounds), is_complete
        self.plan_tokens, self.prompt_tokens = plan_tokens, prompt_tokens
        self.error: Exception | None = None
        self.close: Callable[[], object] = lambda: None
        self._changed = asyncio.Event()

    def add(self, parts: Round) -> None:
        """Take in a further round."""
        self.rounds.append(parts)
        self._changed.set()

    def end(self, error: Exception | None = None) -> None:
        """Take in that no further round will come, or that the planner failed."""
        self.is_complete, self.error = True, error
        self._changed.set()

    async def round(self, number: int) -> Round | None:
        """Wait for a round and return it; None where the plan ends before it.

        Raises:
            Exception: the planner failed.
        """
        while number >= len(self.rounds):
            if self.error is not None:
                raise self.error
            if self.is_complete:
                return None
            self._changed.clear()
            await self._changed.wait()
        return self.rounds[number]
