"""The included model in float32, as a checkpoint that answers."""

import pytest

from planned_diffusion.inference.answer import open_checkpoint
from planned_diffusion.loading.embedded import EMBEDDED


@pytest.fixture(scope="session")
def facts_checkpoint():
    return open_checkpoint(str(EMBEDDED), "float32", "cpu")
