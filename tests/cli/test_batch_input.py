"""What is wrong with a line of `batch` is said with its number, before anything runs."""

import gzip
import json
import re

import pytest

from planned_diffusion.generation.skeleton import Blank, Kept
from planned_diffusion.inference.batch.tasks import open_tasks, read_plan

GOOD = '{"prompt": "What?"}\n'


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"prompt"', "not JSON"),
        ('["What?"]', "list instead of an object"),
        ('{"text": "What?"}', "text is no field of a request; choose among id, prompt, messages, plan, max_new"),
        ('{"prompt": "a", "max_new_token": 5}', "max_new_token is no field"),
        ('{"prompt": "a", "num_return_sequences": 2}', "num_return_sequences is no field"),
        ('{"id": 1}', "neither prompt nor messages; give one"),
        ('{"prompt": "a", "messages": []}', "both prompt and messages; give one"),
        ('{"messages": [{"role": "user", "content": []}]}', "content is []; give some text"),
        ('{"messages": [{"role": "user", "content": [{"type": "text", "text": " "}]}]}', "content is ' '; give some"),
        ('{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}', "type 'image_url'"),
        ('{"messages": [{"role": "user", "content": [{"text": "a", "image": "b.png"}]}]}', "type 'image'"),
        ('{"messages": [{"role": "user", "content": [{"type": "video"}]}]}', "type 'video'"),
        (
            '{"messages": [{"role": "user", "content": [{"type": "poem", "text": "a"}]}]}',
            "type 'poem', which is no text",
        ),
        ('{"messages": [{"role": "user", "content": [{"type": "text"}]}]}', "a part without a text (type)"),
        ('{"messages": [{"role": "user", "content": ["a"]}]}', "a part that is str"),
        ('{"messages": [{"role": "user", "content": "a", "images": ["b.png"]}]}', "type 'images'"),
        ('{"prompt": ["a", "b"]}', "a part that is str"),
        ('{"prompt": 5}', "prompt is 5; give some text"),
        ('{"prompt": " "}', "prompt is ' '; give some text"),
        ('{"prompt": "\\ud800"}', "half a character"),
        ('{"messages": []}', "messages is no list of objects"),
        ('{"messages": ["hello"]}', "messages is no list of objects"),
        ('{"messages": [{"role": "bot", "content": "a"}]}', "role 'bot'; choose one of system"),
        ('{"messages": [{"role": "user"}]}', "content is None; give some text"),
        (
            '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}',
            "the last message is the assistant's",
        ),
        ('{"prompt": "a", "max_new_tokens": 0}', "max_new_tokens is 0; give a whole number of at least 1"),
        ('{"prompt": "a", "temperature": "hot"}', "temperature is 'hot'"),
        ('{"prompt": "a", "stop_strings": [""]}', "stop_strings is ['']; give a text or a list of texts"),
        ('{"prompt": "a", "seed": [1]}', "its seed is a list"),
        ('{"prompt": "a", "plan": "short"}', "plan is no list of rounds"),
        ('{"prompt": "a", "plan": [[["a", [{"gap": 2}]]]]}', "a piece of a canvas is {'gap': 2}"),
        ('{"prompt": "a", "id": null}', "its id is None; give text or a whole number"),
        ('{"prompt": "a", "id": true}', "its id is True"),
        ('{"prompt": "a", "id": 1}', "its id 1 is that of line 1; change one"),
    ],
)
def test_a_line_that_is_no_request_is_named(line, says, tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text(f"{GOOD}\n{line}\n{GOOD}")
    with pytest.raises(ValueError, match=f"in.jsonl, line 3: .*{re.escape(says)}"):
        open_tasks(path)


def test_a_bad_line_stops_the_command_before_it_writes(run, checkpoint, tmp_path):
    (tmp_path / "in.jsonl").write_text(GOOD + "{\n")
    ran = run("batch", tmp_path / "in.jsonl", tmp_path / "out.jsonl", "--model", checkpoint[1])
    assert ran.status == 2 and "line 2: not JSON" in ran.err and ran.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


@pytest.mark.parametrize(("content", "says"), [(None, "There is no file"), ("\n \n", "holds no requests")])
def test_a_file_without_requests_is_refused(content, says, tmp_path):
    path = tmp_path / "in.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=says):
        open_tasks(path)


def test_tasks_have_the_lines_numbers_and_what_they_say(tmp_path):
    row = {"id": "a", "prompt": "é", "temperature": 0.5, "plan": [[["a", 3]]]}
    lines = [GOOD, "\n", json.dumps(row) + "\n", '{"prompt": "b", "temperature": 0}']
    for path, write in ((tmp_path / "in.jsonl", open), (tmp_path / "in.jsonl.gz", gzip.open)):
        with write(path, "wt") as file:
            file.writelines(lines)
        given = open_tasks(path)
        tasks = list(given)
        assert given.count == 3 and [(task.index, task.id) for task in tasks] == [(0, 1), (1, "a"), (2, 4)]
        assert [task.prompt for task in tasks] == ["What?", "é", "b"] and tasks[1].plan == row["plan"]
        assert [task.fields for task in tasks] == [
            {},
            {"temperature": 0.5, "do_sample": True},
            {"temperature": 0, "do_sample": False},
        ]
        assert len({task.fingerprint for task in tasks}) == 3


def test_a_plan_as_json_is_a_plan_of_generate():
    assert read_plan([[["a", 3]], [[1, 2, 3]]]) == [[["a", 3]], [[1, 2, 3]]]
    canvas = ["x ", {"blank": 2}, {"blank": 1, "exact": True}]
    assert read_plan([[["a", canvas]]]) == [[["a", ["x ", Blank(2), Blank(1, exact=True)]]]]
    kept = [["a", {"kept": "x", "tokens": 4}], ["b", {"kept": "y"}]]
    assert read_plan([kept]) == [[["a", Kept("x", 4)], ["b", Kept("y")]]]


@pytest.mark.parametrize("part", [{}, {"tokens": 4}, {"kept": "x", "length": 4}])
def test_an_object_for_a_length_is_a_kept_text(part):
    with pytest.raises(ValueError, match="a part of a plan is .*; give a length, or"):
        read_plan([[["a", part]]])
