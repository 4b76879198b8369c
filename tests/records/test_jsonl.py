"""The one reader of JSON Lines: numbers of lines, marks and packing that it accepts, and what it refuses."""

import gzip

import pytest

from planned_diffusion.records.jsonl import json_lines

LINES = b'\xef\xbb\xbf{"a": 1}\r\n\n  \n\xef\xbb\xbf{"a": 2}\n'


@pytest.mark.parametrize(("name", "pack"), [("in.jsonl", bytes), ("in.jsonl.GZ", gzip.compress)])
def test_lines_are_numbered_and_empty_ones_and_marks_skipped(name, pack, tmp_path):
    (tmp_path / name).write_bytes(pack(LINES))
    assert list(json_lines(tmp_path / name)) == [(1, {"a": 1}), (4, {"a": 2})]


def test_a_file_that_is_packed_in_name_only(tmp_path):
    (tmp_path / "in.gz").write_bytes(LINES)
    with pytest.raises(ValueError, match="after line 0: cannot be read further .*; is the file whole?"):
        list(json_lines(tmp_path / "in.gz"))


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"{", "line 2: not JSON .*; write one object per line"),
        (b"[" * 100_000, "line 2: not JSON"),
        (b"[1]", "line 2: list instead of an object"),
        (b'{"a": "\xff"}', "line 2: not UTF-8 .invalid start byte at byte 7.; convert the file"),
    ],
)
def test_lines_that_are_no_objects(line, complaint, tmp_path):
    (tmp_path / "in").write_bytes(b"{}\n" + line + b"\n")
    with pytest.raises(ValueError, match=complaint):
        list(json_lines(tmp_path / "in"))
