"""bf16 beside quantised weights of bitsandbytes and torchao: seconds of a forward of 1, 64, 256 tokens; peak memory.

Every precision runs in a process of its own, so that its peak is its own; memory for imports is subtracted.
"""

import logging
import multiprocessing
import time
from dataclasses import replace

import torch
from bench import Bench, denoising, engine_step, planning, roofline_columns, step_work
from harness import interleaved, peak_bytes, timing
from quantise import PRECISIONS, model_of
from roofline import stored_bytes
from transformers.utils.logging import disable_progress_bar

TOKENS = (1, 64, 256)
CONTEXT = {"cpu": 256, "cuda": 2048}  # tokens before the step


def precisions(bench: Bench) -> list[dict]:
    """Every precision by tokens per forward, each in a process of its own."""
    spawn, rows = multiprocessing.get_context("spawn"), []
    for precision in PRECISIONS:
        results = spawn.SimpleQueue()
        arguments = (replace(bench, model=None), precision, torch.get_num_threads(), results)
        process = spawn.Process(target=measure_precision, args=arguments)
        process.start()
        rows += _wait(process, results, precision)
    return rows


def _wait(process, results, precision: str) -> list[dict]:
    while results.empty() and process.is_alive():
        time.sleep(0.05)
    rows = [{"precision": precision, "note": "not run: its process ended early"}] if results.empty() else results.get()
    process.join()
    return rows


@torch.no_grad()
def measure_precision(bench: Bench, precision: str, threads: int, results) -> None:
    """Put the rows of one precision into a queue; runs in a process of its own."""
    torch.set_num_threads(threads)
    disable_progress_bar()
    for library in ("bitsandbytes", "torchao"):  # one reports its casts once per layer, one kernels that are not there
        logging.getLogger(library).setLevel(logging.ERROR)
    before = peak_bytes(bench.device)
    try:
        bench = replace(bench, model=model_of(bench.shape, bench.device, precision))
        if bench.device == "cuda":
            torch.cuda.reset_peak_memory_stats()  # without the memory for loading
        results.put([_row(bench, precision, count, before) for count in TOKENS])
    except RuntimeError as error:  # not installed, out of memory
        reason = str(error).splitlines()[0]
        results.put([{"precision": precision, "note": f"not run: {reason}"}])


def _row(bench: Bench, precision: str, count: int, before: int) -> dict:
    """Return the row of one number of tokens; `before` is the memory in bytes before the model was built."""
    context = CONTEXT[bench.device]
    query = planning(bench, context) if count == 1 else denoising(bench, context, count)
    seconds = interleaved({"step": engine_step(bench, query, context)}, bench.repeats, bench.point_s)["step"]
    row = {"precision": precision, "tokens": count, "context": context, **timing(seconds)}
    row["weights GB"] = stored_bytes(bench.model) / 1e9
    row["peak GB"] = (peak_bytes(bench.device) - before) / 1e9
    return row | roofline_columns(bench, step_work(bench, query, context), row["ms"])
