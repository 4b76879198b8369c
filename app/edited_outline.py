"""From an outline that was edited on the page to a plan that `generate` takes: parts that are kept, parts to write.

The page sends rounds of parts: {"topic": text, "length": tokens, "keep": true or false, "was": [round, part] or null}.
"""

from typing import Any

from ..generation.events import FinishedSpan
from ..generation.skeleton import Kept
from ..inference.server.plan_forms import FinishedPart
from .page_answer import PageAnswer

LONGEST_TOPIC = 200  # characters
UNREADABLE = "The outline cannot be read; reload the page."


def plan_of(outline: object, before: PageAnswer) -> list[list[list[Any]]]:
    """Return the rounds of an edited outline; a part that is kept has the tokens that it had before.

    Raises:
        ValueError: an outline that makes no sense, or nothing to write in it.
    """
    assert before.ended is not None  # only finished answers are edited
    if not isinstance(outline, list) or not all(isinstance(parts, list) for parts in outline):
        raise ValueError(UNREADABLE)
    rounds = [[_part(part, before) for part in parts] for parts in outline if parts]
    if not rounds:
        raise ValueError("The outline has no parts; add one.")
    if all(isinstance(length, Kept) for parts in rounds for _, length in parts):
        raise ValueError("Every part is kept, so there is nothing to write; change, add or release one.")
    return rounds


def _part(part: object, before: PageAnswer) -> list[Any]:
    if not isinstance(part, dict):
        raise ValueError(UNREADABLE)
    topic, length = part.get("topic"), part.get("length")
    if not isinstance(topic, str) or not topic.strip():
        raise ValueError("A part has no name; give it one, or delete it.")
    topic = " ".join(topic.split())
    if len(topic) > LONGEST_TOPIC:
        raise ValueError(f"The name {topic[:20]!r}... has {len(topic)} characters; give {LONGEST_TOPIC} at most.")
    was = _span(part.get("was"), before)
    if part.get("keep") and was is not None:
        span, old = was
        assert before.ended is not None
        kept = Kept(list(before.ended.written_ids[span.start : span.stop]), span.length)
        return [list(span.topic_ids) if topic == old.topic else topic, kept]
    if isinstance(length, bool) or not isinstance(length, int) or length < 1:
        got = "no length" if length is None else f"the length {length!r}"
        raise ValueError(f"The part {topic!r} has {got}; give a whole number of tokens, at least 1.")
    return [topic, length]


def _span(place: object, before: PageAnswer) -> tuple[FinishedSpan, FinishedPart] | None:
    """Return a part of the answer before by (round, part); None for a new one."""
    assert before.ended is not None
    if place is None:
        return None
    try:
        number, index = place  # pyright: ignore[reportGeneralTypeIssues]  # whatever the browser sent
        if number < 0 or index < 0:
            raise ValueError
        return before.ended.written_plans[number][index], before.parts()[number][index]
    except (TypeError, ValueError, IndexError) as error:
        raise ValueError(UNREADABLE) from error
