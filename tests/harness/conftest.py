"""The model class of lm-eval on the included model."""

import pytest

from planned_diffusion.loading.embedded import EMBEDDED


@pytest.fixture(scope="session")
def build():
    """build(batch_size=1, ...) -> the model class, with these arguments."""
    from planned_diffusion.evaluation.harness.lm_eval_model import PlannedDiffusionLM

    return lambda **arguments: PlannedDiffusionLM(**{"pretrained": str(EMBEDDED), "device": "cpu", **arguments})


@pytest.fixture(scope="session")
def requests_of():
    """requests_of("generate_until", [arguments, ...]) -> lm-eval's requests."""
    from lm_eval.api.instance import Instance

    return lambda kind, given: [Instance(kind, {}, arguments, index) for index, arguments in enumerate(given)]
