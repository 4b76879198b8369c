"""Does the objective matter? The same small model and budget under each objective, several seeds, on the facts task.

    python benchmarks/objective.py --keep objective.jsonl --out benchmarks/results/objective.json

A few countries, so that a model of 1.5 M parameters learns them in minutes; prompts and answers as for the embedded
model, half of them in two rounds. Every objective gets as many steps, and as many tokens per step (or
examples, with --equal-examples): an objective with longer rows sees fewer examples. The published objective (arXiv
2510.18087 and its code) is rebuilt from our rows:

    labels as published     a token that is masked predicts its right neighbour, whether that is masked or not
    1/t on plan tokens      one t per example weighs its plan too
    one stream              later rounds read the noisy spans of earlier rounds; there are no clean copies
"""

import json
import math
import statistics
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from harness import arguments, report, stamp
from rich.progress import Progress
from transformers import AutoTokenizer

from planned_diffusion.configuration_planned_diffusion import PlannedDiffusionConfig
from planned_diffusion.evaluation.measure import answer_questions
from planned_diffusion.facts.countries import load_countries
from planned_diffusion.facts.generator import held_out_questions, training_questions
from planned_diffusion.facts.metric import facts_right
from planned_diffusion.facts.sentences import COMPARISON_TOPIC
from planned_diffusion.facts.training_records import as_record
from planned_diffusion.generation.tokens import ControlTokens
from planned_diffusion.generation.visibility import CLEAN, NO_SPAN, NOISY
from planned_diffusion.loading.embedded import EMBEDDED
from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM
from planned_diffusion.training.collator import PlannedDiffusionCollator
from planned_diffusion.training.dataset import encode_records
from planned_diffusion.training.examples import Example
from planned_diffusion.training.loss import planned_diffusion_loss
from planned_diffusion.training.objective import Objective
from planned_diffusion.training.row import NO_LABEL, PLAN, Row

OURS = Objective(
    span_padding=[0, 0],
    fill_promised_room=True,
    tokens_per_length_unit=8,
    noise_range=[0.05, 1.0],
    complementary_masks=False,
    plain_share=0.3,
)
SIZES = {"hidden_size": 160, "intermediate_size": 480, "num_hidden_layers": 4, "head_dim": 40}
SAMPLE = 400  # examples whose rows are measured
VERDICTS = "verdicts on right facts, ratio 1"
DECODING = {
    "ratio 1": {"steps_ratio": 1.0, "confidence_threshold": None},
    "ratio 0.5": {"steps_ratio": 0.5, "confidence_threshold": None},
    "threshold 0.9": {"steps_ratio": 1.0, "confidence_threshold": 0.9},
    "autoregressive": {"decoding": "autoregressive"},
}


# The published objective, as changes of a row


def published_labels(row: Row, mask: int, rng: np.random.Generator) -> Row:
    """Labels and weights where the token itself is masked, not where the next one is."""
    noisy = row.stream == NOISY
    if not noisy.any():
        return row
    masked = noisy & (row.ids == mask)
    following = np.append(row.ids[1:], 0)
    right_is_masked = np.append(masked[1:], False)
    right = np.where(right_is_masked, row.labels, following)  # a masked neighbour's id is known from our label
    weight_of_span = np.zeros(row.span.max() + 2, dtype=np.float32)
    np.maximum.at(weight_of_span, row.span[noisy], row.weights[noisy])
    return replace(
        row,
        labels=np.where(noisy, np.where(masked, right, NO_LABEL), row.labels),
        weights=np.where(noisy, masked * weight_of_span[row.span], row.weights).astype(np.float32),
    )


def weighted_plan(row: Row, mask: int, rng: np.random.Generator) -> Row:
    """1/t on the plan as well; t is one draw per example there."""
    if not (row.stream == NOISY).any():
        return row
    weight = 1.0 / rng.uniform(*OURS.noise_range)
    return replace(row, weights=np.where(row.loss_part == PLAN, row.weights * weight, row.weights).astype(np.float32))


