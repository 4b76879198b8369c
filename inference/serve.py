"""`planned-diffusion serve`: the OpenAI-compatible server of transformers, which then knows this package's models.

`transformers serve` looks a model's class up by name in the transformers module and finds no class of anybody else's.
`transformers chat MODEL http://localhost:8000` then talks to it as it is.
"""

from functools import wraps

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
    from transformers.cli.serving import server
    from transformers.cli.transformers import app

    transformers.PlannedDiffusionForCausalLM = PlannedDiffusionForCausalLM
    server.build_server = refusing(server.build_server)
    app(["serve", *arguments], prog_name="transformers", standalone_mode=False)


def refusing(build_server):
    """The server answers a request that `generate` refuses by status 400 and the reason, in OpenAI's form."""
    from fastapi.responses import JSONResponse

    async def refuse(request, error: ValueError):
        return JSONResponse({"error": {"message": str(error), "type": "invalid_request_error"}}, status_code=400)

    @wraps(build_server)
    def build(*args, **kwargs):
        server = build_server(*args, **kwargs)
        server.add_exception_handler(ValueError, refuse)
        return server

    return build
