"""Runs the suite on the ends of the stated range of versions and records the results (`make compatibility`).

    python tests/compatibility/run.py                       every environment below, each in its virtual environment
    python tests/compatibility/run.py newest                only this one
    python tests/compatibility/run.py --here oldest         in the running interpreter, where its versions are installed
                                                            already (a GPU machine, say)
    python tests/compatibility/run.py --here oldest --again only the tests that failed last time, mended since

torch is installed first and alone, then the package with what its tests need, everything but torch and transformers as
in constraints.txt where it fits; "unconstrained" takes the newest version of everything that pip finds. `results.json`
beside this file keeps the last result of every environment, with date, commit, machine and versions, and of `--again`
the tests that pass by now, with date and commit of their own; test_results.py compares it with the range in
pyproject.toml.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import venv
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).with_name("results.json")
ENVIRONMENTS = {
    "oldest": {"torch": "==2.11.0", "transformers": "==5.17.0"},
    "oldest transformers": {"torch": "==2.13.0", "transformers": "==5.17.0"},
    "newest": {"torch": "==2.13.0", "transformers": "<6"},
    "unconstrained": {"torch": "", "transformers": "<6"},
}
IN_PARALLEL = ("--numprocesses=logical", "--maxprocesses=8", "--dist=loadfile")
# Not held at their constraints: transformers decides on their versions.
FREE = ("torch", "transformers", "tokenizers", "huggingface_hub")
REPORTED = ("torch", "transformers", "tokenizers", "huggingface_hub", "trl", "peft", "accelerate", "datasets")
VERSIONS = f"""
import json, platform
from importlib.metadata import version
print(json.dumps({{"Python": platform.python_version()}} | {{name: version(name) for name in {REPORTED}}}))
"""


def make(folder: Path, torch: str, transformers: str) -> Path:
    """Make a virtual environment with the package and the needs of its tests; return its interpreter."""
    if not (folder / "bin" / "python").exists():
        venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if torch else []
    kept = [line for line in lines if re.split("==", line)[0] not in FREE]
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join([*kept, f"torch{torch}", f"transformers{transformers}"]) + "\n", encoding="utf-8")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, f"torch{torch}"], check=True)
    subprocess.run([*pip, "--constraint", constraints, "--editable", f"{ROOT}[dev]", "--upgrade"], check=True)
    return python


def measure(python: Path | str, pytest_arguments: list[str]) -> dict:
    """Run the suite once; return its stamp and counts."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    versions = subprocess.run([python, "-c", VERSIONS], capture_output=True, text=True, check=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "junit.xml"
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={file}", *IN_PARALLEL]
        command += pytest_arguments
        subprocess.run(command, cwd=ROOT, env=environment, check=False)
        suite = ElementTree.parse(file).getroot().find("testsuite")
    failed = [
        f"{case.get('classname')}::{case.get('name')}"
        for case in suite.iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    ]
    skipped = int(suite.get("skipped"))
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip(),
        "machine": f"{platform.machine()}, {platform.system()}, {os.cpu_count()} threads",
        "versions": json.loads(versions.stdout),
        "passed": int(suite.get("tests")) - skipped - len(failed),
        "skipped": skipped,
        "failed": failed,
        "seconds": round(float(suite.get("time"))),
    }


def measure_again(python: Path | str, before: dict) -> dict:
    """Run the tests that failed, and return the result with those that pass by now told apart."""
    again = measure(python, [path_of(test) for test in before["failed"]])
    mended = [test for test in before["failed"] if test not in again["failed"]]
    told = {"date": again["date"], "commit": again["commit"], "passed": mended}
    return {
        **before,
        "passed": before["passed"] + len(mended),
        "failed": again["failed"],
        "again": [*before.get("again", []), told],
    }


def path_of(test: str) -> str:
    """Return a test of a JUnit report, "tests.cli.test_main::test_help", as pytest takes it."""
    module, _, name = test.partition("::")
    return f"{module.replace('.', '/')}.py::{name}"


def recorded() -> dict:
    """Return the results that are kept, by environment."""
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}


def record(name: str, result: dict) -> None:
    results = recorded() | {name: result}
    ordered = {name: results[name] for name in ENVIRONMENTS if name in results}
    RESULTS.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
    versions = ", ".join(f"{library} {version}" for library, version in result["versions"].items())
    print(f"{name}: {result['passed']} passed, {result['skipped']} skipped, {len(result['failed'])} failed; {versions}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "environments", nargs="*", metavar="NAME", help=f"among {', '.join(ENVIRONMENTS)}; default: all"
    )
    parser.add_argument("--here", action="store_true", help="run the named environment in the running interpreter")
    parser.add_argument("--again", action="store_true", help="run only the tests that failed last time")
    parser.add_argument("--folder", type=Path, default=ROOT / ".venv-compatibility", help="folder for environments")
    parser.add_argument("--pytest", nargs="*", default=[], metavar="ARGUMENT", help="further arguments for pytest")
    args = parser.parse_args()
    unknown = set(args.environments) - ENVIRONMENTS.keys()
    if unknown or (args.here and len(args.environments) != 1):
        parser.error(f"name one or more of {', '.join(ENVIRONMENTS)}; exactly one with --here")
    names, worst = args.environments or list(ENVIRONMENTS), 0
    if args.again:
        names = [name for name in names if recorded().get(name, {}).get("failed")]
    for name in names:
        folder = args.folder / name.replace(" ", "-")
        python = sys.executable if args.here else make(folder, **ENVIRONMENTS[name])
        result = measure_again(python, recorded()[name]) if args.again else measure(python, args.pytest)
        record(name, result)
        worst = max(worst, len(result["failed"]))
    return 1 if worst else 0


if __name__ == "__main__":
    sys.exit(main())
