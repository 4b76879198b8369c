"""The `llm` annotator: asks any OpenAI-compatible endpoint for a plan of each answer.

Several answers are asked for at a time, each at most twice: a reply that describes no valid plan is sent back once with
what is wrong with it, and then the record is refused. The client retries what may pass (429, 5xx, lost connections).
What is no chat completion at all (a web page, JSON of something else) fails like a status: at once where nothing has
been a completion yet, after as many tries as the client's where an endpoint breaks midway.
When the endpoint fails for good, what is under way is finished and kept, and nothing that was answered is ever asked
again. Answers that must not be split by rule (code, arithmetic, narratives) stay plain without asking.
"""

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..records.journal import Journal
from .independence import PARALLEL, PLAIN, STEPS, why_plain
from .llm_prompt import messages_for, pieces_of, rounds_of
from .outcomes import Asked, finished, refusal
from .structure import MOST_SPANS, Annotation
from .tagging import TokenCounter

TRIES = 2
CHARACTERS_PER_TOKEN = 4  # for the estimate
REPLY_PER_PIECE = 8  # tokens of a reply per piece of the answer, for the estimate
OF_THE_RECORD = (400, 413, 422)  # HTTP statuses that may be about one record, once others have passed
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0  # seconds before asking again where no completion came


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
    records: Iterator[Asked | dict],
    journal: Journal,
    counter: TokenCounter,
    advance: Callable,
    endpoint: Endpoint,
    most_spans: int = MOST_SPANS,
) -> None:
    """Asks for the plans of all records and writes their entries as they come.

    Raises:
        RuntimeError: the endpoint failed for good, or the disk; what is finished is in the journal.
    """
    asyncio.run(_ask_all(records, journal, counter, advance, endpoint, most_spans))


async def _ask_all(records, journal, counter, advance, endpoint, most_spans) -> None:
    failures: list[Exception] = []
    answered = [0]

    async def work(client) -> None:
        for one in records:  # shared by all workers: each takes the next
            try:
                if isinstance(one, Asked):
                    one = await _entry(one, client, counter, endpoint, most_spans, answered)
                journal.append(one)
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

    if isinstance(error, NoCompletion):
        return RuntimeError(
            f"The endpoint {endpoint.url or 'of OpenAI'} answers with what is no chat completion ({error}), as if it "
            "were not OpenAI-compatible; check --endpoint, which usually ends in /v1, and run the same command again "
            f"({done} finished records are kept)."
        )
    if not isinstance(error, openai.OpenAIError):
        return error
    reason = " ".join(str(error).split())[:200]
    return RuntimeError(
        f"The endpoint {endpoint.url or 'of OpenAI'} fails ({type(error).__name__}: {reason}); {done} finished records "
        "are kept. Run the same command again to go on from there."
    )


async def _entry(
    one: Asked, client, counter: TokenCounter, endpoint: Endpoint, most_spans: int, answered: list[int]
) -> dict:
    """The journal entry of a record: kept with its plan, or refused."""
    rule = why_plain(one.prompt, one.answer)
    if rule:
        return finished([one], [Annotation(PLAIN, reason=rule)], counter)[0]
    pieces = pieces_of(one.answer)
    chat, usage, complaint = messages_for(one.prompt, pieces, most_spans), [0, 0, 0], ""
    for _ in range(TRIES):
        reply = await _reply(client, endpoint, chat, answered)
        if reply is None:
            complaint = "The endpoint refuses it, or answers without a choice."
            break
        text, used = reply
        usage = [total + more for total, more in zip(usage, (*used, 1), strict=True)]
        try:
            plan = _annotation(rounds_of(text, pieces, most_spans))
            return finished([one], [plan], counter)[0] | {"usage": usage}
        except ValueError as error:
            complaint = str(error)
        chat = [*chat, {"role": "assistant", "content": text}, {"role": "user", "content": f"{complaint} Reply again."}]
    row = {"messages": one.messages, **one.extra}
    return refusal(one.index, one.fingerprint, row, f"no valid plan; {complaint}", usage)


class NoCompletion(Exception):
    """An endpoint's answer is none of an OpenAI-compatible one; the message shows how it begins."""


async def _reply(
    client, endpoint: Endpoint, chat: list[dict], answered: list[int]
) -> tuple[str, tuple[int, int]] | None:
    """A reply's text and its tokens (prompt, completion); None where the endpoint refuses this one record.

    Raises:
        NoCompletion: neither the first answer, where none was one before, nor any of the further tries is a completion.
    """
    import openai

    for attempt in range(endpoint.retries + 1):
        try:
            body = await _body(client, endpoint.model, chat)
        except openai.APIStatusError as error:
            if error.status_code in OF_THE_RECORD and answered[0]:
                return None
            raise
        completion = _completion(body)
        if completion and completion["choices"]:
            answered[0] += 1
            return _text(completion["choices"][0]), _used(completion.get("usage"))
        if not answered[0] or attempt == endpoint.retries:
            break
        await asyncio.sleep(min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE))
    if completion and answered[0]:  # without a choice: what some endpoints answer to what they will not read
        return None
    raise NoCompletion(f"it begins {body[:40].decode(errors='replace')!r}")


async def _body(client, model: str, chat: list[dict]) -> bytes:
    reply = await client.chat.completions.with_raw_response.create(model=model, messages=chat, temperature=0)
    return reply.content


def _completion(body: bytes) -> dict | None:
    """The object of a chat completion, whose choices may be none; None for anything else."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("choices"), list) else None


def _text(choice) -> str:
    """The text of a choice, joined where it comes in parts; "" where there is none."""
    message = choice.get("message") if isinstance(choice, dict) else None
    content = message.get("content") if isinstance(message, dict) else None
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    joined = "".join(text for text in texts if isinstance(text, str))
    return joined.encode(errors="replace").decode()  # half characters could not be sent back


def _used(usage) -> tuple[int, int]:
    """Prompt and completion tokens as far as they are told."""
    told = usage if isinstance(usage, dict) else {}
    counts = (told.get("prompt_tokens"), told.get("completion_tokens"))
    prompt, completion = (count if type(count) is int else 0 for count in counts)
    return prompt, completion


def _annotation(rounds) -> Annotation:
    """A plan with one span is none."""
    if sum(map(len, rounds)) < 2:
        return Annotation(PLAIN, reason="endpoint")
    return Annotation(PARALLEL if max(map(len, rounds)) > 1 else STEPS, rounds, "endpoint")
