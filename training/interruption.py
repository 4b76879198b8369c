"""Stop a training run in order: at a signal it finishes its step, saves a checkpoint and ends."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

Handler = Callable[[int, FrameType | None], Any] | int | None


class SaveOnInterrupt(TrainerCallback):
    """A handler that turns Ctrl-C (SIGINT) and SIGTERM into a checkpoint and an orderly end; a second one ends at once.

    `signal_name` is the name of the signal that stopped the run, None if none did.
    """

    def __init__(self) -> None:
        self.signal_name: str | None = None
        self._previous: dict[signal.Signals, Handler] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if threading.current_thread() is threading.main_thread():  # only there may handlers be set
            self._previous = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Remember the signal; the next one meets the previous handlers."""
        self.signal_name = signal.Signals(number).name
        self._restore()

    def _restore(self) -> None:
        """Set the handlers that were set before the training."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if args.world_size > 1:  # all processes stop at the same step, whichever of them got the signal
            any_stopped = torch.tensor(int(self.signal_name is not None), device=args.device)
            torch.distributed.all_reduce(any_stopped, op=torch.distributed.ReduceOp.MAX)
            if any_stopped.item() and self.signal_name is None:
                self.signal_name = "another process"
        if self.signal_name is not None:
            control.should_save = True
            control.should_training_stop = True

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._restore()
