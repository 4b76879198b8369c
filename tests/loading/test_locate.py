"""A missing path is said to be missing; it is never asked for on the Hub as the name of a repository."""

import socket

import pytest

from planned_diffusion.annotation.reading import open_source
from planned_diffusion.cli.main import main
from planned_diffusion.loading.bases import BASES, base_named
from planned_diffusion.loading.embedded import INCLUDED
from planned_diffusion.loading.locate import is_path, locate

PATHS = (
    "./runs/mine", "../mine", "/absent/mine", "~/absent", "a/b/c", "absent/", "absent/mine/", "runs/mine",
    "runs/mine.gguf", "absent/model.gguf", "absent/model.safetensors", "absent\\mine", "~nobody/mine",
)  # fmt: skip


TRAIN = ("--output_dir", "out", "--train_file", "in.jsonl", "--use_cpu", "true")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A current folder with the folder `runs`, and no network."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "whole").mkdir(parents=True)

    def connect(*_):
        raise AssertionError("asked for online")

    monkeypatch.setattr(socket.socket, "connect", connect)


@pytest.mark.parametrize("name", PATHS)
def test_paths_are_no_names_of_repositories(name):
    says = "There is no folder .*; give --model a folder, or a Hub repository as owner/name"
    with pytest.raises(ValueError, match=says):
        locate(name, "--model")
    assert is_path(name)


@pytest.mark.parametrize("name", ["absent", "two words/mine", "owner/na me", "owner/"])
def test_names_that_the_hub_cannot_have_are_no_repositories(name):
    with pytest.raises(ValueError, match="There is no folder"):
        locate(name)


@pytest.mark.parametrize("name", ["Qwen/Qwen2.5-7B", "owner/name-GGUF", "me_2/my.model"])
def test_names_of_repositories_stay(name):
    assert locate(name) == name and not is_path(name)


def test_a_folder_is_a_folder():
    assert locate("runs/whole") == "runs/whole" and locate("./runs/whole/") == "runs/whole"


def test_the_folder_that_makes_it_a_path_is_named():
    with pytest.raises(ValueError, match=r"There is no folder runs/mine \(runs is a folder here, so this is a path\)"):
        locate("runs/mine")


@pytest.mark.parametrize("name", ["runs/none", "./none", "none/"])
@pytest.mark.parametrize(
    "command",
    [
        ["generate", "What?", "--model"],
        ["batch", "in.jsonl", "out.jsonl", "--model"],
        ["evaluate", "--model"],
        ["annotate", "in.jsonl", "out.jsonl", "--model"],
        ["convert", "{}", "out"],
        ["export", "{}", "out"],
        ["train", *TRAIN, "--model"],
        ["train", *TRAIN, "--from_scratch", "a.yaml", "--tokenizer"],
    ],
    ids=["generate", "batch", "evaluate", "annotate", "convert", "export", "train", "tokenizer"],
)
def test_every_command_says_so_in_a_sentence(command, name, capsys):
    arguments = [part.format(name) for part in command]
    status = main(arguments if "{}" in command else [*arguments, name])
    error = capsys.readouterr().err
    assert status == 2 and f"There is no folder {name}" in error and error.count("\n") == 1


@pytest.mark.parametrize("name", ["runs/none", "runs/none.csv", "./none", "none.jsonl", "none/"])
def test_a_missing_file_of_data_is_no_data_set_of_the_hub(name):
    with pytest.raises(ValueError, match=f"There is no file {name}; give a file, or a dataset of the Hub"):
        open_source(name)


@pytest.mark.parametrize("name", ["facts", "smollm2-planner"])
def test_a_folder_without_a_checkpoint_does_not_hide_an_included_one(name, tmp_path, monkeypatch):
    """The package's own folder facts/ stands where its users start the command line."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    assert locate(name) == str(INCLUDED[name])
    (tmp_path / name / "config.json").write_text("{}")
    assert locate(name) == name


def test_a_folder_without_a_checkpoint_does_not_hide_a_base(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "smollm2").mkdir()
    assert base_named("smollm2") is BASES["smollm2"]
    (tmp_path / "smollm2" / "adapter_config.json").write_text("{}")
    assert base_named("smollm2") is None
