"""A conversation with one checkpoint: its turns, which later questions see, and the outline of the last answer."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from ..generation.events import Event, Text
from ..generation.fields import FIELDS, SHARED_FIELDS
from ..generation.mixin import Listener
from .answer import Answer, Checkpoint, Fields, Prose, ask, check_fields
from .decoding_fields import with_sampling
from .outline_text import OutlineListener, OutlinePart, edited_plan
from .recording import Recording

LEFT_TO_RIGHT = "autoregressive"
NOT_HERE = ("keep_plan",)  # the plan is shown anyway, and later questions see plain text


@dataclass(frozen=True)
class Turn:
    """A question and what came of it.

    Attributes:
        question: as it was asked.
        text: the answer as later questions see it; as far as it came where it was stopped.
        answer: None where it was stopped.
        trace: the content of its trace file; None where it was stopped.
        outline: per round, its parts; empty for an answer without a plan.
        beside: the trace of the same question left to right, once it was asked.
    """

    question: str
    text: str
    answer: Answer | None = None
    trace: dict[str, Any] | None = None
    outline: list[list[OutlinePart]] = field(default_factory=list)
    beside: dict[str, Any] | None = None


class Conversation:
    """The state of a chat.

    Args:
        checkpoint: who answers.
        fields: fields of `generate` for all answers.
        system: a system message in front of all questions; empty for none.
        remembers: questions see the turns before them.
    """

    def __init__(self, checkpoint: Checkpoint, fields: Fields, system: str = "", remembers: bool = True) -> None:
        self.checkpoint, self.system, self.remembers = checkpoint, system, remembers
        self.fields: dict[str, Any] = {}
        self.turns: list[Turn] = []
        self.set_fields(dict(fields))

    @property
    def last(self) -> Turn:
        """The last turn.

        Raises:
            ValueError: nothing was asked yet.
        """
        if not self.turns:
            raise ValueError("nothing was asked yet; ask something first.")
        return self.turns[-1]

    def set_fields(self, fields: dict[str, Any]) -> None:
        """Set the fields of the answers that follow; a temperature says whether to sample.

        Raises:
            ValueError: an unknown field, a value out of range, or one that has no use together with the others.
        """
        for name in fields:
            table = FIELDS | SHARED_FIELDS
            if name in NOT_HERE or (name in table and not table[name].in_cli):
                raise ValueError(f"{name} means nothing in a chat; leave it out.")
        fields = with_sampling(fields)
        check_fields(fields)
        self.checkpoint.request("?", fields)
        self.fields = fields

    def said(self) -> list[dict[str, str]]:
        """Return all that was said, as the messages of a chat.

        Raises:
            ValueError: nothing was asked yet.
        """
        return self._messages([*self.turns[:-1], self.last])

    def _messages(self, turns: Iterable[Turn]) -> list[dict[str, str]]:
        messages = [{"role": "system", "content": self.system}] if self.system else []
        for turn in turns:
            messages += [{"role": "user", "content": turn.question}, {"role": "assistant", "content": turn.text}]
        return messages

    def ask(self, question: str, listeners: Iterable[Listener] = ()) -> Turn:
        """Ask a question. An answer that is interrupted (Ctrl-C) stays in the conversation as far as it came.

        Raises:
            ValueError: a question that cannot be answered, such as one too long for the model.
        """
        turn = self._answer(question, self.turns, self.fields, listeners)
        self.turns.append(turn)
        return turn

    def fill(self, outline: str, listeners: Iterable[Listener] = ()) -> Turn:
        """Write the last answer again by an edited outline; parts whose lines are as they were keep their tokens.

        Where that is interrupted, the answer stays as it was.

        Raises:
            ValueError: no answer with a plan, or an outline that cannot be used; the answer stays as it is.
        """
        last = self.last
        if not last.outline:
            raise ValueError("the last answer has no outline; ask with a decoder that plans.")
        plan = edited_plan(outline, last.outline)
        turn = self._answer(last.question, self.turns[:-1], self.fields, listeners, plan)
        if turn.answer is not None:
            self.turns[-1] = turn
        return turn

    def race(self, listeners: Iterable[Listener] = ()) -> Turn:
        """Answer the last question left to right as well; it stands beside the answer, which stays.

        Raises:
            ValueError: nothing was asked yet, or the last answer was stopped.
        """
        last = self.last
        if last.trace is None:
            raise ValueError("the last answer was stopped; ask again first.")
        shared = {name: value for name, value in self.fields.items() if name in SHARED_FIELDS and name not in FIELDS}
        fields = {**shared, "decoding": LEFT_TO_RIGHT}
        other = self._answer(last.question, self.turns[:-1], fields, listeners)
        if other.trace is not None:
            self.turns[-1] = replace(last, beside=other.trace)
        return other

    def _answer(
        self,
        question: str,
        before: list[Turn],
        fields: Fields,
        listeners: Iterable[Listener],
        plan: list[Any] | None = None,
    ) -> Turn:
        tokenizer = self.checkpoint.tokenizer
        recording, outline, prose = Recording(tokenizer), OutlineListener(tokenizer), Prose(tokenizer)

        def read_text(index: int, event: Event) -> None:
            if isinstance(event, Text):
                prose.add(event.token_ids)

        followers = [recording.add, outline.add, read_text, *listeners]
        prompt = [*self._messages(before if self.remembers else ()), {"role": "user", "content": question}]
        try:
            answer = ask(self.checkpoint, prompt, fields, followers, plan)
        except KeyboardInterrupt:
            return Turn(question, prose.text, outline=outline.rounds)
        return Turn(question, answer.text, answer, recording.document(answer, fields), outline.rounds)
