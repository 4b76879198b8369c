"""`planned-diffusion serve`: the OpenAI-compatible server of transformers, which then knows this package's models.

`transformers serve` looks a model's class up by name in the transformers module and finds no class of anybody else's.
`transformers chat MODEL http://localhost:8000` then talks to it as it is.
"""

import transformers
from transformers.utils.import_utils import is_serve_available

from ..modeling_planned_diffusion import PlannedDiffusionForCausalLM


def serve(arguments: list[str]) -> None:
    """Runs `transformers serve` with these arguments, until it is interrupted.

    Raises:
        RuntimeError: fastapi, uvicorn or openai is missing.
    """
    if not is_serve_available():
        raise RuntimeError("Serving needs fastapi, uvicorn and openai; run pip install 'planned-diffusion[serve]'.")
    from transformers.cli.transformers import app

    transformers.PlannedDiffusionForCausalLM = PlannedDiffusionForCausalLM
    app(["serve", *arguments], prog_name="transformers", standalone_mode=False)
