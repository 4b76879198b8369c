"""Records on their way: as asked of an annotator, and as the journal keeps them, finished or refused."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..records.checks import check_utf8
from .reading import Source
from .schemas import split_row
from .structure import Annotation
from .tagging import TokenCounter, refuse_tags, tagged_answer


@dataclass(frozen=True)
class Asked:
    """A record to annotate: its place in the source, a hash of its messages, the messages and the other fields."""

    index: int
    fingerprint: str
    messages: list[dict]
    extra: dict

    @property
    def prompt(self) -> str:
        return next((turn["content"] for turn in reversed(self.messages[:-1]) if turn["role"] == "user"), "")

    @property
    def answer(self) -> str:
        return self.messages[-1]["content"]


def records(source: Source) -> Iterator[Asked | dict]:
    """The rows of a source as records, or as journal entries of what is refused."""
    for index, row in enumerate(source.rows()):
        fingerprint = hashlib.sha256(json.dumps(row, sort_keys=True, default=str).encode()).hexdigest()[:16]
        try:
            messages, extra = split_row(row, source.schema)
            _refuse_unusable(messages)
        except ValueError as error:
            yield refusal(index, fingerprint, row, str(error))
        else:
            yield Asked(index, fingerprint, messages, extra)


def _refuse_unusable(messages: list[dict]) -> None:
    for turn in messages:
        check_utf8(turn["content"], "The text")
        if turn["role"] == "assistant":
            refuse_tags(turn["content"])
    if not messages[-1]["content"].strip():
        raise ValueError("The answer is empty.")


def refusal(index: int, fingerprint: str, row: dict, reason: str, usage: Sequence[int] = ()) -> dict:
    """The journal entry of a record that is not kept."""
    entry = {"index": index, "hash": fingerprint, "refused": {"index": index, "reason": reason, "record": row}}
    return entry | ({"usage": list(usage)} if usage else {})


def finished(asked: Sequence[Asked], plans: Sequence[Annotation], counter: TokenCounter) -> list[dict]:
    """The journal entries of planned records, tagged and checked."""
    tokens = counter.tally(plan.rounds for plan in plans)
    return [_finished(one, plan, tokens, counter.unit) for one, plan in zip(asked, plans, strict=True)]


def _finished(one: Asked, plan: Annotation, tokens: dict[str, int], unit: int) -> dict:
    try:
        tagged, sizes = tagged_answer(one.answer, plan.rounds, tokens, unit)
    except ValueError as error:
        return refusal(one.index, one.fingerprint, {"messages": one.messages, **one.extra}, str(error))
    messages = [*one.messages[:-1], {**one.messages[-1], "content": tagged}]
    return {
        "index": one.index,
        "hash": one.fingerprint,
        "kind": plan.kind,
        "reason": plan.reason,
        "spans": sizes.spans,
        "plan": sizes.plan,
        "kept": {"messages": messages, **one.extra, "annotation": plan.kind},
    }
