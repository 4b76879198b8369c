"""Every schema and format gives the same messages; what cannot be read is refused with file, line and remedy."""

import gzip
import json
import sys

import pytest

from planned_diffusion.annotation.reading import open_source
from planned_diffusion.annotation.schemas import Schema, schema_of, split_row

CHAT = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}]
SYSTEM = [{"role": "system", "content": "Be kind."}]
SHAREGPT = [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Because."}]
IN_PARTS = [
    {"role": role, "content": [{"type": "text", "text": text} for text in texts]}
    for role, texts in (("user", ("Wh", "y?")), ("assistant", ("Because.",)))
]


def read(row):
    return split_row(row, schema_of(list(row)))


@pytest.mark.parametrize(
    ("row", "messages", "extra"),
    [
        ({"messages": CHAT, "id": 3}, CHAT, {"id": 3}),
        ({"conversations": SHAREGPT}, CHAT, {}),
        ({"conversations": [{"from": "system", "value": "Be kind."}, *SHAREGPT]}, [*SYSTEM, *CHAT], {}),
        ({"conversation": CHAT, "system": "Be kind."}, [*SYSTEM, *CHAT], {}),
        ({"prompt": "Why?", "response": "Because.", "source": "s"}, CHAT, {"source": "s"}),
        ({"prompt": "Why?", "completion": "Because."}, CHAT, {}),
        ({"prompt": CHAT[:1], "completion": CHAT[1:]}, CHAT, {}),
        ({"messages": [{"role": "developer", "content": "Be kind."}, *CHAT]}, [*SYSTEM, *CHAT], {}),
        ({"messages": IN_PARTS}, CHAT, {}),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "Why?", "image": None}]}, CHAT[1]]},
            CHAT,
            {},
        ),
        ({"instruction": "Why?", "input": "", "output": "Because."}, CHAT, {}),
        ({"question": "Why?", "answer": "Because."}, CHAT, {}),
        ({"system_prompt": "Be kind.", "question": "Why?", "response": "Because."}, [*SYSTEM, *CHAT], {}),
    ],
)
def test_schemas(row, messages, extra):
    assert read(row) == (messages, extra)


def test_a_text_may_speak_of_images_where_there_are_none():
    messages, _ = read({"prompt": "What does <image> mean?", "response": "A tag.", "images": []})
    assert messages[0]["content"] == "What does <image> mean?"


def test_an_input_follows_the_instruction():
    messages, _ = read({"instruction": "Add.", "input": "1 and 2", "output": "3"})
    assert messages[0]["content"] == "Add.\n1 and 2"


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"messages": CHAT[:1]}, "ends with 'user'"),
        ({"messages": CHAT[1:]}, "no question"),
        ({"messages": []}, "'messages' holds nothing"),
        ({"messages": "Why?"}, "'messages' holds str"),
        ({"messages": ["Why?"]}, "A turn is str"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "role 'wizard'"),
        ({"messages": [{"role": "user", "content": [1]}]}, "A turn has a part that is int"),
        ({"messages": [{"role": "user", "content": []}]}, "a turn holds nothing"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "text": ""}]}]}, "type 'image'; only text"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "type 'image_url'"),
        ({"messages": [{"role": "user", "content": [{"text": "a", "image": "b.png"}]}]}, "type 'image'"),
        ({"messages": [{"role": "user", "content": "a", "images": ["b.png"]}, CHAT[1]]}, "type 'images'"),
        ({"messages": [{"role": "user", "content": [{"type": "sound", "text": "a"}]}]}, "type 'sound', which is no"),
        ({"prompt": "<image>\nWhat is it?", "response": "A cat.", "image": "cat.png"}, r"something beside it .image."),
        ({"prompt": "<video>", "response": "A cat.", "videos": ["cat.mp4"]}, r"something beside it .video."),
        ({"prompt": None, "response": "x"}, "prompt holds nothing"),
        ({"prompt": "x", "response": 3}, "response holds int"),
    ],
)
def test_rows_that_are_no_chat_are_refused(row, complaint):
    with pytest.raises(ValueError, match=complaint):
        read(row)


def test_columns_that_cannot_be_recognised_are_named():
    with pytest.raises(ValueError, match="'title', 'body'"):
        schema_of(["title", "body"])
    with pytest.raises(ValueError, match="none at all"):
        schema_of([])


