"""The first lines of a run: what trains on what, instead of messages that libraries have for each other."""

import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from .collator import PlannedDiffusionCollator
from .trainer import PlannedDiffusionTrainer

LIBRARIES = r"(transformers|trl|peft|accelerate|bitsandbytes|torchao|torch|datasets|huggingface_hub)\."
CHATTY = ("bitsandbytes", "torchao")  # they report every layer's casts, and kernels that are missing


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Hide deprecations inside of libraries, reports of kernels, and bars of loading where nobody sees them move.

    Python's option -W keeps all warnings.
    """
    levels = {name: logging.getLogger(name).level for name in CHATTY}
    had_bars = transformers_logging.is_progress_bar_enabled()
    with warnings.catch_warnings():
        if not sys.warnoptions:
            for category in (FutureWarning, DeprecationWarning):
                warnings.filterwarnings("ignore", category=category, module=LIBRARIES)
        for name in CHATTY:
            logging.getLogger(name).setLevel(logging.ERROR)
        if not sys.stderr.isatty():
            transformers_logging.disable_progress_bar()
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
            if had_bars:
                transformers_logging.enable_progress_bar()


def announce(trainer: PlannedDiffusionTrainer, model: str, train_files: Sequence[str]) -> None:
    """Print what a run trains, on what, and where its results go; once for all processes."""
    assert trainer.model is not None
    parameters = list(trainer.model.parameters())
    trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    everything = cast(PreTrainedModel, trainer.model).num_parameters()
    what = "all" if trained == everything else f"{trained:,} of"
    steps, records = trainer.args.max_steps, len(cast(PlannedDiffusionCollator, trainer.data_collator).examples)
    length = _counted(steps, "step") if steps > 0 else _counted(trainer.args.num_train_epochs, "epoch")
    trainer.accelerator.print(
        f"Training {what} {everything:,} parameters of {model} on {_counted(records, 'record')} of "
        f"{' and '.join(train_files)} for {length}; results go to {trainer.args.output_dir}.",
        flush=True,
    )


def _counted(number: float, noun: str) -> str:
    """Return a number with its noun, in the plural where it is not one."""
    return f"{number:g} {noun}{'' if number == 1 else 's'}"
