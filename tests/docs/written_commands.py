"""Find the command lines of this package in README, docs, docstrings and recipes.

They stand in the code blocks and inline code of Markdown, in the docstrings of modules, and in the comments of recipes.
"""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from markdown_it import MarkdownIt

from planned_diffusion.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
PROGRAM, PACKAGE = "planned-diffusion", "planned_diffusion"
NAMES = [command.__name__.replace("_", "-") for command in COMMANDS]  # as Typer names them
OURS = re.compile(rf"(^|[|;&] *){PROGRAM} |^\S.*-m {PACKAGE}\b")
ANY_COMMAND = "COMMAND"  # stands for each of them in "planned-diffusion COMMAND --help"
Words = tuple[str, ...]


def commands_of(text: str) -> Iterator[Words]:
    """Yield the words of each command of ours in the lines of a shell script, programs that start it left out."""
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        line = line.strip().removeprefix("$ ")
        if not OURS.search(line):
            continue
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = [""]
        for word in [*lexer, ";"]:
            if word.strip("();<>|&"):
                words.append(word)
                continue
            yield from our_words(words)
            words = [""]


def our_words(words: list[str]) -> Iterator[Words]:
    """Yield `words` from ours on: (command, argument, ...), or (module, argument, ...) for a module with a main."""
    for before, word, place in zip(words, words[1:], range(1, len(words)), strict=False):
        if word == PROGRAM or (before == "-m" and word == PACKAGE):
            yield tuple(words[place + 1 :])
            return
        if before == "-m" and word.startswith(f"{PACKAGE}."):
            yield tuple(words[place:])
            return


def in_markdown(text: str) -> Iterator[tuple[Words, bool]]:
    """Yield the commands of a page, and for each whether it stands in a sentence, where it may be only named."""
    for token in MarkdownIt().enable("table").parse(text):
        if token.type == "code_block" or (token.type == "fence" and token.info in ("", "bash", "sh", "shell", "text")):
            yield from ((words, False) for words in commands_of(token.content))
        for child in token.children or ():
            if child.type == "code_inline":
                yield from ((words, True) for words in commands_of(child.content))


def in_lines(text: str) -> Iterator[tuple[Words, bool]]:
    """Yield the commands that begin a line of a docstring or comment, and those in its inline code."""
    yield from ((words, False) for words in commands_of(text))
    yield from ((words, True) for code in re.findall(r"`+([^`]+)`+", text) for words in commands_of(code))


def sources() -> Iterator[tuple[Path, Iterator[tuple[Words, bool]]]]:
    """Yield each file that may hold commands, and its commands."""
    folders = [folder for folder in ROOT.iterdir() if folder.is_dir() and folder.name not in ("tests", "build", "runs")]
    folders = [ROOT, *(folder for folder in folders if not folder.name.startswith("."))]
    for page in (page for folder in [*folders, ROOT / "checkpoints" / "facts"] for page in folder.glob("*.md")):
        if page.name != "CHANGELOG.md":  # tells what once was
            yield page, in_markdown(page.read_text(encoding="utf-8"))
    for module in (module for folder in folders for module in folder.glob("*.py")):
        tree = ast.parse(module.read_text(encoding="utf-8"))
        yield module, in_lines(ast.get_docstring(tree) or "")
    for recipe in (ROOT / "training" / "recipes").glob("*.yaml"):
        yield recipe, in_lines(re.sub(r"^# *", "", recipe.read_text(encoding="utf-8"), flags=re.MULTILINE))


def found_commands() -> list[tuple[str, Words, bool]]:
    """Return all commands, each once per file: its file, its words, and whether it is in a sentence."""
    found = {(str(file.relative_to(ROOT)), words, named) for file, commands in sources() for words, named in commands}
    return sorted(
        (file, (name, *words[1:]), named)
        for file, words, named in found
        for name in (NAMES if words[:1] == (ANY_COMMAND,) else words[:1])
    )
