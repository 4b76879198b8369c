"""Fit the weights of annotate's independence filter to human labels, and measure it on folds it was not fitted to.

    python benchmarks/fit_independence.py LABELLED

Labels: the LIMA answers of Skeleton-of-Thought (arXiv 2307.15337); LABELLED is JSON Lines, plain or gzipped, with
`{"prompt", "response", "suits_parallel"}` per line. The result replaces annotation/independence.json, or goes to --out.
Model: logistic regression with a ridge, on the answers that no rule decides. Both classes of the whole file weigh the
same. Every feature has the direction that its meaning gives it (`features.DIRECTIONS`); one whose weight comes out the
other way is left out, the most disagreeing first, and the rest fitted again.
Folds: by hash of the prompt. The whole filter is measured: rules, model, and answers without parts, which are never
split. Word lists and rules were written by hand after reading a few dozen of the answers, and kept or dropped by
the numbers of folds 0 to 3; fold 4 chose nothing.
"""

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from planned_diffusion.annotation.features import DIRECTIONS, features_of
from planned_diffusion.annotation.independence import PARALLEL, WEIGHTS, ruled, weighed
from planned_diffusion.annotation.outline import NONE, outline_of
from planned_diffusion.records.jsonl import json_lines

FOLDS = 5
RIDGE = 30.0  # on standardised features
NEWTON_STEPS = 30
NAMES = tuple(name for name, direction in DIRECTIONS.items() if direction)

Features = dict[str, float]
Found = Features | bool  # features for the model to judge, or the rules' verdict


def read(path: Path) -> list[dict[str, Any]]:
    """Return the labelled answers of a file."""
    return [record for _, record in json_lines(path)]


def fold_of(prompt: str) -> int:
    """Return the fold of a prompt, by its hash."""
    return int(hashlib.sha256(prompt.encode()).hexdigest(), 16) % FOLDS


def undecided(record: dict[str, Any]) -> Found:
    """Return the features of an answer that the model has to judge, or the rules' verdict: is it parallel?"""
    outline = outline_of(record["response"])
    if outline.kind is NONE:
        return False
    features = features_of(record["prompt"], record["response"], outline)
    verdict = ruled(record["response"], outline, features)
    return features if verdict is None else verdict.kind is PARALLEL


def fit(features: list[Features], labels: np.ndarray, share: float) -> tuple[Features, float]:
    """Return weights and bias; `share` is the share of positive labels in the whole file."""
    names = list(NAMES)
    while True:
        columns = np.array([[row[name] for name in names] for row in features])  # [answers, names]
        weights, bias = logistic(columns, labels, share)
        against = {
            name: abs(weight) * spread
            for name, weight, spread in zip(names, weights, columns.std(axis=0), strict=True)
            if weight * DIRECTIONS[name] < 0
        }
        if not against:
            return {name: round(float(weight), 4) for name, weight in zip(names, weights, strict=True)}, round(bias, 4)
        names.remove(max(against, key=lambda name: against[name]))


def logistic(columns: np.ndarray, labels: np.ndarray, share: float) -> tuple[np.ndarray, float]:
    """Fit a ridge logistic regression by Newton's method; return weights in the columns' own units, and the bias."""
    mean, spread = columns.mean(axis=0), columns.std(axis=0) + 1e-9
    design = np.column_stack((np.ones(len(columns)), (columns - mean) / spread))
    importance = np.where(labels, 0.5 / share, 0.5 / (1 - share))
    ridge = np.diag([0.0, *[RIDGE] * columns.shape[1]])
    weights = np.zeros(design.shape[1])
    for _ in range(NEWTON_STEPS):
        probability = 1 / (1 + np.exp(-design @ weights))
        curvature = design.T @ (design * (importance * probability * (1 - probability))[:, None]) + ridge
        slope = design.T @ (importance * (probability - labels)) + ridge @ weights
        weights -= np.linalg.solve(curvature, slope)
    own = weights[1:] / spread
    return own, float(weights[0] - own @ mean)


def balanced_accuracy(predicted: list[bool], labels: list[bool]) -> float:
    """Return the mean of the two classes' shares that are predicted rightly."""
    right = [[p == t for p, t in zip(predicted, labels, strict=True) if t is label] for label in (True, False)]
    return sum(sum(of_label) / len(of_label) for of_label in right) / 2


def predict(found: list[Found], weights: Features, bias: float) -> list[bool]:
    """Return for each answer whether the whole filter finds it parallel."""
    return [one if isinstance(one, bool) else weighed(one, weights, bias).kind is PARALLEL for one in found]


def cross_validate(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Fit the filter to all answers, and measure its balanced accuracy on each fold when fitted to the others."""
    found = [undecided(record) for record in records]
    labels = [bool(record["suits_parallel"]) for record in records]
    folds = [fold_of(record["prompt"]) for record in records]
    share = sum(labels) / len(labels)

    def fitted(without: int | None) -> tuple[Features, float]:
        used = [
            (one, label)
            for one, label, fold in zip(found, labels, folds, strict=True)
            if not isinstance(one, bool) and fold != without
        ]
        return fit([features for features, _ in used], np.array([label for _, label in used]), share)

    accuracy = []
    for fold in range(FOLDS):
        predicted = predict(found, *fitted(fold))
        inside = [i for i, one in enumerate(folds) if one == fold]
        accuracy.append(balanced_accuracy([predicted[i] for i in inside], [labels[i] for i in inside]))
    weights, bias = fitted(None)
    return {
        "weights": weights,
        "bias": bias,
        "balanced_accuracy_per_fold": [round(value, 3) for value in accuracy],
        "balanced_accuracy": round(sum(accuracy) / FOLDS, 3),
        "balanced_accuracy_on_itself": round(balanced_accuracy(predict(found, weights, bias), labels), 3),
        "answers": len(records),
        "decided_by_rules_or_without_parts": sum(isinstance(one, bool) for one in found),
    }


def main(argv: list[str] | None = None) -> None:
    """Fit, write the weights, and print them with their accuracy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labelled", metavar="LABELLED", type=Path, help="JSON Lines of labelled answers, or .gz")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="JSON file to write")
    arguments = parser.parse_args(argv)
    fitted = cross_validate(read(arguments.labelled))
    arguments.out.write_text(json.dumps(fitted, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(fitted, indent=1))


if __name__ == "__main__":
    main()
