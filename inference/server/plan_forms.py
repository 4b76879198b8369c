"""The forms of a plan in the API: as a request gives it, as an answer has it, and as a stream tells it.

docs/formats.md shows them as a JSON schema, which is made from the classes here.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from .bodies import Body, Part


class Promise(Body):
    """A part that is planned."""

    topic: str
    length: Annotated[int, Field(ge=1)]


class FinishedPart(Promise):
    """A part of a finished answer."""

    text: str


class Outline(Body):
    """A round is planned."""

    event: Literal["outline"] = "outline"
    round: int
    parts: list[Promise]


class WrittenPart(Body):
    """The text of a part is final."""

    event: Literal["part"] = "part"
    round: int
    part: int
    text: str


class Draft(Body):
    """The parts of a round as they stand: their tokens, null for a blank."""

    event: Literal["draft"] = "draft"
    round: int
    parts: list[list[str | None]]


class PlanForms(Body):
    """All forms of a plan, by the place where they stand."""

    request: Annotated[list[list[Part]], Field(description="`plan` of a request: rounds of parts.")]
    choice: Annotated[list[list[FinishedPart]], Field(description="`plan` of a choice: rounds of parts.")]
    delta: Annotated[Outline | WrittenPart | Draft, Field(description="`plan` of a chunk's delta, with `stream_plan`.")]


def plan_schema() -> dict[str, Any]:
    """Return the JSON schema of all forms."""
    return PlanForms.model_json_schema()
