"""Errors as OpenAI's clients read them: {"error": {"message", "type", "param", "code"}} with a status."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

INVALID, FAILED = "invalid_request_error", "server_error"


@dataclass(eq=False)
class RefusalError(Exception):
    """A request that gets no answer.

    status: of HTTP.
    message: what was wrong, what was expected, what to do.
    param: the field that the message is about.
    kind, code: as OpenAI's errors have them, `type` and `code`.
    headers: further headers of the response.
    beside: further fields of the body, beside `error`.
    """

    message: str
    status: int = 400
    param: str | None = None
    code: str | None = None
    kind: str = INVALID
    headers: Mapping[str, str] = field(default_factory=dict)
    beside: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.message

    def body(self) -> dict[str, Any]:
        """Return the body of the response."""
        param = None if self.param is None else _utf8(self.param)
        error = {"message": _utf8(self.message), "type": self.kind, "param": param, "code": self.code}
        return {"error": error, **self.beside}


def _utf8(text: str) -> str:
    """Return a text in which half characters, which a client may have sent, are escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def failure() -> RefusalError:
    """Return the refusal of a request that failed through no fault of its own; the reason stays in the log."""
    return RefusalError("The server failed to answer this request; its log says why.", 500, kind=FAILED)


def timed_out(seconds: float) -> RefusalError:
    """Return the refusal of a request that took too long."""
    message = f"The answer took more than {seconds:g} seconds; ask for fewer tokens, or try again later."
    return RefusalError(message, 504, code="timeout", kind="timeout_error")
