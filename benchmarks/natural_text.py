"""Learning to plan on natural text, from scratch: prepares annotated records, and reports the curves of a run.

    planned-diffusion annotate structured_pool.jsonl.gz runs/pool.jsonl
    planned-diffusion annotate alpaca_cleaned_52k.jsonl.gz runs/alpaca.jsonl
    python benchmarks/natural_text.py prepare runs/pool.jsonl runs/alpaca.jsonl --folder runs/natural
    planned-diffusion train --config training/recipes/natural_text.yaml
    python benchmarks/natural_text.py report runs/natural --out benchmarks/results/natural_text

Definitions. Plan loss: nats per plan token; span loss: nats per token of content, masked ones weighted by 1/t; both on
held-out records. Well formed: share of plans, written freely, that the grammar accepts. Room used: tokens written per
token promised. Samples are greedy answers to held-out prompts.
"""

import argparse
import json
import statistics
import zlib
from pathlib import Path

from harness import Arguments, print_table, shown, stamp, write_json
from matplotlib.figure import Figure
from transformers.trainer_utils import get_last_checkpoint

from planned_diffusion.evaluation.facts_tokenizer import train_tokenizer
from planned_diffusion.records.tagged import is_tagged, plain_text

HELD_OUT_ONE_IN = 50
PANELS = {
    "plan loss": ("plan_loss", "eval_plan_loss"),
    "span loss": ("span_loss", "eval_span_loss"),
    "share of plans well formed": ("eval_well_formed",),
    "room used": ("eval_room_used",),
}


def prepare(files: list[Path], folder: Path, vocabulary: int) -> None:
    """Splits records that have a plan by a hash of their prompts; trains a byte-level BPE on the training part."""
    folder.mkdir(parents=True, exist_ok=True)
    parts: dict[str, list[dict]] = {"train": [], "eval": []}
    for file in files:
        with file.open(encoding="utf-8") as lines:
            for record in map(json.loads, lines):
                if not is_tagged(record["messages"][-1]["content"]):
                    continue
                prompt = record["messages"][0]["content"]
                held_out = zlib.crc32(prompt.encode()) % HELD_OUT_ONE_IN == 0
                parts["eval" if held_out else "train"].append(record)
    for name, records in parts.items():
        text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
        print(f"{len(records):,} records in {folder / name}.jsonl")
    texts = (plain_text(message["content"]) for record in parts["train"] for message in record["messages"])
    train_tokenizer(texts, vocabulary).save_pretrained(folder / "tokenizer")


def report(folder: Path, out: Path) -> None:
    """Writes OUT.json, OUT.png and OUT.md from the newest checkpoint's log and the samples of a run."""
    checkpoint = get_last_checkpoint(str(folder / "model"))
    log = json.loads(Path(checkpoint, "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    with (folder / "model" / "samples.jsonl").open(encoding="utf-8") as lines:
        samples = [json.loads(line) for line in lines]
    curves = {
        name: [(row["step"], row[name]) for row in log if name in row] for names in PANELS.values() for name in names
    }
    draw(curves, out.with_suffix(".png"))
    evaluations = [step for step, _ in curves["eval_plan_loss"]]
    rows = []
    for step in evaluations:
        row = {"step": step}
        for name in ("eval_plan_loss", "eval_span_loss", "eval_well_formed", "eval_room_used"):
            row[name.removeprefix("eval_").replace("_", " ")] = dict(curves[name]).get(step, "")
        rows.append({**row, **calibration([sample for sample in samples if sample["step"] == step])})
    print_table(f"{folder}", rows)
    environment = stamp(run=str(folder))
    write_json(out.with_suffix(".json"), {"stamp": environment, "rows": rows, "curves": curves})
    last = [sample for sample in samples if sample["step"] == evaluations[-1]]
    out.with_suffix(".md").write_text(page(rows, last[:6], environment, out.with_suffix(".png").name), encoding="utf-8")


def calibration(samples: list[dict]) -> dict[str, float]:
    """How well promises are kept: spans per answer, median of used / promised, share of spans that fill their room."""
    parts = [part for sample in samples for parts in sample["plan"] for part in parts]
    if not parts:
        return {}
    used = [part["used"] / part["promised"] for part in parts]
    return {
        "spans per answer": len(parts) / len(samples),
        "median used": statistics.median(used),
        "full spans": sum(share >= 1 for share in used) / len(used),
    }


def draw(curves: dict[str, list], path: Path) -> None:
    figure = Figure(figsize=(10, 6), layout="constrained")
    for axes, (title, names) in zip(figure.subplots(2, 2).flat, PANELS.items(), strict=True):
        for name in names:
            if curves[name]:
                held_out = name.startswith("eval")
                line = {"color": "C1", "marker": "o"} if held_out else {"color": "C0", "linewidth": 0.8}
                axes.plot(*zip(*curves[name], strict=True), **line, label="held out" if held_out else "training")
        axes.set(title=title, xlabel="step")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def page(rows: list[dict], samples: list[dict], environment: dict, picture: str) -> str:
    """A Markdown page: table, picture, samples as they are."""
    names = list(rows[-1])
    lines = ["# Learning to plan on natural text", "", __doc__.split("\n\n")[-1].strip(), ""]
    lines += ["| " + " | ".join(names) + " |", "|" + "---:|" * len(names)]
    lines += ["| " + " | ".join(shown(row.get(name, "")) for name in names) + " |" for row in rows]
    lines += ["", f"![Curves]({picture})", "", "; ".join(f"{key}: {value}" for key, value in environment.items()), ""]
    lines += ["## Samples after the last step"]
    for sample in samples:
        plan = [
            ", ".join(f"{part['topic']} {part['used']}/{part['promised']}" for part in parts)
            for parts in sample["plan"]
        ]
        formed = "well formed" if sample["well_formed"] else "not well formed without the grammar"
        lines += ["", f"**{sample['prompt'].strip()}**", "", f"Plan ({formed}): {' / '.join(plan) or 'none'}", ""]
        lines += ["> " + line for line in sample["text"].strip().splitlines() or ["(nothing)"]]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = Arguments(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    preparing = commands.add_parser("prepare", help="split annotated records, train a tokenizer")
    preparing.add_argument("files", type=Path, nargs="+")
    preparing.add_argument("--folder", type=Path, default=Path("runs/natural"))
    preparing.add_argument("--vocabulary", type=int, default=8192)
    reporting = commands.add_parser("report", help="curves, table and samples of a run")
    reporting.add_argument("folder", type=Path)
    reporting.add_argument("--out", type=Path, default=Path("benchmarks/results/natural_text"))
    args = parser.parse_args()
    if args.command == "prepare":
        prepare(args.files, args.folder, args.vocabulary)
    else:
        report(args.folder, args.out)


if __name__ == "__main__":
    main()
