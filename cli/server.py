"""`planned-diffusion serve`: all arguments go to `transformers serve`."""

import typer

from ..loading.locate import chosen_model


def serve(context: typer.Context) -> None:
    """Start an OpenAI-compatible server (transformers serve; same arguments). Without a model: the included one."""
    from ..inference.serve import serve as run_server

    given = context.args
    names_model = bool(given) and (not given[0].startswith("-") or given[0] == "--help")
    run_server(given if names_model else [chosen_model(None), *given])
