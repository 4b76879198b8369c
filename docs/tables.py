"""Write the generated tables of README and docs: `python docs/tables.py`; with `--check` only say which are stale.

A table stands between `<!-- table NAME -->` and `<!-- end NAME -->` in a Markdown file; NAME is a key of TABLES. Fields
and decoders come from the code, numbers from benchmarks/results/ and the included checkpoint's results.json, and code
from the examples that the tests run. To add a table, write a function that returns its lines, and its line in TABLES.
"""

import argparse
import ast
import dataclasses
import importlib
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
FACTS = ROOT / "checkpoints" / "facts" / "results.json"
PLANNER = ROOT / "checkpoints" / "smollm2-planner" / "results.json"
BLOCK = re.compile(r"(<!-- table (\S+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)
# Systems of the README, a selection of those in decoders.json; docs/results.md has all of them.
SELECTED = (
    "autoregressive", "speculative", "planned, threshold 0.9", "planned, threshold 0.9, drafted plan",
    "blocks of 8, threshold 0.9", "Fast-dLLM, dual cache, threshold 0.9",
)  # fmt: skip
# Keys of objective.json -> how the docs name these objectives.
OBJECTIVES = {
    "ours": "base: two streams, aligned labels, plan weighs 1",
    "ours, complementary masks": "base with complementary masks (the default)",
    "ours, next-token loss in spans (0.3)": "base with a next-token loss in spans (0.3)",
    "ours, first rounds only": "base, only spans of first rounds teach",
    "one stream": "base, but one stream",
    "1/t on plan tokens": "base, but 1/t on plan tokens",
    "labels as published": "base, but labels as published",
}


def main() -> int:
    """Write or check the tables; return 1 where a table was stale in a check."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--check", action="store_true", help="Write nothing; exit with 1 if a table is stale.")
    check = parser.parse_args().check
    stale = [path for path in pages() if renewed(text := path.read_text(encoding="utf-8")) != text]
    for path in stale:
        print(f"{path.relative_to(ROOT)}: {'stale; run python docs/tables.py' if check else 'renewed'}")
        if not check:
            path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")
    return int(check and bool(stale))


def pages() -> list[Path]:
    """Return the Markdown files that may hold tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def renewed(text: str) -> str:
    """Return a page with every table written anew.

    Raises:
        ValueError: a mark names no table.
    """

    def written(found: re.Match[str]) -> str:
        if found[2] not in TABLES:
            raise ValueError(f"There is no table {found[2]!r}; choose among {', '.join(TABLES)}.")
        return f"{found[1]}" + "\n".join(TABLES[found[2]]()) + f"\n{found[3]}"

    return BLOCK.sub(written, text)


def rows_as_table(rows: Iterable[Mapping[str, object]]) -> list[str]:
    """Return rows as the lines of a Markdown table; a cell is empty where a row has no such key, and - where none."""
    listed = list(rows)
    columns = list(dict.fromkeys(name for row in listed for name in row))
    found = [["-" if row.get(name, "") is None else str(row.get(name, "")) for name in columns] for row in listed]
    cells = [[cell.replace("|", r"\|") for cell in line] for line in found]
    return [f"| {' | '.join(line)} |" for line in (columns, ["---"] * len(columns), *cells)]


# From the code


def fields(shared: bool) -> list[str]:
    """Return the table of this package's fields, or of those that `generate` shares with transformers."""
    from planned_diffusion.generation.fields import FIELDS, SHARED_FIELDS

    chosen = json.loads((ROOT / "checkpoints" / "facts" / "generation_config.json").read_text(encoding="utf-8"))
    rows = []
    for name, field in (SHARED_FIELDS if shared else FIELDS).items():
        default = {} if shared else {"default": f"`{field.default!r}`"}
        own = {"included model": f"`{chosen[name]!r}`" if name in chosen else ""}
        rows.append({"field": f"`{name}`", **default, "meaning": field.meaning, **own})
    return rows_as_table(rows)


def decoders() -> list[str]:
    """Return the table of decoders."""
    from planned_diffusion.generation.decoders.table import DECODERS

    return rows_as_table(
        {"`decoding=`": f'`"{name}"`', "how it writes": decoder.summary, "source": decoder.source}
        for name, decoder in DECODERS.items()
    )


def decoder_fields() -> list[str]:
    """Return a table with a row per field or argument and a column per decoder; x where the decoder reads it."""
    from planned_diffusion.generation.decoders.table import DECODERS
    from planned_diffusion.generation.fields import FIELDS, READ_BY_ALL

    takes = {
        "`plan=`": lambda decoder: decoder.plans,
        "`Blank`s in a plan": lambda decoder: decoder.fills_canvas,
        "`assistant_model=`": lambda decoder: decoder.takes_assistant,
        **{
            f"`{field}`": lambda decoder, field=field: field in decoder.reads
            for field in FIELDS
            if field not in READ_BY_ALL
        },
    }
    rows = [
        {"": what, **{name: "x" if is_taken(decoder) else "" for name, decoder in DECODERS.items()}}
        for what, is_taken in takes.items()
    ]
    everyone = ", ".join(f"`{field}`" for field in READ_BY_ALL)
    return [*rows_as_table(rows), "", f"Every decoder also reads {everyone}."]


def layers() -> list[str]:
    """Return the layers as tests/structure checks them, from the top down."""
    tree = ast.parse((ROOT / "tests" / "structure" / "test_imports.py").read_text(encoding="utf-8"))
    (value,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "LAYERS"
    )
    return ["```text", *(", ".join(names) for names in ast.literal_eval(value)), "```"]


def training_fields(module: str, name: str) -> list[str]:
    """Return the table of a dataclass of training fields, from the help texts of `train --help`."""
    declared = getattr(importlib.import_module(f"planned_diffusion.training.{module}"), name)
    rows = []
    for field in dataclasses.fields(declared):
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        rows.append({"field": f"`{field.name}`", "default": f"`{default}`", "meaning": field.metadata["help"]})
    return rows_as_table(rows)


def example(name: str) -> list[str]:
    """Return an example as a block of code."""
    return ["```python", *(ROOT / "examples" / name).read_text(encoding="utf-8").rstrip().split("\n"), "```"]


# From results


def loaded(path: Path) -> dict[str, Any]:
    """Return the content of a results file."""
    return json.loads(path.read_text(encoding="utf-8"))


def stamp_line(stamp: Mapping[str, Any], *names: str) -> str:
    """Return a line that says under which circumstances something was measured."""
    names = names or ("date", "commit", "machine", "device", "cores", "threads", "versions", "dtype", "seed", "load")
    said = [f"{name}: {str(stamp[name])[:10] if name == 'date' else stamp[name]}" for name in names if name in stamp]
    return "; ".join(said).replace("date: ", "Measured on ", 1) + "."


def percent(share: float) -> str:
    """Return a share in percent."""
    return f"{100 * share:.1f} %"


def included_model() -> list[str]:
    """Return what the included model reached when it was built."""
    results = loaded(FACTS)
    rows = [
        {
            "512 held-out prompts, batches of 8": row["system"],
            "answers right": percent(row["answers_right"]),
            "facts right": percent(row["facts_right"]),
            "forwards": f"{row['forwards']:.1f}",
            "forwards, 3+ parts": f"{row['many_parts_forwards']:.1f}",
            "ms per answer": f"{1000 * row['seconds']:.0f}",
        }
        for row in results["results"]
    ]
    return [*rows_as_table(rows), "", stamp_line(results["stamp"])]


def every_decoder(selected: tuple[str, ...] = ()) -> list[str]:
    """Return all settings of all decoders on the included model, or a selection in its order."""
    results = loaded(RESULTS / "decoders.json")
    alone = {row["system"]: row for row in results["results_alone"]}
    batched = {row["system"]: row for row in results["results"]}
    rows = [
        {
            "on the included model": name,
            "facts right": percent(row["facts_right"]),
            "forwards": f"{row['forwards']:.1f}",
            "tokens per forward": f"{row['tokens'] / row['forwards']:.1f}",
            "tokens run": f"{row['tokens_run']:,.0f}",
            "ms alone": f"{1000 * alone[name]['seconds']:,.0f}",
            "ms in batches of 8": f"{1000 * row['seconds']:,.0f}",
        }
        for name, row in ((name, batched[name]) for name in selected or batched)
    ]
    count, few = rows_count(results["results"]), rows_count(results["results_alone"])
    note = f"{count} held-out prompts in batches, the first {few} of them alone. {stamp_line(results['stamp'])}"
    return [*rows_as_table(rows), "", note]


def decoder_areas() -> list[str]:
    """Return the table of areas (AUP) of the decoders on the included model."""
    from planned_diffusion.evaluation.frontier import settings_of
    from planned_diffusion.evaluation.measure import Measurement
    from planned_diffusion.evaluation.parallelism_area import areas_of

    results = loaded(RESULTS / "decoders.json")
    batched, alone = ([Measurement(**row) for row in results[key]] for key in ("results", "results_alone"))
    rows = [
        {
            "on the included model": f"`{one.decoding}`",
            "AUP": f"{one.area:.0f}",
            "settings that count": f"{one.settings[0]} of {one.settings[1]}",
            "most tokens per forward": f"{one.most_parallel:.1f}",
            "least ms alone": f"{1000 * one.seconds:,.0f}",
        }
        for one in areas_of(settings_of(batched, alone))
    ]
    return [*rows_as_table(rows), "", stamp_line(results["stamp"])]


def rows_count(rows: list[dict[str, Any]]) -> int:
    """Return the number of answers that every row stands for."""
    (count,) = {row["answers"] for row in rows}
    return count


def speed() -> list[str]:
    """Return the table of speeds against their targets' other sides."""
    large, small = (loaded(RESULTS / f"{name}.json")["cases"] for name in ("cpu-630m", "cpu-embedded"))

    def row_of(cases: dict[str, Any], case: str, **wanted: str) -> dict[str, Any]:
        return next(row for row in cases[case]["rows"] if wanted.items() <= row.items())

    planning, denoising = (row_of(small, "fill", step=step)["outside ms"] for step in ("planning", "denoising"))
    ours = [row_of(cases, "left-to-right", system="ours")["x native"] for cases in (large, small)]
    gains = {row["system"]: row["gain"] for row in small["many-parts"]["rows"]}
    together = "; ".join(f"{row['system']}: {row['gain']:.1f}" for row in small["batching"]["rows"])
    fastest = "planned, threshold 0.9, lookahead 3"
    rows = [
        ("denoising tick / transformer and head alone on the same tokens (630 M, 6 spans of 40, one thread)",
         f"{row_of(large, 'fill', step='denoising')['x ideal']:.2f}"),
        ("the engine's own time per tick, included model: planning, denoising 252 tokens (below 0: attention in "
         "segments computes less than the comparison)", f"{planning:.2f}, {denoising:.2f} ms"),
        ('`decoding="autoregressive"` / native `generate`: 630 M, included model', f"{ours[0]:.2f}, {ours[1]:.2f}"),
        ("included model, 3+ parts, one at a time: seconds left to right / at threshold 0.9, / also with lookahead 3",
         f"{gains['planned, threshold 0.9']:.1f}, {gains[fastest]:.1f}"),
        ("included model, eight prompts: seconds one after the other / together", together),
    ]  # fmt: skip
    stamp = stamp_line(small["many-parts"]["stamp"], "date", "device", "cores", "dtype", "versions")
    return [*rows_as_table({"what": what, "measured": measured} for what, measured in rows), "", stamp]


def targets() -> list[str]:
    """Return targets, precisions and machines as benchmarks/targets.py reads them."""
    with _benchmarks():
        from targets import report_lines
    return report_lines(RESULTS)


def draft_targets() -> list[str]:
    """Return the targets of drafts as benchmarks/draft_targets.py reads them."""
    with _benchmarks():
        from draft_targets import FILES, machines, target_rows
    return [*rows_as_table(target_rows()), "", f"Measured on {machines(*FILES)}."]


@contextmanager
def _benchmarks() -> Iterator[None]:
    """Let scripts of benchmarks/ be imported."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        yield
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


def objective(name: str) -> list[str]:
    """Return an ablation of the objective."""
    results = loaded(RESULTS / name)
    names = {"autoregressive": "left to right", "verdicts on right facts, ratio 1": "comparisons right, ratio 1"}
    rows = [
        {names.get(key, key): OBJECTIVES.get(value, value) for key, value in row.items()} for row in results["rows"]
    ]
    stamp = stamp_line(results["stamp"], "date", "commit", "device", "threads", "versions", "dtype", "steps",
                       "countries", "prompts", "batch", "load")  # fmt: skip
    return [*rows_as_table(rows), "", stamp]


def less_work() -> list[str]:
    """Return what each way of doing less work saves."""
    results = loaded(RESULTS / "less_work.json")
    rows = [{name: value for name, value in row.items() if name != "spread %"} for row in results["rows"]]
    return [*rows_as_table(rows), "", stamp_line(results["stamp"])]


def rows_of(name: str, **wanted: object) -> list[str]:
    """Return the rows of a results file, or those with some entries, long fractions rounded to four digits."""
    results = loaded(RESULTS / name)
    rows = [
        {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in row.items()}
        for row in results["rows"]
        if wanted.items() <= row.items()
    ]
    return [*rows_as_table(rows), "", stamp_line(results["stamp"])]


def predictions() -> list[str]:
    """Return the predictions for a 7B model, which say that they are none of our measurements."""
    results = loaded(RESULTS / "predictions.json")
    stamp = results["stamp"]
    facts = "; ".join((f"commit: {stamp['commit']}", stamp["prediction"], f"weights: {stamp['weights']}"))
    note = f"Predicted on {stamp['date'][:10]}; {facts}."
    return [*rows_as_table(results["rows"]), "", note]


def study_systems(name: str) -> list[str]:
    """Return the systems of a study, with their figures and intervals."""
    report = importlib.import_module("planned_diffusion.evaluation.study_report")
    estimate = importlib.import_module("planned_diffusion.evaluation.bootstrap").Estimate
    results = loaded(RESULTS / "studies" / f"{name}.json")
    count = rows_count(results["results"])
    rows = [
        {f"{count} questions": row["system"], **{
            figure: report.interval_text(row[figure] and estimate(**row[figure]), report.FORMATS[figure])
            for figure in ("facts right", "forwards", "tokens run", "room used", "seconds")
        }}
        for row in results["results"]
    ]  # fmt: skip
    return [*rows_as_table(rows), "", stamp_line(results["stamp"])]


def study_findings() -> list[str]:
    """Return what the studies say of the paper's findings."""
    report = importlib.import_module("planned_diffusion.evaluation.study_report")
    estimate = importlib.import_module("planned_diffusion.evaluation.bootstrap").Estimate
    rows, stamps = [], []
    studies = importlib.import_module("planned_diffusion.evaluation.studies").STUDIES
    files = [RESULTS / "studies" / f"{name}.json" for name in studies]
    for path in filter(Path.is_file, files):  # `decoders` has a table of its own
        name, results = path.stem, loaded(path)
        stamps.append(stamp_line(results["stamp"]))
        for one in results["findings"]:
            form = "+.1%" if one["how"] == "difference" else ".2f"
            change = report.interval_text(one["change"] and estimate(**one["change"]), form)
            rows.append({
                "study": f"`{name}`",
                "finding": one["says"],
                "measured": f"{one['figure']}, {one['system']} {'less' if form[0] == '+' else '/'} {one['than']}",
                "change, with 95 % interval": change,
                "questions": (one["change"] or {"count": 0})["count"] if one["figure"] != "seconds" else "",
                "verdict": one["verdict"],
            })  # fmt: skip
    return [*rows_as_table(rows), "", stamps[0]]


def pays_kinds() -> list[str]:
    """Return the verdicts of `pays` on three kinds of prompts."""
    rows, stamps = [], []
    for path in sorted((RESULTS / "pays").glob("*.json")):
        kind, results = path.stem, loaded(path)
        stamp, rowed = results["stamp"], results["results"]
        stamps.append(stamp_line(stamp))
        rows.append({
            "prompts": f"{rows_count(rowed)} {kind}, at most {stamp['max_new_tokens']} tokens",
            "verdict": f"`{results['verdict']['name']}`",
            "sentence": results["verdict"]["sentence"],
        })  # fmt: skip
    return [*rows_as_table(rows), "", *stamps[:1]]


def cost_growth() -> list[str]:
    """Return the time of a denoising step against the tokens before it, and against the batch."""
    results = loaded(RESULTS / "cost_growth.json")
    lines: list[str] = []
    for name, what in (("context", "tokens of context"), ("batch", "requests together")):
        measured = results["results"][name]
        sizes = [f"{size:,}" for size in measured["sizes"]]
        times = [f"{1000 * seconds:.1f}" for seconds in measured["seconds"]]
        row = {what: "ms per step", **dict(zip(sizes, times, strict=True)), "exponent": f"{measured['exponent']:.2f}"}
        lines += [*rows_as_table([row]), ""]
    return [*lines, stamp_line(results["stamp"], "date", "machine", "versions", "dtype", "spans")]


def natural_text() -> list[str]:
    """Return the learning curve on natural text."""
    results = loaded(RESULTS / "natural_text.json")
    rows = [
        {name: value if isinstance(value, int) else f"{value:.3g}" for name, value in row.items()}
        for row in results["rows"]
    ]
    return [*rows_as_table(rows), "", stamp_line(results["stamp"])]


def planner(columns: str, group: str = "figures", alone: bool = False) -> list[str]:
    """Return what the planner on SmolLM2 reached on held-out prompts; `columns` is a constant of its card."""
    card = importlib.import_module("planned_diffusion.evaluation.planner_card")
    results = loaded(PLANNER)
    rows = results["results_alone" if alone else "results"]
    title = f"{rows[0]['answers']} held-out prompts"
    table = card.figures_table(title, rows, getattr(card, columns), group)
    return [table, "", stamp_line(results["stamp"])]


def plan_forms() -> list[str]:
    """Return the JSON schema of plans in the server's API."""
    from planned_diffusion.inference.server.plan_forms import plan_schema

    return ["```json", *json.dumps(plan_schema(), indent=1).splitlines(), "```"]


TABLES: dict[str, Callable[[], list[str]]] = {
    "layers": layers,
    "fields": partial(fields, shared=False),
    "shared_fields": partial(fields, shared=True),
    "decoders": decoders,
    "decoder_fields": decoder_fields,
    "objective_fields": partial(training_fields, "objective", "ObjectiveFields"),
    "script_fields": partial(training_fields, "script_arguments", "ScriptArguments"),
    "adapter_fields": partial(training_fields, "adapters", "AdapterArguments"),
    "included_model": included_model,
    "planner_plans": partial(planner, "PLANS"),
    "planner_costs": partial(planner, "COSTS"),
    "planner_beside": partial(planner, "BESIDE", "beside_base", alone=True),
    "selected_decoders": partial(every_decoder, selected=SELECTED),
    "every_decoder": every_decoder,
    "decoder_areas": decoder_areas,
    "speed": speed,
    "targets": targets,
    "draft_targets": draft_targets,
    "objective": partial(objective, "objective.json"),
    "objective_examples": partial(objective, "objective_examples.json"),
    "less_work": less_work,
    "predictions": predictions,
    **{f"study_{name}": partial(study_systems, name) for name in ("topics", "sync", "attention", "length", "steps")},
    "study_findings": study_findings,
    "pays_kinds": pays_kinds,
    "small_rooms": partial(rows_of, "small_rooms.json"),
    "serving_facts": partial(rows_of, "serving.json"),
    "serving_planner": partial(rows_of, "serving_smollm2.json"),
    "rivals": partial(rows_of, "rivals.json", batch=1),
    "rivals_batches": partial(rows_of, "rivals_batches.json"),
    "left_to_right": partial(rows_of, "left_to_right.json"),
    "drafting_facts": partial(rows_of, "drafting_facts.json"),
    "drafting_text": partial(rows_of, "drafting_text.json"),
    "drafting_drafter": partial(rows_of, "drafting_drafter.json"),
    "eight_bits": partial(rows_of, "eight_bits.json"),
    "rounding": partial(rows_of, "rounding.json"),
    "length_unit": partial(rows_of, "length_unit.json"),
    "cost_growth": cost_growth,
    "natural_text": natural_text,
    "plan_forms": plan_forms,
    "new_decoder": partial(example, "new_decoder.py"),
}

if __name__ == "__main__":
    sys.exit(main())
