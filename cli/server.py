"""`planned-diffusion serve`: all arguments go to `transformers serve`."""

import typer

from ..loading.bases import base_named
from .model_names import checkpoint_of


def serve(context: typer.Context) -> None:
    """Start an OpenAI-compatible server (transformers serve; same arguments). Without a model: the included one."""
    from ..inference.serve import serve as run_server

    given = context.args
    names_model = bool(given) and (not given[0].startswith("-") or given[0] == "--help")
    if not names_model:
        given = [checkpoint_of(None), *given]
    elif base_named(given[0]):
        given = [checkpoint_of(given[0]), *given[1:]]
    run_server(given)