def one_stream(row: Row, mask: int, rng: np.random.Generator) -> Row:
    """Put the noisy spans in the place of the clean ones, for all readers."""
    if not (row.stream == NOISY).any():
        return row
    kept = (row.stream != CLEAN) | (row.span == NO_SPAN)
    names = ("ids", "span", "round", "position", "labels", "weights", "loss_part")
    arrays = {name: getattr(row, name)[kept] for name in names}
    stream = np.where(row.stream == NOISY, CLEAN, row.stream)[kept]
    return Row(**arrays, stream=stream, targets=row.targets)


def first_rounds_only(row: Row, mask: int, rng: np.random.Generator) -> Row:
    """Drop the loss on spans of later rounds; the rest does not depend on which text a later round sees."""
    later = (row.stream == NOISY) & (row.round > 0)
    return replace(row, labels=np.where(later, NO_LABEL, row.labels), weights=np.where(later, 0, row.weights))


# name -> (objective, change of its rows)
OBJECTIVES = {
    "ours": (OURS, None),
    "ours, spans also masked whole (40 %)": (replace(OURS, fully_masked_share=0.4), None),
    "ours, complementary masks": (replace(OURS, complementary_masks=True), None),
    "ours, next-token loss in spans (0.3)": (replace(OURS, span_next_token_weight=0.3), None),
    "ours, first rounds only": (OURS, first_rounds_only),
    "one stream": (OURS, one_stream),
    "1/t on plan tokens": (OURS, weighted_plan),
    "labels as published": (OURS, published_labels),
}


@dataclass
class ChangedCollator(PlannedDiffusionCollator):
    """Rows under another objective than ours."""

    change: object = None

    def draw(self, index: int) -> Row:
        row = super().draw(index)
        if self.change is None:
            return row
        rng = np.random.default_rng((self.objective.seed, self.epoch, index, 1))
        return self.change(row, self.control.mask, rng)


def tokens_per_example(examples: list[Example], control: ControlTokens, name: str) -> float:
    """Mean length of the rows of an objective."""
    objective, change = OBJECTIVES[name]
    collator = ChangedCollator(examples[:SAMPLE], objective, control, change=change)
    return statistics.fmean(len(collator.draw(index).ids) for index in range(len(collator.examples)))


