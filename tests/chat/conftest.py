"""Conversations with the included model."""

import pytest

from planned_diffusion.cli.chat_turns import Chat
from planned_diffusion.inference.answer import open_checkpoint
from planned_diffusion.inference.conversation import Conversation
from planned_diffusion.loading.embedded import EMBEDDED


@pytest.fixture(scope="session")
def facts():
    return open_checkpoint(str(EMBEDDED))


@pytest.fixture
def talk(facts):
    """talk(**fields) -> a fresh conversation."""
    return lambda remembers=True, **fields: Conversation(facts, fields, remembers=remembers)


@pytest.fixture
def typed(talk, capsys):
    """typed(line, ..., conversation=None) -> what a pipe gets, and the chat after it."""

    def type_lines(*lines, conversation=None):
        waiting = [*lines]

        def next_line():
            if not waiting:
                raise EOFError
            line = waiting.pop(0)
            if isinstance(line, BaseException):
                raise line
            return line

        chat = Chat(conversation or talk(), speed=None)
        capsys.readouterr()
        chat.run(next_line)
        return capsys.readouterr(), chat

    return type_lines
