"""Lines that a person types in a chat: edited and remembered by prompt_toolkit on a terminal, else read as they are."""

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ..loading.bases import cache_folder

if TYPE_CHECKING:
    from prompt_toolkit.completion import Completer

SIGN = "› "
Lines = Callable[[], str]  # the next line; EOFError at the end, KeyboardInterrupt where it is given up


def typed_lines(words: Mapping[str, Sequence[str]]) -> Lines:
    """Return a function that reads the next line; a terminal edits lines and completes commands.

    Args:
        words: commands, and what may follow each of them.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        return _piped
    if find_spec("prompt_toolkit") is None:
        note = "pip install 'planned-diffusion[chat]' brings history and completion"
        print(f"note: lines are read without history; {note}.", file=sys.stderr)
        return lambda: input(SIGN)
    return _edited(words)


def _piped() -> str:
    line = sys.stdin.buffer.readline()
    if not line:
        raise EOFError
    try:
        return line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"a line is not UTF-8 text ({error.reason}); convert it first.") from error


def _edited(words: Mapping[str, Sequence[str]]) -> Lines:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    place = cache_folder() / "chat_history"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch(mode=0o600)
        history = FileHistory(str(place))
    except OSError:
        history = InMemoryHistory()
    session: PromptSession[str] = PromptSession(
        history=history, completer=completer(words), complete_while_typing=False, enable_history_search=True
    )
    return lambda: session.prompt(SIGN)


def completer(words: Mapping[str, Sequence[str]]) -> "Completer":
    """Return what completes a command by the Tab key, and the word behind it."""
    from prompt_toolkit.completion import WordCompleter

    phrases = [*words, *(f"{name} {word}" for name, after in words.items() for word in after)]
    return WordCompleter(phrases, sentence=True)


def edited(text: str) -> str:
    """Return a text as it is after an editor: that of $VISUAL or $EDITOR, else vi.

    Raises:
        ValueError: no such editor, one that failed, or a file that is no text any more.
    """
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "outline.txt"
        file.write_text(text, encoding="utf-8")
        try:
            status = subprocess.run([*shlex.split(editor), str(file)], check=False).returncode
            if status == 0:
                return file.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:  # a UnicodeDecodeError as well
            raise ValueError(f"the editor {editor!r} cannot be used ({error}); set $EDITOR to another one.") from error
    raise ValueError(f"the editor {editor!r} ended with status {status}; the outline stays as it is.")
