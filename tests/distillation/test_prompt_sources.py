"""Prompts from files: which of a pool may be published, and bad files."""

import json

import pytest

from planned_diffusion.distillation.prompt_sources import distinct, from_file, from_pool, may_be_published


@pytest.mark.parametrize(
    ("licence", "may"),
    [
        ("Apache-2.0", True),
        ("MIT", True),
        ("MIT; GPT-4 outputs", True),
        ("MIT (data)", True),
        ("Apache-2.0 repo; alpaca prompts", False),
        ("CC-BY-SA-3.0", False),
        ("CC-BY-NC-4.0", False),
        ("CC-BY-NC-4.0 (alpaca); GPT-4-refined", False),
        ("", False),
        (None, False),
    ],
)
def test_licences_of_a_pool(licence, may):
    assert may_be_published(licence) is may


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_prompts_of_a_pool_without_their_answers(tmp_path):
    free = {"prompt": " Name a bird. ", "response": "An owl.", "licence": "MIT", "source": "here"}
    other = {**free, "licence": "CC-BY-NC-4.0"}
    long = {**free, "prompt": "word " * 61}
    [row] = from_pool(write(tmp_path / "pool.jsonl", other, free, long))
    assert row == {
        "id": "pool-00002", "prompt": "Name a bird.", "kind": "pool", "parts": None, "source": "here", "licence": "MIT"
    }  # fmt: skip


def test_prompts_of_a_file_keep_what_their_lines_say(tmp_path):
    path = write(tmp_path / "mine.jsonl", {"prompt": "One?"}, {"id": "b", "prompt": "Two?", "parts": True})
    assert [(row["id"], row["parts"], row["source"]) for row in from_file(path)] == [
        ("given-00001", None, "mine.jsonl"),
        ("b", True, "mine.jsonl"),
    ]


def test_a_prompt_in_another_spelling_is_left_out():
    rows = [{"prompt": "Why is it so?"}, {"prompt": "why is  it so?"}, {"prompt": "Why?"}]
    assert list(distinct(rows)) == [rows[0], rows[2]]


@pytest.mark.parametrize("read", [from_file, from_pool])
@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "There is no file"),
        ("\n", "holds no prompt"),
        ('{"prompt": " "}\n', "line 1: no text 'prompt'"),
        ('{"text": "x"}\n', "line 1: no text 'prompt'"),
        ("[1]\n", "line 1: list instead of an object"),
        ('{"prompt": "x", "sub_prompts": "a"}\n', "line 1: 'sub_prompts' is no list of objects with topic"),
        ('{"prompt": "x", "sub_prompts": [{"prompt": "a"}]}\n', "line 1: 'sub_prompts' is no list of objects"),
    ],
)
def test_bad_files(read, content, complaint, tmp_path):
    if content is not None:
        (tmp_path / "in.jsonl").write_text(content)
    with pytest.raises(ValueError, match=complaint):
        read(tmp_path / "in.jsonl")


def test_a_pool_without_a_free_licence(tmp_path):
    with pytest.raises(ValueError, match="no prompt whose licence is Apache-2.0 or MIT; leave --pool out"):
        from_pool(write(tmp_path / "pool.jsonl", {"prompt": "Why?", "licence": "CC-BY-NC-4.0"}))
