"""What happens when a training run is told to stop: it finishes its step, saves a checkpoint and ends."""

import signal
import threading

import torch
from transformers import TrainerCallback


class SaveOnInterrupt(TrainerCallback):
    """Turns Ctrl-C (SIGINT) and SIGTERM into a checkpoint and an orderly end; a second signal ends at once.

    `signal_name` is that of the signal that stopped the run, None if none did.
    """

    def __init__(self):
        self.signal_name: str | None = None
        self._previous = {}

    def on_train_begin(self, args, state, control, **kwargs):
        if threading.current_thread() is threading.main_thread():  # only there may handlers be set
            self._previous = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}

    def _stop(self, number, frame):
        self.signal_name = signal.Signals(number).name
        self._restore()

    def _restore(self):
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def on_step_end(self, args, state, control, **kwargs):
        if args.world_size > 1:  # the processes stop at the same step, whichever of them was told
            told = torch.tensor(int(self.signal_name is not None), device=args.device)
            torch.distributed.all_reduce(told, op=torch.distributed.ReduceOp.MAX)
            if told.item() and self.signal_name is None:
                self.signal_name = "another process"
        if self.signal_name is not None:
            control.should_save = True
            control.should_training_stop = True

    def on_train_end(self, args, state, control, **kwargs):
        self._restore()
