"""The range of versions that pyproject.toml states is the one that the suite was last run on, and passed."""

import json
import re
import tomllib
from pathlib import Path

import pytest

HERE = Path(__file__).parent
RESULTS = json.loads((HERE / "results.json").read_text(encoding="utf-8"))
DEPENDENCIES = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text())["project"]["dependencies"]


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:2]))


@pytest.mark.parametrize("name", RESULTS)
def test_the_suite_passed(name):
    assert RESULTS[name]["failed"] == [] and RESULTS[name]["passed"] > 1000


@pytest.mark.parametrize("library", ["torch", "transformers"])
def test_the_oldest_version_that_passed_is_the_oldest_stated(library):
    tested = min(numbers(result["versions"][library]) for result in RESULTS.values())
    (stated,) = [line for line in DEPENDENCIES if re.match(rf"{library}\b", line)]
    assert numbers(stated) == tested
