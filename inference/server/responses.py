"""Answers as OpenAI's clients read them: whole, or as the chunks of a stream.

Fields beside OpenAI's: `plan` in a choice (per round, per part: topic, length, text) or in a chunk's delta (an event of
plan_stream.py), and `plan_tokens` in `usage.completion_tokens_details`.
"""

import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from .plan_forms import Draft, FinishedPart, Outline, WrittenPart

Told = dict[str, Any]


class PlanNews(Protocol):
    """Whatever tells the plan of an answer."""

    def take(self) -> Sequence[Outline | WrittenPart | Draft]:
        """Return what is to be told since the last call."""
        ...


class Counts(Protocol):
    """Tokens that were written: of the text, and of plans."""

    text: int
    plan: int


class ToldAnswer(Protocol):
    """An answer of which clients are told."""

    @property
    def counts(self) -> Counts | None:
        """Tokens that were written; None where nobody knows them."""
        ...

    @property
    def plan(self) -> PlanNews:
        """Tells its plan."""
        ...

    @property
    def prompt_tokens(self) -> int:
        """Tokens of its prompt."""
        ...

    @property
    def likelihoods(self) -> object | None:
        """None where no log-probabilities are asked for."""
        ...

    @property
    def finish_reason(self) -> str | None:
        """The reason why it ended."""
        ...

    def take_text(self) -> str:
        """Return the text that is new."""
        ...

    def take_likelihoods(self) -> list[Told]:
        """Return the log-probabilities of the tokens whose text has been taken since the last call."""
        ...

    def parts(self) -> list[list[FinishedPart]]:
        """Return its plan, once it is finished."""
        ...


@dataclass(frozen=True)
class Shape:
    """The form of the answers to one request.

    chat: as of /v1/chat/completions; otherwise as of /v1/completions.
    per_prompt: answers to each prompt.
    tells_usage: a stream ends in a chunk with the usage.
    """

    model: str
    chat: bool
    tells_usage: bool = False
    per_prompt: int = 1
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, answers: Sequence[ToldAnswer]) -> Told:
        """Return the body of a response with finished answers."""
        choices = [self._choice(index, answer) for index, answer in enumerate(answers)]
        return self._head("chat.completion") | {"choices": choices, "usage": usage(answers, self.per_prompt)}

    def first_chunks(self, answers: Sequence[ToldAnswer]) -> Iterator[Told]:
        """Yield the chunks that begin a stream: the role, for chats."""
        if self.chat:
            for index in range(len(answers)):
                yield self._chunk(index, {"role": "assistant", "content": ""})

    def chunks(self, index: int, answer: ToldAnswer) -> Iterator[Told]:
        """Yield the chunks for what is new in an answer."""
        for told in answer.plan.take():
            yield self._chunk(index, {"plan": told.model_dump()})
        text = answer.take_text()
        tokens = answer.take_likelihoods()
        if text or tokens:
            yield self._chunk(index, {"content": text}, tokens, answer)

    def last_chunks(self, answers: Sequence[ToldAnswer]) -> Iterator[Told]:
        """Yield the chunks that end a stream: the usage, where it is wanted."""
        if self.tells_usage:
            yield self._head("chat.completion.chunk") | {"choices": [], "usage": usage(answers, self.per_prompt)}

    def end_chunk(self, index: int, answer: ToldAnswer) -> Told:
        """Return the chunk that says why an answer ended."""
        chunk = self._chunk(index, {})
        chunk["choices"][0]["finish_reason"] = answer.finish_reason
        return chunk

    def _head(self, kind: str) -> Told:
        prefix, kind = ("chatcmpl", kind) if self.chat else ("cmpl", "text_completion")
        return {"id": f"{prefix}-{self.id}", "object": kind, "created": self.created, "model": self.model}

    def _choice(self, index: int, answer: ToldAnswer) -> Told:
        text = answer.take_text()
        choice: Told = {"index": index, "finish_reason": answer.finish_reason}
        if self.chat:
            choice["message"] = {"role": "assistant", "content": text, "refusal": None}
        else:
            choice["text"] = text
        choice["logprobs"] = self._logprobs(answer.take_likelihoods(), answer)
        plan = [[part.model_dump() for part in parts] for parts in answer.parts()]
        return choice | ({"plan": plan} if plan else {})

    def _chunk(self, index: int, delta: Told, tokens: Sequence[Told] = (), answer: ToldAnswer | None = None) -> Told:
        choice: Told = {"index": index, "finish_reason": None, "logprobs": None}
        if answer is not None:
            choice["logprobs"] = self._logprobs(tokens, answer)
        if self.chat:
            choice["delta"] = delta
        else:
            choice["text"] = delta.get("content", "")
            choice |= {name: value for name, value in delta.items() if name == "plan"}
        usage_so_far = {"usage": None} if self.tells_usage else {}
        return self._head("chat.completion.chunk") | {"choices": [choice]} | usage_so_far

    def _logprobs(self, tokens: Sequence[Told], answer: ToldAnswer) -> Told | None:
        """Return the log-probabilities of tokens in the form of chats, or in that of completions."""
        if answer.likelihoods is None:
            return None
        if self.chat:
            content = [{name: value for name, value in one.items() if name != "offset"} for one in tokens]
            return {"content": content, "refusal": None}
        return {
            "tokens": [one["token"] for one in tokens],
            "token_logprobs": [one["logprob"] for one in tokens],
            "top_logprobs": [{other["token"]: other["logprob"] for other in one["top_logprobs"]} for one in tokens],
            "text_offset": [one["offset"] for one in tokens],
        }


def usage(answers: Sequence[ToldAnswer], per_prompt: int = 1) -> Told | None:
    """Return the tokens of a request: a prompt counts once, whatever the number of its answers.

    `completion_tokens` are those that the model wrote: texts, and plans, which `plan_tokens` counts alone. None
    where nobody knows them.
    """
    counts = [answer.counts for answer in answers]
    known = [one for one in counts if one is not None]
    if len(known) < len(counts):
        return None
    prompt = sum(answer.prompt_tokens for answer in answers[::per_prompt])
    plan = sum(one.plan for one in known)
    written = plan + sum(one.text for one in known)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": prompt + written,
        "completion_tokens_details": {"plan_tokens": plan},
    }
