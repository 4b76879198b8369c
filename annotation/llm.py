"""The `llm` annotator: asks any OpenAI-compatible endpoint for a plan of each answer.

Several answers are asked for at a time, each at most twice: a reply that describes no valid plan is sent back once with
its fault, and then the record is refused. The client repeats requests that may pass (429, 5xx, lost connections). A
reply that is not a chat completion (a web page, other JSON) counts as a server error: fatal if no completion has ever
arrived, retried otherwise. When the endpoint fails for good, requests under way are finished and kept, and no record
that was answered is ever asked for again. Answers that must not be split by rule (code, arithmetic, narratives) stay
plain without asking.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ..records.journal import Journal
from ..records.tagged import Rounds
from .independence import PARALLEL, PLAIN, STEPS, why_plain
from .llm_endpoint import Endpoint, check_endpoint, explained
from .llm_prompt import messages_for, pieces_of, rounds_of
from .llm_reply import NoCompletionError, completion_in, text_of, usage_of
from .llm_request import Form
from .outcomes import Asked, Outcome, Refused, Usage, finished
from .schemas import Message
from .structure import MOST_SPANS, Annotation
from .tagging import TokenCounter

if TYPE_CHECKING:
    from openai import AsyncOpenAI

TRIES = 2  # replies per record
CHARACTERS_PER_TOKEN = 4  # for the estimate
REPLY_PER_PIECE = 8  # tokens of a reply per piece of the answer, for the estimate
OF_THE_RECORD = (400, 413, 422)  # HTTP statuses that may be about one record, once others have passed
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0  # seconds before asking again where no completion came


def estimate(records: Iterator[Asked | Refused]) -> dict[str, int]:
    """Estimate the requests and tokens that records take at least."""
    requests = prompt_tokens = completion_tokens = 0
    for one in records:
        if isinstance(one, Asked) and why_plain(one.prompt, one.unplanned) is None:
            pieces = pieces_of(one.unplanned)
            characters = sum(len(turn["content"]) for turn in messages_for(one.prompt, pieces))
            requests += 1
            prompt_tokens += characters // CHARACTERS_PER_TOKEN
            completion_tokens += REPLY_PER_PIECE * len(pieces)
    return {"requests": requests, "prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}


def ask_all(
    records: Iterator[Asked | Refused],
    journal: Journal,
    counter: TokenCounter,
    advance: Callable[[int], None],
    endpoint: Endpoint,
    most_spans: int = MOST_SPANS,
) -> None:
    """Ask for the plans of all records and write their entries as they come.

    Args:
        advance: called with 1 whenever a record is finished.

    Raises:
        ValueError: an endpoint that cannot work.
        RuntimeError: the endpoint failed for good, or the disk; all finished records are in the journal.
    """
    check_endpoint(endpoint)
    asyncio.run(_ask_all(records, journal, advance, endpoint, _Planner(endpoint, counter, most_spans)))


async def _ask_all(
    records: Iterator[Asked | Refused],
    journal: Journal,
    advance: Callable[[int], None],
    endpoint: Endpoint,
    planner: "_Planner",
) -> None:
    failures: list[Exception] = []

    async def work(client: "AsyncOpenAI") -> None:
        for one in records:  # shared by all workers: each takes the next
            try:
                outcome = one if isinstance(one, Refused) else await planner.outcome(one, client)
                journal.append(outcome.entry())
            except Exception as error:
                failures.append(error)
            if failures:
                return
            advance(1)

    async with endpoint.client() as client:
        await asyncio.gather(*(work(client) for _ in range(endpoint.concurrency)))
    if failures:
        raise explained(failures[0], endpoint, len(journal)) from failures[0]


@dataclass
class _Planner:
    """Asks an endpoint for plans, on behalf of all workers.

    Attributes:
        form: the form of requests that the endpoint takes, as far as is known.
        completions: the number of its chat completions so far.
    """

    endpoint: Endpoint
    counter: TokenCounter
    most_spans: int
    form: Form = field(init=False)
    completions: int = 0

    def __post_init__(self) -> None:
        self.form = self.endpoint.form

    async def outcome(self, one: Asked, client: "AsyncOpenAI") -> Outcome:
        """Return the outcome of a record: kept with its plan, or refused."""
        rule = why_plain(one.prompt, one.unplanned)
        if rule:
            return finished([one], [Annotation(PLAIN, reason=rule)], self.counter)[0]
        pieces = pieces_of(one.unplanned)
        chat, usage, complaint = messages_for(one.prompt, pieces, self.most_spans), Usage(), ""
        for _ in range(TRIES):
            reply = await self._reply(chat, client)
            if reply is None:
                complaint = "The endpoint refuses it, or answers without a choice."
                break
            text, used = reply
            usage += used
            try:
                plan = _annotation(rounds_of(text, pieces, self.most_spans))
                return replace(finished([one], [plan], self.counter)[0], usage=usage)
            except ValueError as error:
                complaint = str(error)
            complained = {"role": "user", "content": f"{complaint} Reply again."}
            chat = [*chat, {"role": "assistant", "content": text}, complained]
        return Refused(one.index, one.fingerprint, one.row, f"no valid plan; {complaint}", usage)

    async def _reply(self, chat: list[Message], client: "AsyncOpenAI") -> tuple[str, Usage] | None:
        """Return the text and the usage of a reply; None where the endpoint refuses this one record.

        a. ask, again without what the endpoint's first refusal names; a status that may be about the record refuses
           it, if others have passed
        b. a completion with a choice is the reply
        c. anything else is fatal before the first completion; later it is asked for again, after growing pauses
        d. after the last try, a completion without a choice refuses the record, anything else is fatal

        Raises:
            NoCompletionError: the endpoint does not answer with chat completions (any more).
        """
        import openai

        body, completion = b"", None
        for attempt in range(self.endpoint.retries + 1):
            try:  # a
                body = await self._body(chat, client)
            except openai.APIStatusError as error:
                if error.status_code in OF_THE_RECORD and self.completions:
                    return None
                raise
            completion = completion_in(body)
            if completion and completion["choices"]:  # b
                self.completions += 1
                return text_of(completion["choices"][0]), usage_of(completion)
            if not self.completions or attempt == self.endpoint.retries:  # c
                break
            await asyncio.sleep(min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE))
        if completion and self.completions:  # d; some endpoints answer so to a text that they will not read
            return None
        raise NoCompletionError(f"it begins {body[:40].decode(errors='replace')!r}")

    async def _body(self, chat: list[Message], client: "AsyncOpenAI") -> bytes:
        """Ask for a completion and return the body of the answer, whatever it is.

        A refusal that names a part of the form is answered by asking without it, here and from now on.
        """
        import openai

        while True:
            form = self.form
            try:
                create = client.chat.completions.with_raw_response.create
                return (await create(model=self.endpoint.model, **form.fields(chat))).content
            except openai.APIStatusError as error:
                if form == self.form and not self.completions:
                    self.form = form.without_refused(error)
                if form == self.form:  # it names nothing that another worker has not left out meanwhile
                    raise


def _annotation(rounds: Rounds) -> Annotation:
    """Return the annotation of an endpoint's rounds; a plan with a single span is none."""
    if sum(map(len, rounds)) < 2:
        return Annotation(PLAIN, reason="endpoint")
    return Annotation(PARALLEL if max(map(len, rounds)) > 1 else STEPS, rounds, "endpoint")
