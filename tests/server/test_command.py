"""`planned-diffusion serve`: names of models, keys, and refusals before anything is loaded."""

import signal
import socket
from dataclasses import replace
from types import SimpleNamespace

import pytest

from planned_diffusion.cli import server as command
from planned_diffusion.cli.main import main
from planned_diffusion.inference.ray_cluster import Wanted
from planned_diffusion.inference.server import run_server
from planned_diffusion.inference.server.replica import ModelSource

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


@pytest.fixture
def in_front(monkeypatch, served):
    """in_front(*arguments) -> (status, front, how it is served), without a server."""
    from planned_diffusion.inference.front import front_app

    seen: dict = {}
    monkeypatch.delenv(command.ENGINE_KEY_VARIABLE, raising=False)
    monkeypatch.setattr(front_app, "run_front", lambda *given: seen.update(zip(("front", "how"), given, strict=True)))

    def run(*arguments):
        seen.clear()
        status = main(["serve", *map(str, arguments)])
        return status, seen.get("front"), seen.get("how")

    return run


def test_an_engine_is_served_with_its_own_plans_or_ours(in_front, folder, tmp_path, monkeypatch, capsys):
    url = "http://localhost:8001/v1"
    status, front, how = in_front("--engine", url, "--queue", 3)
    assert status == 0 and front.planner is None and how.limits.queue == 3
    address = front.engine
    assert (address.url, address.key, address.models, address.seconds, address.retries) == (url, None, (), 300, 2)
    assert "Serving the engine http://localhost:8001/v1, plans by its model, on" in capsys.readouterr().out
    file = tmp_path / "key"
    file.write_text("from-file\n")
    given = ["--engine-key-file", file, "--engine-model", "a", "--engine-model", "b", "--engine-retries", 0]
    _, front, _ = in_front(folder, "--engine", url, *given, "--engine-seconds", 7)
    assert front.planner[0] == str(folder) and front.engine.models == ("a", "b")
    assert (front.engine.key, front.engine.seconds, front.engine.retries) == ("from-file", 7, 0)
    assert "from-file" not in repr(front.engine)
    monkeypatch.setenv(command.ENGINE_KEY_VARIABLE, "from-environment")
    assert in_front("--engine", url)[1].engine.key == "from-environment"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--engine", "localhost"], "--engine is 'localhost'; give a URL"),
        (["--engine", "http://a/v1", "--model", "a=o/x", "--model", "b=o/y"], "There are 2 models"),
        (["--engine", "http://a/v1", "--engine-seconds", "0"], "--engine-seconds is 0"),
        (["--engine", "http://a/v1", "--engine-retries", "-1"], "--engine-retries is -1"),
        (["--engine", "http://a/v1", "--engine-key-file", "missing"], "missing cannot be read"),
        (["--engine", "http://a/v1", "--host", "0.0.0.0"], "there is no API key"),
        (["--engine-model", "a"], "There is --engine-model without an engine"),
    ],
)
def test_an_engine_that_cannot_be_used_is_refused_at_once(arguments, says, in_front, capsys):
    status, front, _ = in_front(*arguments)
    assert status == 2 and front is None and says in capsys.readouterr().err


@pytest.fixture
def by_replicas(monkeypatch, served):
    """by_replicas(*arguments) -> (status, models, how they are served, what is wanted of Ray), without Ray."""
    from planned_diffusion.inference.server import ray_serving

    seen: dict = {}

    def run_replicas(models, how, wanted, tell):
        seen.update(models=models, how=how, wanted=wanted)
        tell(wanted.count or 1, replace(how.address, port=9))

    monkeypatch.setattr(ray_serving, "run_replicas", run_replicas)

    def run(*arguments):
        seen.clear()
        status, *_ = served(*arguments)
        return status, seen.get("models"), seen.get("how"), seen.get("wanted")

    return run


def test_replicas_get_models_by_name_and_how_to_load_them(by_replicas, folder, capsys):
    given = ["--model", f"mine={folder}", "--replicas", 3, "--device", "cpu", "--dtype", "bfloat16", "--queue", 5]
    status, models, how, wanted = by_replicas(*given)
    assert (status, how.limits.queue) == (0, 5)
    assert models == {"mine": ModelSource(str(folder), "bfloat16", "cpu", False)}
    assert wanted == Wanted("replicas", 3, "cpu", None)
    assert capsys.readouterr().out == "Serving mine on http://127.0.0.1:9/v1 by 3 replicas\n"
    assert by_replicas("--ray", "auto")[3] == Wanted("replicas", None, "auto", "auto")
    assert capsys.readouterr().out.endswith(" by 1 replica\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--replicas", "0"], "replicas is 0; give 1 or more"),
        (["--replicas", "2", "--engine", "http://a/v1"], "There are --engine and --replicas"),
        (["--ray", "auto", "--engine", "http://a/v1"], "There are --engine and --ray"),
        (["--replicas", "2", "--host", "0.0.0.0"], "there is no API key"),
    ],
)
def test_replicas_that_cannot_be_had_are_refused_at_once(arguments, says, by_replicas, capsys):
    status, models, *_ = by_replicas(*arguments)
    assert status == 2 and models is None and says in capsys.readouterr().err


def test_an_address_that_is_taken_or_open_is_refused_before_ray_starts(served, monkeypatch, capsys):
    from planned_diffusion.inference.server import ray_serving

    monkeypatch.setattr(ray_serving, "import_ray", lambda *_: None)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert served("--replicas", 2, "--port", port)[0] == 2
        assert f"Nothing can listen on 127.0.0.1, port {port}" in capsys.readouterr().err
    assert served("--ray", "127.0.0.1:6379", "--port", 0)[0] == 2
    assert "port is 0, and which one is free on the head of the Ray cluster is not known" in capsys.readouterr().err


def test_a_cluster_that_serves_already_is_refused(monkeypatch):
    from planned_diffusion.inference.server import ray_serving

    shut = []
    serve = SimpleNamespace(
        status=lambda: SimpleNamespace(applications={"theirs": None}, proxies={}), shutdown=lambda: shut.append(1)
    )
    ray = SimpleNamespace(serve=serve, shutdown=lambda: None, exceptions=SimpleNamespace(RayError=OSError))
    monkeypatch.setattr(ray_serving, "import_ray", lambda *_: ray)
    monkeypatch.setattr(ray_serving, "start_ray", lambda *_: (1, {}))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RuntimeError, match="Ray Serve runs already on the Ray at auto"):
        ray_serving.run_replicas({}, run_server.Serving(), Wanted("replicas", cluster="auto"), print)
    signal.signal(signal.SIGTERM, before)
    assert not shut  # it is theirs