def test_formats_agree(tmp_path, jsonl):
    rows = [{"prompt": f"{index}?", "response": f"{index} é!", "n": index} for index in range(5)]
    plain = jsonl(rows)
    (tmp_path / "in.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    (tmp_path / "in.json").write_text(json.dumps(rows), encoding="utf-8")
    paths = [plain, tmp_path / "in.jsonl.gz", tmp_path / "in.json"]
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pytest.importorskip("pyarrow").Table.from_pylist(rows)
    parquet.write_table(table, tmp_path / "in.parquet")
    for path in [*paths, tmp_path / "in.parquet"]:
        source = open_source(str(path))
        assert list(source.rows()) == rows == list(source.rows())
        assert source.count == 5 and source.schema == Schema(prompt="prompt", answer="response")
        assert list(open_source(str(path), limit=2).rows()) == rows[:2]


def test_a_byte_order_mark_and_empty_lines_are_no_rows(tmp_path):
    (tmp_path / "in.jsonl").write_bytes(b'\xef\xbb\xbf{"prompt": "a", "answer": "b"}\n\n\n')
    assert open_source(str(tmp_path / "in.jsonl")).count == 1


BROKEN_INSIDE = gzip.compress(b"", mtime=0)[:10] + b"\xff" * 30
GOOD = b'{"prompt": "a", "response": "b"}\n'


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("in.jsonl", b"", "holds no records"),
        ("in.jsonl", b"\n \n", "holds no records"),
        ("in.jsonl", GOOD + b'{"prompt": "a", "respo\n', "line 2: not JSON"),
        ("in.jsonl", GOOD + b"[1]\n", "line 2: list instead of an object"),
        ("in.jsonl", GOOD + b"\xff\xfe\n", "line 2: not UTF-8 .invalid start byte at byte 0"),
        ("in.jsonl", GOOD + b'{"prompt": "a", "response": "b", "id": ' + b"1" * 5000 + b"}\n", "line 2: not JSON"),
        ("in.jsonl.gz", BROKEN_INSIDE, "cannot be read further"),
        ("in.json.gz", BROKEN_INSIDE, "not JSON"),
        (
            "in.jsonl",
            GOOD + b'{"messages": []}\n',
            "line 2 has the columns messages, line 1 the columns prompt and resp",
        ),
        ("in.jsonl", b'{"title": "a"}\n', "line 1: no columns of a chat .* among 'title'; rename them"),
        ("in.jsonl.gz", gzip.compress(GOOD * 99, mtime=0)[:-9], "cannot be read further"),
        ("in.jsonl.gz", GOOD, "cannot be read further"),
        ("in.json", b"{}", "not a list of objects"),
        ("in.json", b"[1]", "not a list of objects"),
        ("in.json", b"[", "not JSON"),
        ("in.json", b"[]", "holds no records"),
        ("in.parquet", b"PAR1", "no readable Parquet file"),
        ("in.csv", b"a,b", "is none of .jsonl"),
    ],
)
def test_files_that_cannot_be_read(name, content, complaint, tmp_path):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=complaint):
        open_source(str(tmp_path / name))


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(ValueError, match="There is no file"):
        open_source(str(tmp_path / "no.jsonl"))
    with pytest.raises(ValueError, match="is a folder"):
        open_source(str(tmp_path))


def test_a_dataset_of_the_hub_is_read_through_datasets(monkeypatch):
    datasets = pytest.importorskip("datasets")
    rows = [{"question": "Why?", "answer": "Because."}]
    asked = []

    def load(name, split):
        asked.append((name, split))
        return datasets.Dataset.from_list(rows)

    monkeypatch.setattr(datasets, "load_dataset", load)
    source = open_source("someone/questions", split="test")
    assert asked == [("someone/questions", "test")] and list(source.rows()) == rows
    assert source.name == "someone/questions [test]"


@pytest.mark.parametrize(("error", "kind"), [(FileNotFoundError, ValueError), (ConnectionError, RuntimeError)])
def test_a_dataset_that_cannot_be_had(error, kind, monkeypatch):
    datasets = pytest.importorskip("datasets")

    def load(name, split):
        raise error("the Hub says no")

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(kind, match="the Hub says no"):
        open_source("someone/questions")


@pytest.mark.parametrize(("package", "source"), [("pyarrow.parquet", "in.parquet"), ("datasets", "someone/questions")])
def test_what_to_install(package, source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(RuntimeError, match=r"pip install 'planned-diffusion\[annotate\]'"):
        open_source(source)
