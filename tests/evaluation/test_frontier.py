"""The comparison of all decoders: which systems are on the frontier, and that table, JSON and picture say so."""

import json
import random
import sys
from pathlib import Path

import pytest

from planned_diffusion.evaluation import frontier
from planned_diffusion.evaluation.frontier import evaluate_variants
from planned_diffusion.evaluation.measure import Evaluation, Measurement
from planned_diffusion.evaluation.pareto import Point, undominated
from planned_diffusion.evaluation.variants import VARIANTS
from planned_diffusion.generation.config import PlannedDiffusionGenerationConfig
from planned_diffusion.generation.decoders.table import DECODERS


def point(name, quality, forwards, seconds=1.0) -> Point:
    return Point(name, "planned", quality, forwards, seconds, seconds)


def test_the_frontier_by_hand():
    points = [point("a", 0.9, 10), point("b", 0.8, 12), point("c", 0.95, 20), point("d", 0.9, 9), point("e", 0.5, 4)]
    assert [one.system for one in undominated(points, "forwards")] == ["e", "d", "c"]


def test_the_frontier_is_what_no_other_dominates():
    draw = random.Random(0)
    for _ in range(200):
        points = [point(str(n), draw.randint(0, 9) / 10, draw.randint(1, 9)) for n in range(draw.randint(1, 12))]
        kept = undominated(points, "forwards")
        for one in points:
            dominated = any(
                (other.quality >= one.quality and other.forwards < one.forwards)
                or (other.quality > one.quality and other.forwards <= one.forwards)
                for other in points
            )
            same = any((other.quality, other.forwards) == (one.quality, one.forwards) for other in kept)
            assert same == (not dominated)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_accepted_and_reads_what_it_sets(name):
    fields = VARIANTS[name]
    config = PlannedDiffusionGenerationConfig(**fields)
    config.refuse_unread(fields)  # raises where a field is never read
    assert {field: getattr(config, field) for field in fields} == fields


def test_every_decoder_is_measured():
    assert {fields["decoding"] for fields in VARIANTS.values()} == set(DECODERS)


@pytest.fixture
def measured(monkeypatch):
    """`evaluate_variants` without a model: quality and cost are made up from the name."""

    def compare(model, tokenizer, questions, batch_size, systems, bar):
        return [
            Measurement(name, len(questions), 0.5, (len(name) % 7) / 7, 40.0 - len(name), 50.0, 40.0, 45.0, 900.0, 0.2)
            for name in systems
        ]

    monkeypatch.setattr(frontier, "compare_systems", compare)


def test_table_json_and_picture(measured, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "frontier.svg"
    rows = evaluate_variants(Evaluation(count=3, batch_size=2), plot=picture)
    shown = capsys.readouterr().out
    assert len(rows) == 2 * len(VARIANTS) and "3 held-out facts prompts" in shown and "APD, R 0.7" in shown
    drawing = picture.read_text()
    assert drawing.startswith("<?xml") and len(drawing) > 10_000
    evaluate_variants(Evaluation(count=3, as_json=True), "diffusion")
    told = json.loads(capsys.readouterr().out)
    names = [name for name, fields in VARIANTS.items() if fields["decoding"] == "diffusion"]
    assert [row["system"] for row in told["results"]] == [row["system"] for row in told["results_alone"]] == names
    assert told["stamp"]["batch"] == "8 and 1"


def test_what_is_measured_is_kept_and_shown_when_it_is_interrupted(measured, monkeypatch, tmp_path, capsys):
    keep, fine, calls = tmp_path / "rows.jsonl", frontier.compare_systems, []

    def until(last):
        def compare(*given):
            calls.append(next(iter(given[4])))
            if len(calls) > last:
                raise KeyboardInterrupt
            return fine(*given)

        return compare

    monkeypatch.setattr(frontier, "compare_systems", until(5))  # two systems, in batches and alone, and half of a third
    with pytest.raises(KeyboardInterrupt):
        evaluate_variants(Evaluation(count=3, as_json=True), "diffusion", keep=keep)
    names = [name for name, fields in VARIANTS.items() if fields["decoding"] == "diffusion"]
    assert [row["system"] for row in json.loads(capsys.readouterr().out)["results"]] == names[:2]
    calls.clear()
    monkeypatch.setattr(frontier, "compare_systems", until(1000))
    rows = evaluate_variants(Evaluation(count=3, as_json=True), "diffusion", keep=keep)
    assert calls == [f"{name}{how}" for name in names[2:] for how in ("", ", alone")]
    assert [row.system for row in rows] == names * 2
    with pytest.raises(ValueError, match="was begun with other settings"):
        evaluate_variants(Evaluation(count=4, as_json=True), "diffusion", keep=keep)


def test_prompts_alone_are_the_first_ones(measured, capsys):
    evaluate_variants(Evaluation(count=frontier.ALONE + 20, as_json=True), "diffusion")
    told = json.loads(capsys.readouterr().out)
    assert told["results"][0]["answers"] == frontier.ALONE + 20
    assert told["results_alone"][0]["answers"] == frontier.ALONE


def test_refused_in_words(monkeypatch):
    with pytest.raises(ValueError, match="decoding is 'telepathic'; choose one of planned, autoregressive, "):
        evaluate_variants(Evaluation(), "telepathic")
    with pytest.raises(ValueError, match="count is 0 and batch_size 8; both must be at least 1"):
        Evaluation(count=0)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(RuntimeError, match=r"A plot needs matplotlib; run pip install 'planned-diffusion\[eval\]'"):
        evaluate_variants(Evaluation(), plot=Path("frontier.svg"))
