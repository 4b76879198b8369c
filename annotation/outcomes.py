"""Records on their way: as asked of an annotator, and as the journal keeps them, finished or refused.

An entry of the journal (see `records/journal.py`) is one JSON object per record:

    index    the place of the row in the source, from 0
    hash     of the row's content
    kept     the record as OUT has it: {"messages", ... further fields of the row, "annotation": kind}
    kind     "parallel", "steps" or "plain"
    reason   why it is of this kind
    spans    per round, the tokens of each span's text; [] without a plan
    plan     per round, the tokens of the promises with their tags and numbers; [] without a plan
    refused  instead of the five fields above, as OUT.refused.jsonl has it: {"index", "reason", "record"}
    usage    [prompt tokens, completion tokens, requests] of an endpoint; absent where none was asked
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from ..records.checks import check_utf8
from .reading import Source
from .schemas import Message, Row, split_row
from .structure import Annotation
from .tagging import Sizes, TokenCounter, refuse_tags, tagged_answer
from .thought import split_thought, with_thought


@dataclass(frozen=True)
class Usage:
    """The tokens and requests that an endpoint has answered."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    requests: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(*(mine + more for mine, more in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class Asked:
    """A record to annotate: its place in the source, a hash of its row, the messages and the other fields."""

    index: int
    fingerprint: str
    messages: list[Message]
    extra: Row

    @property
    def prompt(self) -> str:
        """The last message of the user."""
        return next((turn["content"] for turn in reversed(self.messages[:-1]) if turn["role"] == "user"), "")

    @property
    def answer(self) -> str:
        """The text of the last message."""
        return self.messages[-1]["content"]

    @property
    def thought(self) -> str:
        """The thought before the answer; empty where there is none."""
        return split_thought(self.answer)[0]

    @property
    def unplanned(self) -> str:
        """The answer behind its thought, which a plan divides."""
        return split_thought(self.answer)[1]

    @property
    def row(self) -> Row:
        """The record as a row with messages."""
        return {"messages": self.messages, **self.extra}


@dataclass(frozen=True)
class Kept:
    """A finished record: its row as it is written, its annotation's kind and reason, and the tokens of its plan."""

    index: int
    fingerprint: str
    row: Row
    kind: str
    reason: str
    sizes: Sizes
    usage: Usage | None = None

    def entry(self) -> dict[str, Any]:
        """Return the entry of the journal."""
        annotation = {"kind": self.kind, "reason": self.reason, "spans": self.sizes.spans, "plan": self.sizes.plan}
        return {
            "index": self.index,
            "hash": self.fingerprint,
            **annotation,
            "kept": self.row,
            **_usage_field(self.usage),
        }


@dataclass(frozen=True)
class Refused:
    """A record that is not kept: its row and the reason."""

    index: int
    fingerprint: str
    row: Row
    reason: str
    usage: Usage | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the line of OUT.refused.jsonl."""
        return {"index": self.index, "reason": self.reason, "record": self.row}

    def entry(self) -> dict[str, Any]:
        """Return the entry of the journal."""
        return {
            "index": self.index,
            "hash": self.fingerprint,
            "refused": self.as_json(),
            **_usage_field(self.usage),
        }


Outcome = Kept | Refused


def outcome_of(entry: dict[str, Any]) -> Outcome:
    """Return the outcome that an entry of the journal keeps."""
    index, fingerprint = entry["index"], entry["hash"]
    usage = Usage(*entry["usage"]) if "usage" in entry else None
    if "refused" in entry:
        return Refused(index, fingerprint, entry["refused"]["record"], entry["refused"]["reason"], usage)
    sizes = Sizes(spans=entry["spans"], plan=entry["plan"])
    return Kept(index, fingerprint, entry["kept"], entry["kind"], entry["reason"], sizes, usage)


def _usage_field(usage: Usage | None) -> dict[str, list[int]]:
    return {} if usage is None else {"usage": list(astuple(usage))}


def records(source: Source, drop_thoughts: bool = False) -> Iterator[Asked | Refused]:
    """Yield the rows of a source in order, as records to annotate or as refused.

    Args:
        drop_thoughts: leave out the thoughts before the assistant's answers.
    """
    for index, row in enumerate(source.rows()):
        fingerprint = hashlib.sha256(json.dumps(row, sort_keys=True, default=str).encode()).hexdigest()[:16]
        try:
            messages, extra = split_row(row, source.schema)
            messages = [_without_thought(turn) for turn in messages] if drop_thoughts else messages
            _refuse_unusable(messages)
        except ValueError as error:
            yield Refused(index, fingerprint, row, str(error))
        else:
            yield Asked(index, fingerprint, messages, extra)


def _without_thought(turn: Message) -> Message:
    return {**turn, "content": split_thought(turn["content"])[1]} if turn["role"] == "assistant" else turn


def _refuse_unusable(messages: list[Message]) -> None:
    """Raise ValueError for half characters, for tags in an assistant's text, and for an empty answer."""
    for turn in messages:
        check_utf8(turn["content"], "The text")
        if turn["role"] == "assistant":
            refuse_tags(turn["content"])
    if not messages[-1]["content"].strip():
        raise ValueError("The answer is empty.")


def finished(asked: Sequence[Asked], plans: Sequence[Annotation], counter: TokenCounter) -> list[Outcome]:
    """Tag and check planned records, and return their outcomes."""
    plans = [with_thought(one.thought, plan) for one, plan in zip(asked, plans, strict=True)]
    tokens = counter.tally(plan.rounds for plan in plans)
    return [_finished(one, plan, tokens, counter.unit) for one, plan in zip(asked, plans, strict=True)]


def _finished(one: Asked, plan: Annotation, tokens: dict[str, int], unit: int) -> Outcome:
    try:
        tagged, sizes = tagged_answer(one.answer, plan.rounds, tokens, unit)
    except ValueError as error:
        return Refused(one.index, one.fingerprint, one.row, str(error))
    messages = [*one.messages[:-1], {**one.messages[-1], "content": tagged}]
    row = {"messages": messages, **one.extra, "annotation": plan.kind}
    return Kept(one.index, one.fingerprint, row, plan.kind, plan.reason, sizes)
