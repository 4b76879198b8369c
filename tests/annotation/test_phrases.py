"""Every alternative of every pattern matches its example, within its pattern too."""

import re

import pytest

from planned_diffusion.annotation import phrases

FLAGS = re.IGNORECASE | re.MULTILINE


@pytest.mark.parametrize("name", phrases.PHRASES)
def test_every_alternative_has_an_example(name):
    pattern = getattr(phrases, name.upper())
    for alternative, example in phrases.PHRASES[name].items():
        assert re.search(alternative, example, FLAGS), alternative
        assert pattern.search(example), example
