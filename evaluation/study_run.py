"""Run a study (`planned-diffusion study steps`): systems answer held-out questions about countries, and are compared.

1. take the study's systems and findings                            studies.py
2. draw the questions; load the checkpoint                          facts/generator.py, text_contest.py
3. answer, batch after batch and every system in turn               text_contest.py, plan_edits.py
4. keep every answer with its figures at once                       shards.py
5. figures with intervals, findings with verdicts                   study_findings.py
6. print tables; write JSON, Markdown and a picture                 study_report.py, study_plot.py

An interrupted run goes on with the same folder; shards of a run are gathered by the last one (shards.py).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..facts.generator import FactsQuestion, held_out_questions
from ..inference.answer import open_checkpoint
from ..loading.embedded import EMBEDDED
from .bars import Bar, no_bar
from .bootstrap import Term
from .frontier_plot import figure_class
from .measure import HELD_OUT_SEED
from .parallelism_area import Setting, areas_of
from .run_header import header_of_run
from .shards import Shard, kept_entries, stamp_of_shard
from .stamp import SEED, measurement_stamp
from .studies import STUDIES, Study, facts_kind
from .study_findings import StudyResult, StudyRow, Terms, judged, rows_of, terms_of
from .study_plot import draw_study
from .study_report import print_study, write_study
from .text_answers import TextAnswer, TextSystem
from .text_contest import Contest, answer_all, batches_of, warm_up
from .text_prompts import TextPrompt


@dataclass(frozen=True)
class StudySettings:
    """How a study is run.

    model: folder or Hub repository of a checkpoint that knows the countries; None: the included one.
    count: questions.
    folder: gets NAME.jsonl (the answers), NAME.json, NAME.md and NAME.png; None writes nothing.
    as_json: print one JSON object instead of tables.
    shard: answer only this share of the batches.
    bar: opens a progress bar.

    Raises:
        ValueError: a number below 1, or a shard without a folder.
    """

    model: str | None = None
    count: int = 100
    batch_size: int = 1
    folder: Path | None = None
    as_json: bool = False
    shard: Shard | None = None
    bar: Bar = field(default=no_bar, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.count < 1 or self.batch_size < 1:
            raise ValueError(f"count is {self.count} and batch_size {self.batch_size}; both must be at least 1.")
        if self.shard is not None and self.folder is None:
            raise ValueError(f"Shard {self.shard} has no folder for its results; give --out as well.")


def run_study(name: str, settings: StudySettings) -> StudyResult:
    """Run a study, print it, write its files, and return it.

    Raises:
        ValueError: no such study, a checkpoint that cannot be loaded, or a file of answers of another run.
        RuntimeError: a file cannot be written, or a picture is wanted and matplotlib is missing.
    """
    if name not in STUDIES:
        raise ValueError(f"There is no study {name!r}; choose among {', '.join(STUDIES)}.")
    study, folder = STUDIES[name], settings.folder
    if folder is not None:
        figure_class()  # before the work, not after it
        folder.mkdir(parents=True, exist_ok=True)
    questions = held_out_questions(settings.count, HELD_OUT_SEED, study.comparisons)
    prompts = [TextPrompt(line, one.prompt, None, kind_of(one)) for line, one in enumerate(questions, start=1)]

    def terms(answer: TextAnswer) -> Terms:
        return terms_of(questions[answer.asked.line - 1], answer)

    contest = load_study(study, str(settings.model or EMBEDDED), terms)
    stamp = stamp_of_study(name, settings, contest)
    header = header_of_run("study", stamp, {"model": str(settings.model or EMBEDDED)})
    batches = batches_of(prompts, [settings.batch_size], shard=settings.shard)
    warm_up(contest.systems, prompts[0])
    answers: list[TextAnswer] = []
    keep = folder and folder / f"{name}.jsonl"
    with kept_entries(keep, header, settings.shard) as journal, settings.bar(name) as show:
        answers += answer_all(contest, batches, journal, show)
    result = result_of(name, stamp, answers, terms)
    print_study(result, settings.as_json)
    if folder is not None and settings.shard is None:
        write_study(result, folder)
        draw_study(result, folder / f"{name}.png")
    return result


def load_study(study: Study, model: str, terms: Callable[[TextAnswer], Terms]) -> Contest:
    """Load the checkpoint, with the systems of a study on it; every answer is kept with its own figures."""
    checkpoint = open_checkpoint(model)
    systems = [
        TextSystem(name, checkpoint, {**fields, "seed": SEED}, study.edits.get(name))
        for name, fields in study.systems.items()
    ]
    return Contest(systems, None, lambda answer: {name: _value(term) for name, term in terms(answer).items()})


def stamp_of_study(name: str, settings: StudySettings, contest: Contest) -> dict[str, Any]:
    """Return the circumstances of a study."""
    model = settings.model or EMBEDDED
    return {
        **measurement_stamp(contest.systems[0].checkpoint.model, settings.batch_size),
        "model": Path(model).name if Path(model).is_dir() else str(model),
        "prompts": f"{settings.count} held-out questions",
        "study": name,
        **stamp_of_shard(settings.shard),
    }


def kind_of(question: FactsQuestion) -> str:
    """Return the kind of a question: how many facts it asks for, or that it compares."""
    return "comparison" if len(question.rounds) > 1 else facts_kind(len(question.statements))


def result_of(
    name: str, stamp: Mapping[str, Any], answers: Sequence[TextAnswer], terms: Callable[[TextAnswer], Terms]
) -> StudyResult:
    """Return what the answers of a study say."""
    study = STUDIES[name]
    rows = rows_of(answers, terms)
    kinds = sorted({one.asked.kind for one in answers if one.asked.kind is not None}) if study.by_kind else []
    return StudyResult(
        name,
        study.question,
        stamp,
        rows,
        rows_of(answers, terms, kinds),
        judged(study, answers, terms),
        areas_of(settings_of(study, rows)) if study.areas else [],
    )


def settings_of(study: Study, rows: Sequence[StudyRow]) -> list[Setting]:
    """Return every system as a setting of its decoder, for the area measure."""
    found = []
    for row in rows:
        parallelism, quality, seconds = (row.figures[name] for name in ("tokens / forward", "facts right", "seconds"))
        assert parallelism and quality and seconds  # every answer takes a forward
        decoding = study.systems[row.system]["decoding"]
        found.append(Setting(decoding, parallelism.value, 100 * quality.value, seconds.value))
    return found


def _value(term: Term | None) -> float | None:
    return term[0] / term[1] if term is not None and term[1] else None