def train(examples: list[Example], name: str, batch: int, args, seed: int) -> PlannedDiffusionForCausalLM:
    """A new model after `args.steps` steps of AdamW, `batch` examples each, with a cosine of the learning rate."""
    objective, change = OBJECTIVES[name]
    embedded = PlannedDiffusionConfig.from_pretrained(EMBEDDED)
    config = PlannedDiffusionConfig.from_dict(embedded.to_dict())
    for name, value in SIZES.items():
        setattr(config.get_text_config(), name, value)
    torch.manual_seed(seed)
    model = PlannedDiffusionForCausalLM._from_config(config, attn_implementation="eager", dtype=torch.float32)
    model.to(args.device).train()
    control = ControlTokens.from_config(config)
    collator = ChangedCollator(examples, replace(objective, seed=seed), control, packed_length=1, change=change)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate, weight_decay=0.01, betas=(0.9, 0.98))
    warmup = max(1, min(100, args.steps // 5))
    rates = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / warmup, 0.5 * (1 + math.cos(math.pi * step / args.steps))),
    )
    order = np.random.default_rng(seed)
    for step in range(args.steps):
        collator.epoch = step
        chosen = order.choice(len(examples), batch, replace=False)
        rows = {name: value.to(args.device) for name, value in collator([{"index": at} for at in chosen]).items()}
        with torch.autocast(args.device, dtype=torch.bfloat16):
            loss = planned_diffusion_loss(model, rows).total / rows["num_targets"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        rates.step()
    return model.eval()


def shares_right(model, tokenizer, examples) -> dict[str, float | None]:
    """The share of facts that are exactly right, by way of decoding; and of verdicts, at ratio 1.

    A verdict repeats the facts of the round before. It counts if those are right: the question is whether a later round
    reads an earlier one.
    """
    shares = {}
    for way, decoding in DECODING.items():
        answers = answer_questions(model, tokenizer, examples, 16, max_new_tokens=240, do_sample=False, **decoding)
        scores = [(one.question, facts_right(one.question, one.text)) for one in answers]
        shares[way] = sum(score.right for _, score in scores) / sum(score.total for _, score in scores)
        if way == "ratio 1":
            compared = [score for example, score in scores if len(example.rounds) > 1]
            verdicts = [score.complete for score in compared if set(score.wrong_topics) <= {COMPARISON_TOPIC}]
            shares[VERDICTS] = sum(verdicts) / len(verdicts) if verdicts else None
    return shares


class Kept:
    """Results of runs, a line each in a file, so that an interruption loses one run at most; without a file nothing."""

    def __init__(self, path: Path | None):
        self.path, self._known = path, {}
        if path is not None and path.exists():
            lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
            self._known = {self._key(line["run"]): line["right"] for line in lines}

    @staticmethod
    def _key(run: dict) -> str:
        return json.dumps(run, sort_keys=True)

    def get(self, run: dict) -> dict | None:
        return self._known.get(self._key(run))

    def add(self, run: dict, right: dict) -> None:
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"run": run, "right": right}) + "\n")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument(
        "--batch", type=int, default=24, help="examples per step of our objective; other objectives get as many tokens"
    )
    parser.add_argument(
        "--equal-examples", action="store_true", help="give every objective as many examples instead of as many tokens"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--countries", type=int, default=16)
    parser.add_argument("--prompts", type=int, default=96, help="number of held-out prompts to measure on")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--only", nargs="+", choices=OBJECTIVES, default=list(OBJECTIVES), metavar="OBJECTIVE")
    parser.add_argument("--keep", type=Path, help="file that keeps finished runs, so that they are not repeated")
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED)
    control = ControlTokens.from_config(PlannedDiffusionConfig.from_pretrained(EMBEDDED))
    countries = load_countries()[:: len(load_countries()) // args.countries][: args.countries]
    data = training_questions(12 * args.steps, 1, comparison_share=0.5, countries=countries)
    records = [as_record(example, tokenizer, OURS.tokens_per_length_unit) for example in data]
    examples = encode_records(records, tokenizer, control)
    held_out = held_out_questions(args.prompts, 3, comparison_share=0.5, countries=countries)
    tokens = {name: tokens_per_example(examples, control, name) for name in ("ours", *args.only)}
    batches = {name: round(args.batch * tokens["ours"] / tokens[name]) for name in args.only}
    if args.equal_examples:
        batches = dict.fromkeys(args.only, args.batch)
    settings = {name: getattr(args, name) for name in ("steps", "countries", "prompts", "learning_rate")}
    found: dict[str, list[dict]] = {name: [] for name in args.only}
    kept = Kept(args.keep)
    try:
        with Progress() as progress:
            task = progress.add_task("runs", total=len(args.only) * len(args.seeds))
            for seed in args.seeds:  # a seed of every objective before the next seed, so that an interruption is fair
                for name in args.only:
                    run = {"objective": name, "seed": seed, "batch": batches[name], **settings}
                    right = kept.get(run)
                    if right is None:
                        model = train(examples, name, batches[name], args, seed)
                        right = shares_right(model, tokenizer, held_out)
                        kept.add(run, right)
                    found[name].append(right)
                    progress.advance(task)
                    progress.console.print(seed, name, right)
    finally:  # an interrupted run reports its finished objectives
        title = f"Facts right, %, mean and standard deviation of up to {len(args.seeds)} seeds"
        more = {**settings, "countries": len(countries), "batch": args.batch}
        report(title, table_of(found, batches, tokens), stamp(dtype="bfloat16 autocast", **more), args.out)


def table_of(found: dict[str, list[dict]], batches: dict[str, int], tokens: dict[str, float]) -> list[dict]:
    """A row per objective that has run: its seeds, and mean ± standard deviation of every share."""
    rows = []
    for name, of_seeds in found.items():
        row = {"objective": name, "seeds": len(of_seeds)}
        row |= {"examples per step": batches[name], "tokens per example": round(tokens[name])}
        for what in (*DECODING, VERDICTS):
            shares = [100 * right[what] for right in of_seeds if right.get(what) is not None]
            if shares:
                spread = statistics.stdev(shares) if len(shares) > 1 else 0.0
                row[what] = f"{statistics.fmean(shares):.1f} ± {spread:.1f}"
        rows += [row] if of_seeds else []
    return rows


if __name__ == "__main__":
    main()
