"""The `llm` annotator: asks any OpenAI-compatible endpoint for a plan of each answer.

Several answers are asked for at a time, each at most twice: a reply that describes no valid plan is sent back once with
what is wrong with it, and then the record is refused. The client retries what may pass (429, 5xx, lost connections).
When the endpoint fails for good, what is under way is finished and kept, and nothing that was answered is ever asked
again. Answers that must not be split by rule (code, arithmetic, narratives) stay plain without asking.
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .entries import Asked, finished, refusal
from .independence import PARALLEL, PLAIN, STEPS, why_plain
from .journal import Journal
from .llm_prompt import messages_for, pieces_of, rounds_of
from .structure import Annotation
from .tagging import TokenCounter

TRIES = 2
CHARACTERS_PER_TOKEN = 4  # for the estimate
REPLY_PER_PIECE = 8  # tokens of a reply per piece of the answer, for the estimate
OF_THE_RECORD = (400, 413, 422)  # HTTP statuses that may be about one record, once others have passed


@dataclass(frozen=True)
class Endpoint:
    """Where to ask and how; `retries` are the client's own, `seconds` the time a request may take."""

    model: str
    url: str | None = None
    concurrency: int = 8
    retries: int = 5
    seconds: float = 120.0

    def client(self):
        """Raises ValueError for a missing key, RuntimeError where the package is not installed."""
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
    """Raises ValueError for settings that cannot work."""
    if not endpoint.model:
        raise ValueError("The llm annotator needs a model's name; give --llm.")
    if endpoint.url is not None and not endpoint.url.startswith(("http://", "https://")):
        raise ValueError(f"The endpoint is {endpoint.url!r}; give a URL such as http://localhost:8000/v1.")
    for name in ("concurrency", "retries", "seconds"):
        if getattr(endpoint, name) < (0 if name == "retries" else 1):
            raise ValueError(
                f"{name} is {getattr(endpoint, name)}; it must not be smaller than {int(name != 'retries')}."
            )


def estimate(records: Iterator[Asked | dict]) -> dict[str, int]:
    """Requests and tokens that records will take at least, in round numbers."""
    requests = prompt_tokens = completion_tokens = 0
    for one in records:
        if isinstance(one, Asked) and why_plain(one.prompt, one.answer) is None:
            pieces = pieces_of(one.answer)
            requests += 1
            prompt_tokens += (
                sum(len(turn["content"]) for turn in messages_for(one.prompt, pieces)) // CHARACTERS_PER_TOKEN
            )
            completion_tokens += REPLY_PER_PIECE * len(pieces)
    return {"requests": requests, "prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}


def ask_all(
    records: Iterator[Asked | dict], journal: Journal, counter: TokenCounter, advance: Callable, endpoint: Endpoint
) -> None:
    """Asks for the plans of all records and writes their entries as they come.

    Raises:
        RuntimeError: the endpoint failed for good, or the disk; what is finished is in the journal.
    """
    asyncio.run(_ask_all(records, journal, counter, advance, endpoint))


async def _ask_all(records, journal, counter, advance, endpoint) -> None:
    failures: list[Exception] = []
    answered = [0]

    async def work(client) -> None:
        for one in records:  # shared by all workers: each takes the next
            try:
                entry = one if isinstance(one, dict) else await _entry(one, client, counter, endpoint, answered)
                journal.append(entry)
            except Exception as error:
                failures.append(error)
            if failures:
                return
            advance(1)

    async with endpoint.client() as client:
        await asyncio.gather(*(work(client) for _ in range(endpoint.concurrency)))
    if failures:
        raise _failure(failures[0], endpoint, len(journal)) from failures[0]


def _failure(error: Exception, endpoint: Endpoint, done: int) -> Exception:
    import openai

    if not isinstance(error, openai.OpenAIError):
        return error
    reason = " ".join(str(error).split())[:200]
    return RuntimeError(
        f"The endpoint {endpoint.url or 'of OpenAI'} fails ({type(error).__name__}: {reason}); {done} finished records "
        "are kept. Run the same command again to go on from there."
    )


async def _entry(one: Asked, client, counter: TokenCounter, endpoint: Endpoint, answered: list[int]) -> dict:
    """The journal entry of a record: kept with its plan, or refused."""
    rule = why_plain(one.prompt, one.answer)
    if rule:
        return finished([one], [Annotation(PLAIN, reason=rule)], counter)[0]
    pieces = pieces_of(one.answer)
    chat, usage, complaint = messages_for(one.prompt, pieces), [0, 0, 0], ""
    for _ in range(TRIES):
        reply = await _reply(client, endpoint.model, chat, answered)
        if reply is None:
            complaint = "The endpoint refuses it."
            break
        text, used = reply
        usage = [total + more for total, more in zip(usage, (*used, 1), strict=True)]
        try:
            return finished([one], [_annotation(rounds_of(text, pieces))], counter)[0] | {"usage": usage}
        except ValueError as error:
            complaint = str(error)
        chat = [*chat, {"role": "assistant", "content": text}, {"role": "user", "content": f"{complaint} Reply again."}]
    row = {"messages": one.messages, **one.extra}
    return refusal(one.index, one.fingerprint, row, f"no valid plan; {complaint}", usage)


async def _reply(client, model: str, chat: list[dict], answered: list[int]) -> tuple[str, tuple[int, int]] | None:
    """A reply's text and its tokens (prompt, completion); None where the endpoint refuses this one record."""
    import openai

    try:
        reply = await client.chat.completions.create(model=model, messages=chat, temperature=0)
    except openai.APIStatusError as error:
        if error.status_code in OF_THE_RECORD and answered[0]:
            return None
        raise
    except ValueError:  # a body that is no JSON
        return "", (0, 0)
    answered[0] += 1
    choices, usage = getattr(reply, "choices", None), getattr(reply, "usage", None)
    text = (choices[0].message.content or "") if choices else ""
    return text, (getattr(usage, "prompt_tokens", 0) or 0, getattr(usage, "completion_tokens", 0) or 0)


def _annotation(rounds) -> Annotation:
    """A plan with one span is none."""
    if sum(map(len, rounds)) < 2:
        return Annotation(PLAIN, reason="endpoint")
    return Annotation(PARALLEL if max(map(len, rounds)) > 1 else STEPS, rounds, "endpoint")
