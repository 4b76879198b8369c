"""The examples in the docstring of `generate` show what one gets."""

import doctest
from pathlib import Path

import pytest

from planned_diffusion.generation.mixin import PlannedDiffusionGenerationMixin

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_examples_of_generate(monkeypatch):
    monkeypatch.chdir(ROOT)
    (found,) = doctest.DocTestFinder(recurse=False).find(PlannedDiffusionGenerationMixin.generate, "generate")
    results = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(found)
    assert (results.failed, results.attempted) == (0, 14)
