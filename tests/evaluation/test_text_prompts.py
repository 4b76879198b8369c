"""Files of prompts: every form that is read, and what is refused, in one sentence."""

import gzip
import json
from pathlib import Path

import pytest

from planned_diffusion.evaluation.text_prompts import TextPrompt, read_text_prompts

ALPACA_EVAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "alpaca_eval_prompts.jsonl"
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
OPENAI = {"custom_id": "a", "url": "/v1/chat/completions", "body": {"messages": CHAT, "max_tokens": 9}}


@pytest.fixture
def file_of(tmp_path):
    """file_of(content, name) -> path of a file; rows are written as JSON Lines."""

    def write(content, name: str = "prompts.jsonl") -> Path:
        if not isinstance(content, (str, bytes)):
            content = "".join(json.dumps(row) + "\n" for row in content)
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"prompt": "Why?"}, "Why?"),
        ({"id": 7, "prompt": [{"type": "text", "text": "Why?"}], "temperature": 0.7}, "Why?"),
        ({"messages": CHAT}, CHAT),
        (OPENAI, CHAT),
        ({"dataset": "helpful_base", "instruction": "Why?"}, "Why?"),
        ({"instruction": "Sort these.", "input": "b a", "output": "a b"}, "Sort these.\n\nb a"),
        ({"instruction": "Why?", "input": ""}, "Why?"),
        ({"question": "2 + 2?", "answer": "4"}, "2 + 2?"),
    ],
)
def test_forms_of_a_line(file_of, row, prompt):
    assert read_text_prompts(file_of([row])) == [TextPrompt(1, prompt)]


def test_what_a_prompt_asks_for(file_of):
    rows = [{"prompt": "a", "parts": True, "kind": "list"}, {"prompt": "b", "parts": False}, {"prompt": "c"}]
    assert read_text_prompts(file_of(rows)) == [
        TextPrompt(1, "a", True, "list"), TextPrompt(2, "b", False), TextPrompt(3, "c"),
    ]  # fmt: skip


def test_plain_lines_the_first_of_them_and_packed_files(file_of):
    lines = "\ufeffWhy is the sky blue?\r\n\n  [a list] of what? \nLast"
    read = [TextPrompt(1, "Why is the sky blue?"), TextPrompt(3, "[a list] of what?"), TextPrompt(4, "Last")]
    assert read_text_prompts(file_of(lines, "prompts.txt")) == read
    assert read_text_prompts(file_of(lines, "prompts.txt"), 2) == read[:2]
    assert read_text_prompts(file_of(gzip.compress(lines.encode()), "prompts.txt.gz"), 9) == read
    assert read_text_prompts(file_of('{"prompt": "Why?"}\n', "prompts")) == [TextPrompt(1, "Why?")]


@pytest.mark.skipif(not ALPACA_EVAL.is_file(), reason="needs ../shared/data/alpaca_eval_prompts.jsonl")
def test_the_alpaca_eval_file():
    assert len(read_text_prompts(ALPACA_EVAL)) == 805


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("", "a.jsonl", "holds no prompts; write one per line"),
        ("\n \n", "a.txt", "holds no prompts; write one per line"),
        ("", "a.txt.gz", "holds no prompts; write one per line"),
        ('{"prompt": "a"}\n{"prompt": ', "a.jsonl", "line 2: not JSON"),
        ('{"prompt": "a"}\nWhy?', "a.txt", "line 2: not JSON"),
        ("Why?\n", "a.jsonl", "line 1: not JSON"),
        ('["a", "b"]', "a.json", "list instead of an object"),
        ('{"prompt": ""}', "a.jsonl", "line 1: prompt is ''; give some text"),
        ('{"prompt": 5}', "a.jsonl", "line 1: prompt is 5; give some text"),
        ('{"instruction": null}', "a.jsonl", "line 1: prompt is None; give some text"),
        ('{"prompt": "\\ud800"}', "a.jsonl", "line 1: prompt holds half a character"),
        ('{"text": "a"}', "a.jsonl", "line 1: it has none of prompt, messages, instruction and question"),
        ('{"prompt": "a", "messages": []}', "a.jsonl", "line 1: it has both prompt and messages"),
        ('{"messages": [{"role": "assistant", "content": "a"}]}', "a.jsonl", "line 1: the last message is the assist"),
        ('{"prompt": "a", "parts": 3}', "a.jsonl", "line 1: its parts is 3; give true or false, or leave it out"),
        ('{"prompt": "a", "kind": 3}', "a.jsonl", "line 1: its kind is 3; give some text, or leave it out"),
        ('{"custom_id": "a", "body": {}}', "a.jsonl", "line 1: its body has no messages"),
        (b"fine\nnot \xff fine\n", "a.txt", "line 2: not UTF-8 (invalid start byte at byte 4); convert the file"),
        (b'{"prompt": "\xff"}\n', "a.jsonl", "line 1: not UTF-8"),
        (gzip.compress(b"a\n" * 9000, mtime=0)[:-9], "a.txt.gz", "cannot be read further"),
        ("no gzip", "a.txt.gz", "cannot be read further"),
    ],
)
def test_refused_with_the_line(file_of, content, name, message):
    with pytest.raises(ValueError) as refused:
        read_text_prompts(file_of(content, name))
    told = str(refused.value)
    assert message in told and name in told and "\n" not in told


def test_a_file_that_is_none(tmp_path):
    for path in (tmp_path, tmp_path / "missing.jsonl"):
        with pytest.raises(ValueError, match=r"There is no file .*; give --prompts a file with a prompt per line"):
            read_text_prompts(path)
