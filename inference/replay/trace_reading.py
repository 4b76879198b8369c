"""Read a trace file (recording.py) back into the events that it recorded, without tokenizer or model.

A file that was cut off is read as far as it goes. Events and fields that are not known here are passed over: `version`
rises where a reader would have to change.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, cast, get_args, get_origin, get_type_hints

from transformers import PreTrainedTokenizerBase

from ...generation.events import EVENTS, Ended, Event, Failed, Text
from ...generation.trace import Felt, TraceRecorder
from ..answer import Answer, Prose
from ..recording import FORMAT, VERSION
from .spellings import Spellings

KINDS = {kind.__name__: kind for kind in EVENTS if kind is not Failed}  # an answer that failed has no trace
NOT_READ = ("skeleton", "topic")  # what JSON has not, and what a recording adds


@dataclass(frozen=True)
class RecordedRun:
    """One answer as its trace has it.

    Attributes:
        document: the fields beside the events.
        events: with the seconds since the start at which each came.
        spellings: the texts of its token ids.
    """

    document: Mapping[str, Any]
    events: tuple[tuple[float, Event], ...]
    spellings: Spellings

    @property
    def is_whole(self) -> bool:
        """Whether the answer has ended in it."""
        return bool(self.events) and isinstance(self.events[-1][1], Ended)

    def answer(self) -> Answer:
        """Return the answer as far as it was recorded; its forwards are counted anew."""
        recorder, prose = TraceRecorder(), Prose(cast(PreTrainedTokenizerBase, self.spellings))
        for _, event in self.events:
            recorder.add(event)
            if isinstance(event, Text):
                prose.add(event.token_ids)
        told, last = self.document.get("seconds"), self.events[-1][0] if self.events else 0.0
        seconds = told if isinstance(told, float) and self.is_whole else last
        text = self.document.get("text")
        return Answer(
            prompt=str(self.document.get("prompt", "")),
            prompt_ids=[],
            text=text if isinstance(text, str) and self.is_whole else prose.text,
            plans=[],
            trace=replace(recorder.trace(), seconds=seconds, felt=self.felt()),
            ended=str(self.document.get("ended")) if self.is_whole else "a trace that is cut off",
            model=str(self.document.get("model", "")),
            decoding=str(self.document.get("decoding", "")),
        )

    def felt(self) -> Felt:
        """Return the seconds that a reader felt: those that the trace tells, else those of its events."""
        felt = Felt()
        for at_seconds, event in self.events:
            felt.add(event, at_seconds)
        told = self.document.get("felt_seconds")
        if isinstance(told, dict):
            felt = Felt(**{name: _seconds(told.get(name)) for name in felt.as_json()})
        return felt


def read_trace(path: Path) -> RecordedRun:
    """Read a trace file.

    Raises:
        ValueError: no such file, no trace, or one of a version that is not read here.
    """
    try:
        text = path.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read ({error}); give a file of generate --trace.") from error
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = _salvaged(text)
    try:
        return recorded_run(document)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def recorded_run(document: object) -> RecordedRun:
    """Read the content of a trace file.

    Raises:
        ValueError: no trace, one of a version that is not read here, or events that cannot be understood.
    """
    if not isinstance(document, Mapping) or document.get("format") != FORMAT:
        raise ValueError("this is no trace; give a file that generate --trace has written.")
    version = document.get("version")
    if version != VERSION:
        raise ValueError(
            f"this trace has version {version!r}, and version {VERSION} is read here; use the planned-diffusion that "
            "wrote it, or write it again."
        )
    told = document.get("events")
    if not isinstance(told, list):
        raise ValueError("this trace has no list of events; write it again with generate --trace.")
    spellings, events = Spellings(), []
    try:
        _learn(spellings, told)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"the texts of this trace cannot be read ({error!r}); write it again.") from error
    for number, one in enumerate(told):
        try:
            kind = KINDS.get(one["event"])
            if kind is not None:
                events.append((float(one["at_seconds"]), cast(Event, _value(kind, one))))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"event {number} of this trace cannot be read ({error!r}); write it again.") from error
    document = {name: value for name, value in document.items() if name != "events"}
    return RecordedRun(document, tuple(events), spellings)


def _seconds(told: object) -> float | None:
    return float(told) if isinstance(told, (int, float)) else None


def _salvaged(text: str) -> object:
    """Return what is whole in a trace file that was cut off: the fields in front of the events, and whole events.

    None where it was cut off before its events began.
    """
    decoder, opening = json.JSONDecoder(), '"events": ['
    head, found, rest = text.partition(opening)
    if not found:
        return None
    try:
        document = json.loads(f"{head}{opening}]}}")
    except (ValueError, RecursionError):
        return None
    while rest:
        try:
            event, stop = decoder.raw_decode(rest)
        except (ValueError, RecursionError):
            break
        document["events"].append(event)
        rest = rest[stop:].lstrip(", \n")
    return document


@cache
def _hints(kind: type) -> dict[str, object]:
    hints = get_type_hints(kind)
    return {one.name: hints[one.name] for one in fields(kind) if one.name not in NOT_READ}


def _value(hint: object, told: object) -> object:
    """Return a value of a trace as the type that an event's field has.

    Raises:
        TypeError, ValueError: it is of another type, or lacks a field.
    """
    if isinstance(hint, UnionType):
        [hint] = [one for one in get_args(hint) if one is not NoneType]
        return None if told is None else _value(hint, told)
    if get_origin(hint) is tuple and isinstance(told, list):
        kinds = get_args(hint)
        each = kinds[:1] * len(told) if kinds[-1] is Ellipsis else kinds
        return tuple(_value(kind, value) for kind, value in zip(each, told, strict=True))
    if isinstance(hint, type) and is_dataclass(hint) and isinstance(told, dict):
        return hint(**{name: _value(kind, told[name]) for name, kind in _hints(hint).items() if name in told})
    if isinstance(hint, type) and isinstance(told, (int, float) if hint is float else hint):
        return told
    raise TypeError(f"{told!r} is no {getattr(hint, '__name__', hint)}")


def _learn(spellings: Spellings, told: Sequence[Any]) -> None:
    """Take in all spellings of a trace: first every token alone, then texts that tokens make together."""
    texts, final = [], ([], [])
    for one in _with_ids(told):
        spellings.learn(one["token_ids"], one["texts"])
        if one.get("event") == "Text":
            final[0].extend(one["token_ids"])
            final[1].append(one["text"])
        elif one.get("event") == "SpanClosed":
            texts.append((one["token_ids"], one["text"]))
    for token_ids, text in [*texts, (final[0], "".join(final[1]))]:
        spellings.learn_joined(token_ids, text)
    for one in _with_topics(told):
        spellings.learn_phrase(one["topic_ids"], one["topic"])
    for one in told:
        if isinstance(one, dict) and one.get("event") == "Ended" and one.get("reason") == "eos":
            spellings.special.update(one["answer_ids"][-1:])


def _with_topics(told: object) -> Iterator[dict[str, Any]]:
    """Yield everything in the events that has a topic."""
    inside = told.values() if isinstance(told, dict) else told if isinstance(told, list) else ()
    if isinstance(told, dict) and isinstance(told.get("topic"), str) and "topic_ids" in told:
        yield told
    for one in inside:
        yield from _with_topics(one)


def _with_ids(told: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """Yield the events that spell tokens, a single token as a list of one."""
    for one in told:
        if not isinstance(one, dict):
            continue
        if isinstance(one.get("token_id"), int) and isinstance(one.get("text"), str):
            yield {"token_ids": [one["token_id"]], "texts": [one["text"]]}
        elif "token_ids" in one and "texts" in one:
            yield one
