"""`planned-diffusion serve`: names of models, keys, and refusals before anything is loaded."""

import pytest

from planned_diffusion.cli import server as command
from planned_diffusion.cli.main import main
from planned_diffusion.inference.server import run_server

ROOT_NAME = "facts"


@pytest.fixture
def served(monkeypatch, tmp_path):
    """served(*arguments) -> (status, sources by name, how they are served), without a server."""
    seen: dict = {}
    monkeypatch.delenv(command.KEY_VARIABLE, raising=False)
    monkeypatch.setattr(command, "opened", lambda source, weights: (source, weights))
    monkeypatch.setattr(
        run_server, "run_server", lambda *given: seen.update(zip(("sources", "how"), given, strict=True))
    )
    monkeypatch.setattr(command, "quiet", lambda debug: None)

    def run(*arguments):
        seen.clear()
        status = main(["serve", *map(str, arguments)])
        return status, seen.get("sources"), seen.get("how")

    return run


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


def test_the_included_model_is_served_on_this_machine(served, capsys):
    status, sources, how = served()
    assert status == 0 and list(sources) == [ROOT_NAME] and sources[ROOT_NAME][0].endswith("checkpoints/facts")
    assert (how.address.host, how.address.port) == ("127.0.0.1", 8000) and how.access.api_key is None
    assert "Serving facts on http://127.0.0.1:8000/v1" in capsys.readouterr().out


def test_models_have_names(served, folder):
    _, sources, _ = served(folder, "--model", f"other={folder}", "--model", "owner/name")
    assert {name: source for name, (source, _) in sources.items()} == {
        "mine": str(folder), "other": str(folder), "owner/name": "owner/name",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--model", "=a/b"], "--model is '=a/b'; give NAME=PATH"),
        (["--model", "a="], "--model is 'a='; give NAME=PATH"),
        (["--model", "a=o/x", "--model", "a=o/y"], "Two models would be served as a"),
        (["--host", "0.0.0.0"], "there is no API key"),
        (["--queue", "-1"], "queue is -1"),
        (["--port", "70000"], "port is 70000"),
        (["--api-key", "a", "--api-key-file", "b"], "There are --api-key and --api-key-file"),
        (["--api-key-file", "missing"], "missing cannot be read"),
        (["--no-such-option"], "no-such-option"),
        (["there/is/none"], "There is no folder there/is/none"),
    ],
)
def test_what_cannot_be_served_is_refused_at_once(arguments, says, served, capsys):
    status, sources, _ = served(*arguments)
    assert status == 2 and sources is None and says in capsys.readouterr().err


def test_keys_come_from_an_option_a_file_or_the_environment(served, tmp_path, monkeypatch):
    file = tmp_path / "key"
    file.write_text("from-file\n")
    assert served("--api-key", "given")[2].access.api_key == "given"
    assert served("--api-key-file", file, "--host", "0.0.0.0")[2].access.api_key == "from-file"
    monkeypatch.setenv(command.KEY_VARIABLE, "from-environment")
    assert served("--host", "0.0.0.0")[2].access.api_key == "from-environment"
    assert served("--api-key-file", file)[2].access.api_key == "from-file"


def test_bounds_and_names_reach_the_server(served):
    given = [
        "--queue",
        3,
        "--live",
        2,
        "--answer-seconds",
        7,
        "--allow-host",
        "a.org",
        "--allow-origin",
        "https://a.org",
    ]
    _, _, how = served(*given)
    assert (how.limits.queue, how.limits.live, how.limits.answer_seconds) == (3, 2, 7)
    assert (how.access.hosts, how.access.origins) == (("a.org",), ("https://a.org",))


def test_options_have_the_defaults_of_the_limits():
    from planned_diffusion.inference.server.limits import Limits

    assert {name: getattr(Limits(), name) for name in vars(command.Bounds())} == vars(command.Bounds())


def test_missing_libraries_are_named(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["serve"]) == 1
    assert "pip install 'planned-diffusion[serve]'" in capsys.readouterr().err
