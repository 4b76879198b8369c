"""One line of a chat after the other: a question is answered and shown, a command is run, an error is one line."""

import sys
from collections.abc import Callable, Iterable

from rich.console import Console
from rich.text import Text as Line

from ..generation.mixin import Listener
from ..inference.conversation import Conversation, Turn
from ..inference.replay.trace_reading import recorded_run
from ..inference.shown_text import shown
from .chat_commands import COMMANDS
from .chat_lines import Lines
from .race import Racer, race
from .terminal import costs, printable
from .views import can_redraw, view_of

Ask = Callable[[Iterable[Listener]], Turn]


class Chat:
    """A conversation on a terminal or a pipe.

    Args:
        conversation: who answers, and what was said.
        speed: forwards per second that a terminal shows; see `paced`.
        before_asking: called with every question.
    """

    def __init__(
        self, conversation: Conversation, speed: float | None, before_asking: Callable[[str], None] | None = None
    ) -> None:
        self.conversation, self.speed = conversation, speed
        self.before_asking = before_asking or (lambda question: None)
        self.console = Console(highlight=False)
        self.ended = False

    def run(self, lines: Lines) -> None:
        """Take line after line until they end, or /quit."""
        if can_redraw():
            self.tell("/help lists the commands; Ctrl-C stops an answer, Ctrl-D leaves.")
        while not self.ended:
            try:
                self.take(lines())
            except EOFError:
                return
            except KeyboardInterrupt:
                self.tell("")
            except (ValueError, RuntimeError, FloatingPointError) as error:
                print(f"error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)

    def take(self, line: str) -> None:
        """Answer a question, or run a command; a question that begins with a slash has two of them.

        Raises:
            ValueError: an unknown command, or whatever keeps a question from being answered.
        """
        text = line.strip()
        if text.startswith("/") and not text.startswith("//"):
            name, _, rest = text.partition(" ")
            if name not in COMMANDS:
                raise ValueError(f"{name} is no command; /help lists them, and // begins a question with a slash.")
            COMMANDS[name].run(self, rest.strip())
        elif text:
            question = text.removeprefix("/")
            if shown(question) != question and "\N{REPLACEMENT CHARACTER}" in shown(question):
                raise ValueError("the question holds half a character; type it again.")
            self.before_asking(question)
            self.show(lambda listeners: self.conversation.ask(question, listeners))

    def show(self, ask: Ask) -> None:
        """Show an answer while it is written; Ctrl-C stops it, and leaves what is there."""
        fields = {**self.conversation.fields}
        turn: Turn | None = None
        try:
            with view_of(self.conversation.checkpoint, fields, self.speed, colours_steps=True) as view:
                turn = ask([view.add])
                if turn.answer is not None:
                    view.finish(turn.answer)
        except KeyboardInterrupt:  # while a slow view showed what was written long ago
            if turn is not None and turn.answer is not None:
                self.console.print(Line(shown(turn.text)))
                self.tell(costs(turn.answer))
        if turn is not None and turn.answer is None:
            self.console.print(Line(shown(turn.text)))
            self.tell("stopped; the chat goes on")

    def race(self) -> None:
        """Answer the last question left to right as well, and show both in step."""
        self.tell("writing it left to right")
        other = self.conversation.race()
        turn = self.conversation.last
        if turn.trace is None or other.trace is None:
            self.tell("stopped; the chat goes on")
            return
        racers = [Racer.of(recorded_run(one)) for one in (turn.trace, other.trace)]
        if can_redraw():
            race(self.console, racers, self.speed)
            return
        for racer in racers:
            print(f"{racer.name}:", printable(racer.answer.text), costs(racer.answer), sep="\n", flush=True)

    def say(self, text: str) -> None:
        """Print what a command was asked for."""
        self.console.print(Line(shown(text)), soft_wrap=True)

    def tell(self, text: str) -> None:
        """Print a remark on a terminal; a pipe gets answers only."""
        if can_redraw():
            self.console.print(Line(text, style="dim"))
