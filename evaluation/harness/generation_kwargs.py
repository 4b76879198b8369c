"""Read `generation_kwargs` of lm-eval's tasks as fields of `generate`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...inference.answer import check_fields
from ...inference.batch.tasks import field_names

ROOMS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")  # lm-eval's names for one field
SAMPLING = ("temperature", "top_p", "top_k")


@dataclass(frozen=True)
class Asked:
    """The way in which a task wants an answer: fields of `generate`, and the texts at which it ends."""

    fields: dict[str, Any]
    until: list[str]


def read_generation_kwargs(given: Mapping[str, Any], room: int) -> Asked:
    """Return what a task asks for; greedy where it does not say that tokens are sampled.

    Args:
        room: the most new tokens where the task does not say.

    Raises:
        ValueError: an argument that is no field of `generate`, or a value out of range.
    """
    kwargs = dict(given)
    until = kwargs.pop("until", None) or []
    until = [text for text in ([until] if isinstance(until, str) else until) if text]
    rooms = [kwargs.pop(name) for name in ROOMS if kwargs.get(name) is not None]
    fields: dict[str, Any] = {"max_new_tokens": int(rooms[0]) if rooms else room}
    sampled = kwargs.pop("do_sample", None)
    temperature = float(kwargs.get("temperature") or 0.0)
    fields["do_sample"] = bool(temperature > 0 if sampled is None else sampled)
    for name in SAMPLING:
        value = kwargs.pop(name, None)
        if fields["do_sample"] and value is not None:
            fields[name] = value
    unknown = [name for name in kwargs if name not in field_names() and name not in ROOMS]
    if unknown:
        raise ValueError(
            f"generation_kwargs of the task have {unknown[0]!r}, which is no field of generate; take it out of the "
            f"task, or choose among {', '.join(field_names())}."
        )
    fields |= {name: value for name, value in kwargs.items() if name not in ROOMS}
    check_fields(fields)
    return Asked(fields, until)


def cut(text: str, until: list[str]) -> str:
    """Return a text up to the first of the texts at which it ends."""
    places = [text.find(end) for end in until if end in text]
    return text[: min(places)] if places else text
