"""An OpenAI-compatible server: how it is reached, whether it can work, and how its failures are told."""

import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .llm_reply import NoCompletionError
from .llm_request import Form, advice_on

if TYPE_CHECKING:
    from openai import AsyncOpenAI


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible server and how to ask it; `retries` are the client's own, `seconds` the time per request.

    `form` is the form of its requests, until the endpoint refuses a part of it.
    """

    model: str
    url: str | None = None
    concurrency: int = 8
    retries: int = 5
    seconds: float = 120.0
    form: Form = Form()

    @property
    def name(self) -> str:
        """The endpoint's name in messages."""
        return self.url or "of OpenAI"

    def client(self) -> "AsyncOpenAI":
        """Return a client for the endpoint.

        Raises:
            ValueError: there is no key.
            RuntimeError: the package openai is not installed.
        """
        try:
            import openai
        except ImportError as error:
            raise RuntimeError(
                "The llm annotator needs openai; run pip install 'planned-diffusion[annotate]'."
            ) from error
        key = os.environ.get("OPENAI_API_KEY") or ("none" if self.url else None)
        if key is None:
            raise ValueError("There is no API key; set OPENAI_API_KEY, or name your own server with --endpoint.")
        return openai.AsyncOpenAI(base_url=self.url, api_key=key, max_retries=self.retries, timeout=self.seconds)


def check_endpoint(endpoint: Endpoint) -> None:
    """Raise ValueError for an endpoint that cannot work."""
    if not endpoint.model:
        raise ValueError("The llm annotator needs a model's name; give --llm.")
    if endpoint.url is not None and not endpoint.url.startswith(("http://", "https://")):
        raise ValueError(f"The endpoint is {endpoint.url!r}; give a URL such as http://localhost:8000/v1.")
    for name, least in (("concurrency", 1), ("retries", 0), ("seconds", 1)):
        value = getattr(endpoint, name)
        if value < least:
            raise ValueError(f"{name} is {value}; it must not be smaller than {least}.")
    if endpoint.form.temperature is not None and not 0 <= endpoint.form.temperature < math.inf:
        raise ValueError(f"temperature is {endpoint.form.temperature}; give a number of at least 0, or none.")


def explained(error: Exception, endpoint: Endpoint, finished: int) -> Exception:
    """Return the error to raise where an endpoint has failed for good; other errors stay as they are."""
    import openai

    if isinstance(error, NoCompletionError):
        return RuntimeError(
            f"The endpoint {endpoint.name} answers with no chat completion ({error}), as if it were not "
            "OpenAI-compatible; check --endpoint, which usually ends in /v1, and run the same command again "
            f"({finished} finished records are kept)."
        )
    if not isinstance(error, openai.OpenAIError):
        return error
    reason = " ".join(str(error).split())[:200]
    advice = advice_on(getattr(error, "status_code", None))
    return RuntimeError(
        f"The endpoint {endpoint.name} fails ({type(error).__name__}: {reason}); {finished} finished records "
        f"are kept. Run the same command again to go on from there{advice}."
    )
