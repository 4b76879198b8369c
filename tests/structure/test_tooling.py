"""The tools agree: one set of versions, one matrix, the same checks before a commit, in `make lint`, in public CI."""

import importlib.util
import re
import tomllib

import yaml
from product_source import FOLDERS, MODULES, ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def recipe(target: str) -> str:
    """Return the commands of a Makefile's target."""
    (found,) = re.findall(rf"^{target}:.*\n((?:\t.*\n)*)", MAKEFILE, re.MULTILINE)
    return found


def test_public_ci_runs_the_environments_of_the_compatibility_tests():
    file = ROOT / "tests" / "compatibility" / "run.py"
    spec = importlib.util.spec_from_file_location("compatibility_run", file)
    compatibility = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(compatibility)
    assert WORKFLOW["jobs"]["suite"]["strategy"]["matrix"]["environment"] == list(compatibility.ENVIRONMENTS)
    commands = [step["run"] for step in WORKFLOW["jobs"]["suite"]["steps"] if "run" in step]
    assert commands == ['python tests/compatibility/run.py "${{ matrix.environment }}"']
    assert "tests/compatibility/run.py" in recipe("compatibility")


def test_public_ci_calls_targets_that_exist():
    commands = [step["run"] for job in WORKFLOW["jobs"].values() for step in job["steps"] if "run" in step]
    targets = [command.removeprefix("make ") for command in commands if command.startswith("make ")]
    assert "lint" in targets
    for target in targets:
        assert recipe(target)


def test_a_commit_is_checked_by_the_tools_of_make_lint():
    entries = [hook["entry"] for repository in HOOKS["repos"] for hook in repository["hooks"]]
    for tool in ("ruff check", "ruff format", "basedpyright"):
        assert f"$(BIN)/{tool}" in recipe("lint") and any(entry.startswith(f".venv/bin/{tool}") for entry in entries)


def test_make_test_checks_and_tests():
    assert all("lint suite" in recipe(target) for target in ("test", "test-all")) and "pytest" in recipe("suite")
    assert "not slow" in recipe("test") and "slow" not in recipe("test-all")
    assert (ROOT / ".ci" / "run").read_text(encoding="utf-8").strip().endswith("make test-all")


def test_tools_are_pinned():
    pinned = {line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    tools = [re.split(r"[\[>=<]", name)[0] for name in EXTRAS["dev"]]
    assert {name for name in tools if name != "planned-diffusion"} <= pinned


def test_every_extra_that_an_error_names_exists():
    named = {
        extra
        for module in MODULES.values()
        for names in re.findall(r"planned-diffusion\[([\w,]+)\]", module.text)
        for extra in names.split(",")
    }
    assert named and named <= EXTRAS.keys()


def test_types_travel_with_the_package():
    assert (ROOT / "py.typed").is_file()
    assert "py.typed" in PROJECT["tool"]["setuptools"]["package-data"]["planned_diffusion"]


def test_data_files_travel_with_the_package():
    globs = PROJECT["tool"]["setuptools"]["package-data"]["planned_diffusion"]
    files = [path.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()]
    data = [path for path in files if path.suffix not in (".py", ".pyc", ".md")]
    assert data and not [path.as_posix() for path in data if not any(path.match(glob) for glob in globs)]
