"""Bounds of a server, and who may ask it."""

from dataclasses import dataclass

MEGABYTE = 2**20


@dataclass(frozen=True)
class Limits:
    """Bounds that keep a server answering, whatever it is sent.

    live: answers that share a forward, per model; None for what suits the device.
    queue: answers that may wait for a place; more are refused by status 429.
    choices: answers that one request may ask for.
    prompt_tokens: tokens of a prompt, at most; None for as many as the model has positions.
    answer_tokens: tokens of an answer, at most.
    body_bytes, body_seconds: size of a request's body, and the time in which it must arrive.
    answer_seconds: time from a request's arrival to the end of its answers.
    keep_alive_seconds: a stream that has nothing to say for so long sends a comment.
    stalled_seconds: a client that takes nothing of its answer for so long is dropped.
    shutdown_seconds: time in which running answers may end once the server is asked to stop.
    """

    live: int | None = None
    queue: int = 256
    choices: int = 16
    prompt_tokens: int | None = None
    answer_tokens: int = 4096
    body_bytes: int = 2 * MEGABYTE
    body_seconds: float = 30.0
    answer_seconds: float = 600.0
    keep_alive_seconds: float = 15.0
    stalled_seconds: float = 60.0
    shutdown_seconds: float = 30.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            least = 0 if name == "queue" else 1 if isinstance(value, int) else 0.01
            if value is not None and value < least:
                raise ValueError(f"{name} is {value}; give at least {least}.")


@dataclass(frozen=True)
class Access:
    """Who may ask a server.

    api_key: clients must send it as `Authorization: Bearer KEY`; None lets everybody in who reaches the server.
    hosts: names under which clients may call the server, beside localhost and plain addresses.
    origins: web pages that may call it, such as https://chat.example.org.
    own_pages: pages that the server itself has sent may call it.
    """

    api_key: str | None = None
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    own_pages: bool = False

    def __post_init__(self) -> None:
        key = "key" if self.api_key is None else self.api_key
        if not (key and key.isascii() and key.isprintable() and key.strip() == key):
            raise ValueError("The API key is empty or holds characters that no header can carry; give printable ASCII.")
