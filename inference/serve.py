"""`planned-diffusion serve`: the OpenAI-compatible server of transformers, with this package's models.

Two patches of transformers make that possible, both checked with transformers 5.23 (tests/hub/test_serve.py runs them
against the installed version):

    transformers.PlannedDiffusionForCausalLM   the server looks a model's class up by its name there
    serving.server.build_server                the server answers a ValueError of `generate` by status 400, not 500

`transformers chat MODEL http://localhost:8000` is a client that needs no patch.
"""

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec

import transformers
from transformers.utils.import_utils import is_serve_available

from ..modeling_planned_diffusion import PlannedDiffusionForCausalLM

if TYPE_CHECKING:
    from fastapi import FastAPI, Request
    from fastapi.responses import JSONResponse

P = ParamSpec("P")


def serve(arguments: list[str]) -> None:
    """Run `transformers serve` with these arguments, until it is interrupted.

    Raises:
        RuntimeError: fastapi, uvicorn or openai is missing.
    """
    if not is_serve_available():
        raise RuntimeError("Serving needs fastapi, uvicorn and openai; run pip install 'planned-diffusion[serve]'.")
    from transformers.cli.serving import server
    from transformers.cli.transformers import app

    setattr(transformers, PlannedDiffusionForCausalLM.__name__, PlannedDiffusionForCausalLM)
    server.build_server = with_refusals(server.build_server)
    app(["serve", *arguments], prog_name="transformers", standalone_mode=False)


def with_refusals(build_server: "Callable[P, FastAPI]") -> "Callable[P, FastAPI]":
    """Return a function that builds the same server, which then answers a ValueError by status 400 and the reason."""
    from fastapi.responses import JSONResponse

    async def refuse(request: "Request", error: Exception) -> "JSONResponse":
        return JSONResponse({"error": {"message": str(error), "type": "invalid_request_error"}}, status_code=400)

    @wraps(build_server)
    def build(*args: P.args, **kwargs: P.kwargs) -> "FastAPI":
        server = build_server(*args, **kwargs)
        server.add_exception_handler(ValueError, refuse)
        return server

    return build
