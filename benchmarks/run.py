"""Runs the benchmarks of one model shape on one device; results go to benchmarks/results/ as JSON and a picture.

    python benchmarks/run.py --shape embedded
    python benchmarks/run.py --shape 630m --threads 1 --cases fill precision
    python benchmarks/run.py --shape 7b --device cuda

Cases run one after the other; each keeps its own stamp, so that one of them can be repeated alone.
"""

import json
import os
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
from bench import Bench
from cases import batch, embedded, fill, precision, requests, steps
from harness import Arguments, arguments, print_stamp, print_table, stamp, write_json
from machine import Machine, best_of, measure_machine
from models import CHOICES, SHAPES, load, model_on_meta
from plot import draw
from roofline import weight_bytes
from targets import print_targets
from transformers import CompileConfig
from transformers.utils import logging

RESULTS = Path(__file__).parent / "results"
CASES = {
    "fill": fill.six_by_forty,
    "kinds": steps.step_kinds,
    "tokens": steps.denoising_by_tokens,
    "planning-context": steps.planning_by_context,
    "denoising-context": steps.denoising_by_context,
    "left-to-right": requests.left_to_right,
    "paper": requests.paper,
    "mix": requests.mix,
    "batch": batch.by_batch,
    "precision": precision.precisions,
    "batching": embedded.batching,
    "many-parts": embedded.many_parts,
}
OF_THE_EMBEDDED_MODEL = ("batching", "many-parts")  # they need answers that make sense
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
POINT_S = {"cpu": 30.0, "cuda": 60.0}
DEVICES = tuple(POINT_S)


def main(argv: list[str] | None = None) -> None:
    parser = command()
    args = parser.parse_args(argv)
    refuse(parser, args)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if args.threads:
        torch.set_num_threads(args.threads)
    path = args.out or RESULTS / f"{args.device}-{args.shape}.json"
    with torch.no_grad():
        bench = prepared(args)
        for name in args.cases or default_cases(args.shape):
            bench = replace(bench, machine=best_of(bench.machine, rates(bench.model, args.device, bench.dtype)))
            run_case(bench, name, path)
    results = json.loads(path.read_text(encoding="utf-8"))["cases"]
    draw(results, path.with_suffix(".png"), title=f"{args.shape}, {args.device}")
    print_targets(path.parent)


def command() -> Arguments:
    parser = arguments(__doc__)
    parser.add_argument("--shape", type=str.lower, choices=CHOICES, default="embedded")
    parser.add_argument("--cases", nargs="+", choices=CASES, metavar="CASE", help=f"some of: {', '.join(CASES)}")
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16")
    parser.add_argument("--threads", type=int, help="number of CPU threads; default: torch's choice")
    parser.add_argument(
        "--point-seconds", type=float, help="seconds for the repeats of one point; default: 30 on a CPU, 60 on a GPU"
    )
    parser.add_argument("--largest", type=int, help="end every sweep at this size")
    parser.add_argument("--compile", action="store_true", help="compile the model; the first forwards take minutes")
    return parser


def refuse(parser: Arguments, args) -> None:
    """Ends with one sentence where the command cannot run."""
    if args.device not in DEVICES:
        parser.error(f"--device is {args.device!r}; choose {' or '.join(DEVICES)}")
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device is 'cuda', but torch finds no GPU here; choose cpu")
    for name in ("repeats", "threads", "point_seconds", "largest"):
        value = getattr(args, name)
        if value is not None and value <= 0:
            parser.error(f"--{name.replace('_', '-')} is {value}; give a number above 0")
    misplaced = [case for case in args.cases or () if case in OF_THE_EMBEDDED_MODEL and args.shape != "embedded"]
    if misplaced:
        parser.error(f"the case {misplaced[0]} needs a trained model; choose --shape embedded")
    needed, there = needed_bytes(args.shape, DTYPES[args.dtype]), memory_bytes(args.device)
    if needed > 0.8 * there:
        parser.error(
            f"--shape {args.shape} needs {needed / 1e9:.0f} GB for its weights, and {args.device} has "
            f"{there / 1e9:.0f} GB; choose a smaller one"
        )


def needed_bytes(shape: str, dtype: torch.dtype) -> int:
    if shape not in SHAPES:
        return 0
    return sum(weight.numel() * weight.element_size() for weight in model_on_meta(shape, dtype).parameters())


def memory_bytes(device: str) -> int:
    if device == "cuda":
        return torch.cuda.get_device_properties(0).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def prepared(args) -> Bench:
    dtype = DTYPES[args.dtype]
    model = load(args.shape, args.device, dtype)
    if args.compile:
        model.generation_config.compile_config = CompileConfig()
    machine = rates(model, args.device, dtype)
    point_s = args.point_seconds or POINT_S[args.device]
    return Bench(args.shape, args.device, dtype, model, machine, args.repeats, point_s, args.largest)


def rates(model, device: str, dtype: torch.dtype) -> Machine:
    """Return the machine's rates, measured again before every case."""
    return measure_machine(device, dtype, weight_bytes(model))


def default_cases(shape: str) -> list[str]:
    return [case for case in CASES if shape == "embedded" or case not in OF_THE_EMBEDDED_MODEL]


def run_case(bench: Bench, name: str, path: Path) -> None:
    """Runs a case, prints its table, and keeps it beside those that the file holds."""
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"cases": {}}
    compiled = bench.model.generation_config.compile_config is not None
    environment = stamp(shape=bench.shape, dtype=str(bench.dtype).removeprefix("torch."), compiled=compiled, seed=0)
    started = time.perf_counter()
    rows = CASES[name](bench)
    environment["seconds"] = round(time.perf_counter() - started, 1)
    title = (CASES[name].__doc__ or name).split("\n")[0]
    print_table(title, rows)
    copies, multiplies = bench.machine.bytes_per_s / 1e9, bench.machine.flops_per_s / 1e12
    print_stamp(environment | {"copies": f"{copies:.3g} GB/s", "multiplies": f"{multiplies:.3g} TFLOP/s"})
    content["cases"][name] = {"title": title, "stamp": environment, "machine": asdict(bench.machine), "rows": rows}
    write_json(path, content)


if __name__ == "__main__":
    main()
