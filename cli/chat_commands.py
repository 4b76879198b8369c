"""The commands of a chat. To add one, add its function and a line to the table."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..generation.fields import DECODER_NAMES, FIELDS, SHARED_FIELDS
from ..inference.outline_text import outline_text
from ..inference.recording import write_trace, write_whole
from .chat_lines import edited
from .field_options import json_or_text
from .options import check_writable

if TYPE_CHECKING:
    from .chat_turns import Chat


@dataclass(frozen=True)
class Command:
    """A command: its function of the chat and of what was typed behind its name, and its line in /help."""

    run: Callable[["Chat", str], None]
    usage: str
    meaning: str
    follow: Sequence[str] = ()  # words that a terminal offers behind it


def set_decoding(chat: "Chat", name: str) -> None:
    """Choose the decoder, or say which one it is."""
    conversation = chat.conversation
    if name:
        conversation.set_fields({**conversation.fields, "decoding": name})
    chat.say(f"decoding={conversation.checkpoint.field('decoding', conversation.fields)}")


def set_field(chat: "Chat", text: str) -> None:
    """Set a field of generate; without a value take it back; alone show those that are set."""
    conversation = chat.conversation
    if text:
        name, equals, value = (piece.strip() for piece in text.partition("="))
        if not (name and equals):
            raise ValueError(f"/set got {text!r}; type FIELD=VALUE, such as /set steps_ratio=0.5")
        fields = {key: given for key, given in conversation.fields.items() if key != name}
        conversation.set_fields({**fields, name: json_or_text(value)} if value else fields)
    told = [f"{name}={json.dumps(value)}" for name, value in conversation.fields.items()]
    chat.say("\n".join(told) or "nothing is set; the checkpoint's own fields hold")


def edit_outline(chat: "Chat", text: str) -> None:
    """Edit the outline of the last answer and write again what changed; `;` separates parts that are typed at once."""
    before = chat.conversation.last.outline
    if not before:
        raise ValueError("the last answer has no outline; ask with a decoder that plans.")
    outline = "\n".join(text.split(";")) if text else edited(outline_text(before))
    chat.show(lambda listeners: chat.conversation.fill(outline, listeners))


def race_last(chat: "Chat", text: str) -> None:
    """Show the last answer and the same question left to right, in step."""
    chat.race()


def save(chat: "Chat", name: str) -> None:
    """Write the last answer as a page or a trace, or the whole chat."""
    path = Path(name).expanduser()
    if path.suffix not in (".html", ".json", ".jsonl"):
        raise ValueError(f"/save got {name!r}; name a file .html (a replay), .json (a trace) or .jsonl (the chat).")
    check_writable(path, "/save")
    if path.suffix == ".jsonl":
        text = json.dumps({"messages": chat.conversation.said()}, ensure_ascii=False)
        write_whole(path, text + "\n")
    else:
        turn = chat.conversation.last
        if turn.trace is None:
            raise ValueError("the last answer was stopped, so it has no trace; ask again first.")
        if path.suffix == ".json":
            write_trace(path, turn.trace)
        else:
            from ..inference.replay.page import replay_page

            write_whole(path, replay_page(turn.trace, turn.beside))
    chat.tell(f"saved as {path}")


def set_system(chat: "Chat", text: str) -> None:
    """Set the system message, or show it; `off` takes it away."""
    if text:
        chat.conversation.system = "" if text == "off" else text
    chat.say(f"system: {chat.conversation.system or 'none'}")


def forget(chat: "Chat", text: str) -> None:
    """Forget what was said."""
    chat.conversation.turns.clear()
    chat.tell("a new chat")


def list_commands(chat: "Chat", text: str) -> None:
    """List the commands."""
    width = max(len(command.usage) for command in COMMANDS.values())
    for command in COMMANDS.values():
        chat.say(f"{command.usage:{width}}  {command.meaning}")


def leave(chat: "Chat", text: str) -> None:
    """End the chat."""
    chat.ended = True


FIELD_NAMES = tuple(f"{name}=" for name, field in (FIELDS | SHARED_FIELDS).items() if field.in_cli)
COMMANDS = {
    "/decoding": Command(set_decoding, "/decoding NAME", "choose the decoder of the next answers", DECODER_NAMES),
    "/set": Command(set_field, "/set FIELD=VALUE", "set a field of generate; without VALUE take it back", FIELD_NAMES),
    "/plan": Command(edit_outline, "/plan", "edit the outline in $EDITOR; only what changed is written again"),
    "/race": Command(race_last, "/race", "the last question left to right, beside the answer"),
    "/save": Command(save, "/save FILE", "last answer as .html or .json, the chat as .jsonl"),
    "/system": Command(set_system, "/system TEXT", "set the system message; off takes it away"),
    "/new": Command(forget, "/new", "forget what was said"),
    "/help": Command(list_commands, "/help", "this list"),
    "/quit": Command(leave, "/quit", "leave; Ctrl-D does as well"),
}
WORDS = {name: command.follow for name, command in COMMANDS.items()}
