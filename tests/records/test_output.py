"""Finished files appear whole or not at all, the main one last."""

import pytest

from planned_diffusion.records import output
from planned_diffusion.records.output import beside, make_place_for, whole_files


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_both_files_take_their_names_at_the_end(tmp_path):
    with whole_files(tmp_path / "out", ".refused", 2) as (file, side):
        file.write(b"kept")
        side.write(b"refused")
        assert names(tmp_path) == ["out.new", "out.refused.new"]
    assert names(tmp_path) == ["out", "out.refused"]
    assert (tmp_path / "out").read_bytes() == b"kept" and (tmp_path / "out.refused").read_bytes() == b"refused"


def test_an_empty_side_file_is_removed_with_that_of_an_earlier_run(tmp_path):
    (tmp_path / "out.refused").write_text("earlier")
    with whole_files(tmp_path / "out", ".refused", 2):
        pass
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_nothing_half_written(step, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(output.os, step, full)
    with (
        pytest.raises(RuntimeError, match=r"Cannot continue writing .*out \(No space left on device\); 2 finished"),
        whole_files(tmp_path / "out", ".refused", 2) as (_, side),
    ):
        side.write(b"refused")
    assert names(tmp_path) == []


def test_a_place_is_made_or_refused(tmp_path):
    make_place_for(tmp_path / "new" / "out")
    assert (tmp_path / "new").is_dir()
    (tmp_path / "out").write_text("mine")
    with pytest.raises(ValueError, match="is there already; delete it, or name another file"):
        make_place_for(tmp_path / "out")
    with pytest.raises(ValueError, match="No file can be written into"):
        make_place_for(beside(tmp_path / "out", "") / "below")
