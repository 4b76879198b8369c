"""`planned-diffusion chat`: its commands, on a pipe and on a terminal."""

import io
import json
import os
import re
import sys
from importlib.util import find_spec

import pytest
from rich.console import Console

from planned_diffusion.cli import chat_lines
from planned_diffusion.cli.chat_commands import COMMANDS, WORDS
from planned_diffusion.cli.chat_turns import Chat
from planned_diffusion.cli.main import main
from planned_diffusion.inference.answer import ask
from planned_diffusion.inference.replay.page import replay_page
from planned_diffusion.inference.replay.trace_reading import read_trace

KENYA = "What are the capital and the currency of Kenya?"
PERU = "What is the capital of Peru?"


def test_a_pipe_gets_the_answers_and_nothing_else(facts, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{KENYA}\r\n\n  \n{PERU}\n".encode())))
    assert main(["chat"]) == 0
    expected = [ask(facts, question, {}).text for question in (KENYA, PERU)]
    assert capsys.readouterr() == ("".join(f"{text}\n" for text in expected), "")


def test_a_line_that_is_no_text_is_one_error_and_the_chat_goes_on(facts, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\n" + KENYA.encode())))
    assert main(["chat"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ask(facts, KENYA, {}).text + "\n"
    assert captured.err.startswith("error: a line is not UTF-8 text") and captured.err.count("\n") == 1


def test_history_and_system_reach_the_model(facts, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{KENYA}\n{PERU}\n".encode())))
    assert main(["chat", "--history", "--system", "Be brief.", "--decoding", "autoregressive"]) == 0
    messages, fields = [{"role": "system", "content": "Be brief."}], {"decoding": "autoregressive"}
    for question in (KENYA, PERU):
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": ask(facts, messages, fields).text})
    assert capsys.readouterr().out == f"{messages[2]['content']}\n{messages[4]['content']}\n"


def test_fields_and_decoders_are_chosen(typed):
    lines = "/decoding autoregressive", "/decoding", "/set max_new_tokens=5", KENYA, "/set max_new_tokens=", "/set"
    captured, chat = typed(*lines)
    assert captured.err == "" and chat.conversation.fields == {"decoding": "autoregressive"}
    assert chat.conversation.turns[0].answer.trace.forwards == 5
    chosen, again, *both, answer, left, alone = captured.out.splitlines()
    assert chosen == again == "decoding=autoregressive" and both == ['decoding="autoregressive"', "max_new_tokens=5"]
    assert answer == chat.conversation.turns[0].text and left == alone == both[0]


def test_the_outline_is_edited_in_the_editor(typed, monkeypatch, tmp_path):
    editor = tmp_path / "editor.py"
    editor.write_text(
        "import pathlib, sys\nfile = pathlib.Path(sys.argv[1])\ntext = file.read_text()\n"
        "assert text.startswith('#')\nfile.write_text(text.replace('currency | 16', 'language | 16'))\n"
    )
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", f"'{sys.executable}' '{editor}'")
    captured, chat = typed(KENYA, "/plan")
    assert captured.err == ""
    assert [part.topic for part in chat.conversation.last.outline[0]] == ["capital", "language"]
    first, second = captured.out.splitlines()
    assert first.split(".")[0] == second.split(".")[0] and first != second and "Swahili" in second


@pytest.mark.parametrize("editor", ["false", "/missing/editor", "'"])
def test_an_editor_that_fails_changes_nothing(editor, typed, monkeypatch):
    monkeypatch.setenv("VISUAL", editor)
    captured, chat = typed(KENYA, "/plan")
    assert captured.err.startswith(f"error: the editor {editor!r}") and captured.err.count("\n") == 1
    assert len(chat.conversation.turns) == 1 and "shilling" in chat.conversation.last.text


def test_a_race_prints_both(typed, facts):
    captured, chat = typed(KENYA, "/race")
    answer, head, again, counts, *told, felt, other, plain, plain_counts, plain_felt = captured.out.splitlines()
    assert answer == again and (head, other) == ("planned:", "left to right:")
    assert len(told) == 1 and told[0].startswith("guesses right, the next token first: ")
    assert plain == ask(facts, KENYA, {"decoding": "autoregressive"}).text
    assert counts.startswith(f"{chat.conversation.last.answer.trace.forwards} forwards")
    assert "first outline word after" in felt and "first outline word" not in plain_felt
    assert "first final word after" in plain_felt and "forwards" in plain_counts


def test_what_is_saved(typed, tmp_path):
    names = [tmp_path / name for name in ("chat.jsonl", "answer.json", "replay.html")]
    captured, chat = typed(KENYA, PERU, "/race", *(f"/save {name}" for name in names))
    assert captured.err == ""
    [line] = names[0].read_text().splitlines()
    assert json.loads(line)["messages"] == chat.conversation.said() and len(chat.conversation.said()) == 4
    last = chat.conversation.last
    assert read_trace(names[1]).answer().text == last.text
    assert names[2].read_text() == replay_page(last.trace, last.beside)


def test_system_new_help_and_quit(typed):
    captured, chat = typed("/system Be brief.", KENYA, "/system off", "/system", "/new", "/help", "/quit", PERU)
    assert captured.err == "" and chat.conversation.turns == [] and chat.conversation.system == ""
    lines = captured.out.splitlines()
    assert lines[0] == "system: Be brief." and lines[2:4] == ["system: none"] * 2
    assert [line.split()[0] for line in lines[4:]] == [*COMMANDS]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["/nonsense"], "/nonsense is no command; /help lists them"),
        (["/decoding nonsense"], "decoding is 'nonsense'; choose one of"),
        (["/set nonsense"], "type FIELD=VALUE"),
        (["/set nonsense=1"], "nonsense is no generation field"),
        (["/plan"], "nothing was asked yet"),
        (["/race"], "nothing was asked yet"),
        (["/save x.html"], "nothing was asked yet"),
        (["/save x.txt"], "name a file .html"),
        (["/save missing/x.json"], "give /save another place"),
        ([KENYA, "/plan nonsense"], "line 1 of the outline is 'nonsense'"),
        ([KENYA, "/plan capital | 99999"], ""),
        (["half \ud83d"], "the question holds half a character"),
        (["word " * 5000], ""),
    ],
)
def test_an_error_is_one_line_and_the_chat_goes_on(lines, message, typed, facts, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    captured, _ = typed(*lines, "/new", PERU)
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1 and message in captured.err
    assert captured.out.endswith(ask(facts, PERU, {}).text + "\n") and not [*tmp_path.iterdir()]


def test_a_question_may_begin_with_a_slash(typed):
    _, chat = typed("//etc of Kenya?")
    assert chat.conversation.last.question == "/etc of Kenya?"


def test_ctrl_c_at_the_line_and_in_an_answer_keeps_the_chat(typed, talk, monkeypatch, facts):
    conversation = talk(remembers=False)
    real, calls = conversation.ask, []

    def interrupted(question, listeners):
        def stop(index, event):
            if type(event).__name__ == "Text" and not calls:
                calls.append(1)
                raise KeyboardInterrupt

        return real(question, [*listeners, stop])

    monkeypatch.setattr(conversation, "ask", interrupted)
    captured, chat = typed(KeyboardInterrupt(), KENYA, PERU, conversation=conversation)
    assert [turn.answer is None for turn in chat.conversation.turns] == [True, False] and captured.err == ""
    assert captured.out.endswith(ask(facts, PERU, {}).text + "\n")


@pytest.mark.parametrize("width", [60, 120])
@pytest.mark.parametrize("no_color", [False, True])
def test_a_terminal_sees_outline_parts_text_counts_and_seconds(width, no_color, talk, monkeypatch):
    file = io.StringIO()
    screen = Console(force_terminal=True, width=width, height=40, file=file, no_color=no_color, record=True)
    monkeypatch.setattr("planned_diffusion.cli.views.can_redraw", lambda: True)
    monkeypatch.setattr("planned_diffusion.cli.chat_turns.can_redraw", lambda: True)
    monkeypatch.setattr("planned_diffusion.cli.views.Console", lambda: screen)
    chat = Chat(talk(remembers=False), speed=0)
    chat.console = screen
    for line in (KENYA, "/race"):
        chat.take(line)
    sent, text = file.getvalue(), screen.export_text()
    assert "round 1" in text and "✓" in text and "first outline word after" in text and "left to right" in text
    assert bool(re.search("\x1b\\[3[2456]m[A-Z][a-z]+", sent)) != no_color  # words of a step have a colour
    last = [line for line in text.splitlines() if "forwards" in line or "last word" in line]
    assert last and all(len(line) <= width for line in text.splitlines()[-6:])


def test_words_offered_behind_a_command_are_known(facts):
    assert "planned" in WORDS["/decoding"] and "steps_ratio=" in WORDS["/set"] and not WORDS["/help"]


@pytest.mark.skipif(find_spec("prompt_toolkit") is None, reason="pip install prompt_toolkit")
def test_a_terminal_completes_commands():
    from prompt_toolkit.document import Document

    def offered(text):
        return [one.text for one in chat_lines.completer(WORDS).get_completions(Document(text), None)]

    assert offered("/decod")[0] == "/decoding" and offered("/decoding bl") == ["/decoding block_diffusion"]
    assert "/set steps_ratio=" in offered("/set st") and offered("What is") == []


@pytest.mark.skipif(find_spec("prompt_toolkit") is None, reason="pip install prompt_toolkit")
def test_a_terminal_edits_and_remembers_lines(monkeypatch, tmp_path):
    from prompt_toolkit.application import create_app_session
    from prompt_toolkit.input import create_pipe_input
    from prompt_toolkit.output import DummyOutput

    monkeypatch.setattr(sys, "stdin", type("Terminal", (), {"isatty": lambda self: True})())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with create_pipe_input() as keys, create_app_session(input=keys, output=DummyOutput()):
        lines = chat_lines.typed_lines(WORDS)
        keys.send_text("Kena\x7fya?\r")
        assert lines() == "Kenya?"
        keys.send_text("\x1b[A\r")
        assert lines() == "Kenya?"
        keys.send_text("\x03")
        with pytest.raises(KeyboardInterrupt):
            lines()
        keys.send_text("\x04")
        with pytest.raises(EOFError):
            lines()
    [history] = tmp_path.rglob("chat_history")
    assert "+Kenya?" in history.read_text() and os.stat(history).st_mode & 0o077 == 0


def test_without_prompt_toolkit_lines_are_plain(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", type("Terminal", (), {"isatty": lambda self: True})())
    monkeypatch.setattr(chat_lines, "find_spec", lambda name: None)
    monkeypatch.setattr("builtins.input", lambda sign: f"typed after {sign}")
    assert chat_lines.typed_lines({})() == "typed after › "
    assert "pip install 'planned-diffusion[chat]'" in capsys.readouterr().err
