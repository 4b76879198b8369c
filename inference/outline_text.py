"""The outline of an answer as lines that a person edits, and the plan that the edited lines ask for.

    capital | 24            a part: its topic and its room in tokens
    * currency | 16         a star: write this part again, even though its line is as it was
    ---                     the next round begins
    comparison | 16
    # a remark

A part whose line is as it was keeps its text; all others are written. Lines may be renamed, resized, moved, added and
deleted.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedTokenizerBase

from ..generation.events import Ended, Event, PlanDone, SpanClosed
from ..generation.sequences import read_topic
from ..generation.skeleton import Kept
from .answer import read

LINE = re.compile(r"(?P<again>\*\s*)?(?P<topic>.*\S)\s*\|\s*(?P<length>\d{1,12})(\s*tokens?)?", re.DOTALL)
HELP = """\
# One part per line: topic | tokens. Rename, resize, move, add and delete lines as you like.
# A part whose line stays as it is keeps its text; a * in front has it written again.
# A line of --- begins the next round. Save and leave to write; an empty outline changes nothing.
"""


@dataclass(frozen=True)
class OutlinePart:
    """A part of an answer: its topic, its room in tokens, and the tokens of its text, None where it is not finished."""

    topic: str
    length: int
    text_ids: tuple[int, ...] | None = None


@dataclass
class OutlineListener:
    """Collects the outline of an answer from its events; pass `add` to `answer.ask` as a listener."""

    tokenizer: PreTrainedTokenizerBase
    rounds: list[list[OutlinePart]] = field(default_factory=list)
    _closed: set[tuple[int, int]] = field(default_factory=set)

    def add(self, index: int, event: Event) -> None:
        """Take an event in."""
        if isinstance(event, PlanDone):
            topics = [read(self.tokenizer, span.topic_ids).strip() for span in event.spans]
            parts = zip(topics, event.spans, strict=True)
            self.rounds.append([OutlinePart(topic, len(span.positions)) for topic, span in parts])
        elif isinstance(event, SpanClosed):
            self._closed.add((event.round, event.span.index))
        elif isinstance(event, Ended):
            self.rounds = [
                [
                    OutlinePart(
                        read_topic(self.tokenizer, span),
                        span.length,
                        event.answer_ids[span.start : span.stop] if (number, place) in self._closed else None,
                    )
                    for place, span in enumerate(spans)
                ]
                for number, spans in enumerate(event.plans)
                if any(span.topic_ids for span in spans)
            ]


def outline_text(rounds: Sequence[Sequence[OutlinePart]]) -> str:
    """Return an outline as lines to edit."""
    blocks = ["".join(f"{' '.join(part.topic.split())} | {part.length}\n" for part in parts) for parts in rounds]
    return HELP + "---\n".join(blocks)


def edited_plan(text: str, before: Sequence[Sequence[OutlinePart]]) -> list[list[tuple[str, Any]]]:
    """Return the plan of edited lines, as `generate` takes it: parts that are as they were are kept.

    Raises:
        ValueError: a line that is no part, no part at all, or nothing to write.
    """
    left = [part for parts in before for part in parts if part.text_ids]
    plan: list[list[tuple[str, Any]]] = [[]]
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if not line.strip("-"):
            plan.append([])
            continue
        found = LINE.fullmatch(line)
        if found is None or int(found["length"]) < 1:
            raise ValueError(f"line {number} of the outline is {line!r}; give a topic and its tokens: capital | 24")
        topic, length = found["topic"], int(found["length"])
        same = [part for part in left if (" ".join(part.topic.split()), part.length) == (topic, length)]
        if same and not found["again"]:
            left.remove(same[0])
            plan[-1].append((same[0].topic, Kept(same[0].text_ids or (), length)))
        else:
            plan[-1].append((topic, length))
    plan = [parts for parts in plan if parts]
    if not plan:
        raise ValueError("the outline is empty; the answer stays as it is.")
    if all(isinstance(length, Kept) for parts in plan for _, length in parts):
        raise ValueError("no part of the outline is new; change a line, or put a * in front to write it again.")
    return plan
