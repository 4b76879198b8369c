"""`planned-diffusion train`: all arguments go to the training script."""

import sys

import typer


def train(context: typer.Context) -> int:
    """Fine-tune, or train from scratch; all arguments go to the training script (train --help lists them)."""
    try:
        from ..training import sft
    except ImportError as error:
        if (error.name or "").startswith(__name__.partition(".")[0]):
            raise
        raise RuntimeError(f"Training needs {error.name}; run pip install 'planned-diffusion[train]'.") from error
    sys.argv = ["planned-diffusion train", *context.args]  # the program's name in the script's own help and errors
    return sft.main(context.args)
