"""The unfinished output survives whatever stops a run, and belongs to one run and its settings."""

import json
import subprocess
import sys

import pytest

from planned_diffusion.records.journal import Journal

SETTINGS = {"annotator": "structure", "unit": 8}


def entry(index, text="é"):
    return {"index": index, "hash": f"h{index}", "kept": text}


def test_entries_come_back_in_order_and_the_last_of_an_index_counts(tmp_path):
    with Journal(tmp_path / "a", SETTINGS) as journal:
        journal.append(entry(2), entry(0))
        journal.append(entry(1), entry(0, "newer"))
        assert [one["kept"] for one in journal.entries(3)] == ["newer", "é", "é"]
        assert len(journal) == 3 and journal.is_done(1, "h1") and not journal.is_done(1, "other")
        assert not journal.is_done(3, "h3")


def test_an_earlier_runs_entries_are_found_by_hash_and_their_usage_counts_once(tmp_path):
    with Journal(tmp_path / "a", SETTINGS) as journal:
        journal.append(entry(0) | {"usage": [1, 2, 1]})
        assert not journal.is_done(3, "h0") and journal.stop == 1
    with Journal(tmp_path / "a", SETTINGS) as journal:
        journal.append(entry(1))
        assert journal.is_done(3, "h0") and not journal.is_done(2, "h1") and journal.stop == 4
        found = list(journal.entries(4))
    assert [(one["index"], one.get("usage")) for one in found] == [(0, [1, 2, 1]), (1, None), (3, None)]


@pytest.mark.parametrize("torn", [1, 7, 20])
def test_a_torn_last_line_is_cut_off(torn, tmp_path):
    path = tmp_path / "a"
    with Journal(path, SETTINGS) as journal:
        journal.append(entry(0), entry(1))
    path.write_bytes(path.read_bytes()[:-torn])
    with Journal(path, SETTINGS) as journal:
        assert [one["index"] for one in journal.entries(2)] == [0]
        journal.append(entry(1, "again"))
        assert [one["kept"] for one in journal.entries(2)] == ["é", "again"]
    with Journal(path, SETTINGS) as journal:
        assert len(journal) == 2


@pytest.mark.parametrize("written", [b"", b'{"set', b'{"settings": {"annot'])
def test_a_torn_beginning_is_begun_again(written, tmp_path):
    (tmp_path / "a").write_bytes(written)
    with Journal(tmp_path / "a", SETTINGS) as journal:
        assert len(journal) == 0
    assert json.loads((tmp_path / "a").read_text()) == {"settings": SETTINGS}


def test_half_characters_are_escaped(tmp_path):
    with Journal(tmp_path / "a", SETTINGS) as journal:
        journal.append(entry(0, "\ud800"))
        assert next(journal.entries(1))["kept"] == "\ud800"


def test_other_settings_are_refused(tmp_path):
    with Journal(tmp_path / "a", SETTINGS) as journal:
        journal.append(entry(0))
    with pytest.raises(ValueError, match="other settings .changed: unit.; finish it with those, or delete it"):
        Journal(tmp_path / "a", SETTINGS | {"unit": 9})


def test_other_settings_begin_anew_where_nothing_is_finished(tmp_path):
    Journal(tmp_path / "a", SETTINGS).__exit__()
    other = SETTINGS | {"unit": 9}
    with Journal(tmp_path / "a", other) as journal:
        journal.append(entry(0))
    assert json.loads((tmp_path / "a").read_text().splitlines()[0]) == {"settings": other}


@pytest.mark.parametrize("content", ["my notes", '{"my": "json"}\n'])
def test_a_foreign_file_is_left_alone(content, tmp_path):
    (tmp_path / "a").write_text(content)
    with pytest.raises(ValueError, match="not the unfinished output"):
        Journal(tmp_path / "a", SETTINGS)
    assert (tmp_path / "a").read_text() == content


def test_one_run_at_a_time(tmp_path):
    pytest.importorskip("fcntl")
    with Journal(tmp_path / "a", SETTINGS), pytest.raises(ValueError, match="being written by another run"):
        Journal(tmp_path / "a", SETTINGS)
    Journal(tmp_path / "a", SETTINGS).__exit__()


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(ValueError, match="cannot be written"):
        Journal(tmp_path / "a", SETTINGS)


FILL = """
import resource, sys
from pathlib import Path
from planned_diffusion.records.journal import Journal
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
with Journal(Path(sys.argv[1]), {"annotator": "structure", "unit": 8}) as journal:
    try:
        for index in range(100):
            journal.append({"index": index, "hash": f"h{index}", "kept": "x" * 100})
    except RuntimeError as error:
        print(error)
"""


def test_a_full_disk_is_one_sentence_and_loses_nothing(tmp_path):
    """A limit on the size of files stands for the disk: a write is cut short, and the next one fails."""
    pytest.importorskip("resource")
    path = tmp_path / "a"
    ran = subprocess.run([sys.executable, "-c", FILL, str(path)], capture_output=True, text=True, check=True)
    assert "Cannot continue writing" in ran.stdout and "finished records are safe" in ran.stdout
    finished = int(ran.stdout.split(";")[1].split()[0])
    assert path.stat().st_size == 4000 and not path.read_bytes().endswith(b"\n")
    with Journal(path, SETTINGS) as journal:
        assert len(journal) == finished > 20
