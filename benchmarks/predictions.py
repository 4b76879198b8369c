"""Predicts a 7B model on a GPU from forwards and tokens that were recorded on small models here; measures nothing.

    python benchmarks/predictions.py --out benchmarks/results/predictions.json

A forward for B requests that each run n tokens takes the longer of two times:

    memory    all weights once, at the card's bandwidth
    compute   two operations per weight and token, n B tokens, at the card's rate

so an answer takes forwards x max(memory, compute) / B. n is `tokens run` over `forwards`, prompts included. Attention,
reads of the cache, launches and the engine's own time are left out, and plans are taken to be those of the small model:
ratios say more than milliseconds. Ratios are over left to right on the same statistics and in the same batch.

    measured        the ratio of seconds that was measured on the CPU, one prompt at a time
    pays up to      the largest batch in which the system is faster than left to right
"""

from dataclasses import dataclass
from pathlib import Path

from harness import arguments, report, stamp

from planned_diffusion.evaluation.report_runs import read_run

ROOT = Path(__file__).resolve().parents[1]
RECORDED = {
    "facts": ROOT / "benchmarks" / "results" / "decoders.json",
    "SmolLM2 planner": ROOT / "checkpoints" / "smollm2-planner" / "results.json",
}
REFERENCE = "autoregressive"
SYSTEMS = (
    REFERENCE,
    "planned, ratio 1",
    "planned, threshold 0.9, lookahead 3",
    "parallel autoregressive, lookahead 3",
)
BATCHES = (1, 8, 32, 128)
LARGEST = 4096  # batch that is tried


@dataclass(frozen=True)
class Card:
    """A GPU: bytes per second of its memory, operations per second in bf16 without sparsity, as its maker says."""

    name: str
    bandwidth: float
    rate: float


@dataclass(frozen=True)
class Statistics:
    """Means per answer of a system: forwards, tokens that went through the model, and seconds one at a time."""

    system: str
    forwards: float
    tokens_run: float
    seconds: float


H100 = Card("H100 SXM", 3.35e12, 989e12)
# Qwen2.5-7B: parameters, and those of the embedding, which is looked up and not multiplied.
WEIGHTS, EMBEDDING = 7.62e9, 0.545e9
MULTIPLIED = WEIGHTS - EMBEDDING
BYTES = 2  # of a weight, bf16


def seconds_of(one: Statistics, batch: int, card: Card) -> float:
    """Return the predicted seconds of an answer in a batch."""
    memory = BYTES * MULTIPLIED / card.bandwidth
    compute = 2 * MULTIPLIED * (one.tokens_run / one.forwards) * batch / card.rate
    return one.forwards * max(memory, compute) / batch


def pays_up_to(one: Statistics, reference: Statistics, card: Card) -> int:
    """Return the largest batch in which a system is faster than the reference; 0 where it never is."""
    faster = (
        batch for batch in range(1, LARGEST + 1) if seconds_of(one, batch, card) < seconds_of(reference, batch, card)
    )
    return max(faster, default=0)


def recorded(path: Path) -> dict[str, Statistics]:
    """Return the statistics of a results file by system."""
    batched, alone = (one.rows for one in read_run(path).figures)
    seconds = {row["system"]: value(row, "seconds") for row in alone}
    return {
        row["system"]: Statistics(
            row["system"], value(row, "forwards"), value(row, "tokens_run"), seconds[row["system"]]
        )
        for row in batched
    }


def value(row: dict, name: str) -> float:
    """Return a figure of a row, an estimate or a plain number."""
    found = row.get("figures", row)[name]
    return found["value"] if isinstance(found, dict) else found


def rows_of(source: str, found: dict[str, Statistics], card: Card) -> list[dict]:
    """Return a row per system."""
    reference = found[REFERENCE]
    rows = []
    for one in (found[name] for name in SYSTEMS):
        times = {batch: seconds_of(one, batch, card) for batch in BATCHES}
        ratios = {batch: times[batch] / seconds_of(reference, batch, card) for batch in BATCHES}
        rows.append(
            {
                "plans of": source,
                "system": one.system,
                "forwards": round(one.forwards, 1),
                "tokens per forward": round(one.tokens_run / one.forwards, 1),
                "predicted ms alone": round(1000 * times[1]),
                **{f"predicted ratio, batch {batch}": round(ratio, 2) for batch, ratio in ratios.items()},
                "pays up to batch": "" if one is reference else pays_up_to(one, reference, card),
                "measured ratio, CPU alone": round(one.seconds / reference.seconds, 2),
            }
        )
    return rows


def main() -> None:
    """Predict, print, and keep the rows."""
    given = arguments(__doc__).parse_args()
    rows = [row for source, path in RECORDED.items() for row in rows_of(source, recorded(path), H100)]
    facts = {"prediction": f"nothing was measured on a {H100.name}", "weights": f"{WEIGHTS:.3g}, bf16"}
    report(f"predictions for a 7B model on a {H100.name}", rows, stamp(**facts), given.out)


if __name__ == "__main__":
    main()
