"""The finished files: OUT.refused.jsonl, OUT.report.json, OUT.report.png, and last of all OUT itself."""

import json
from pathlib import Path
from typing import Any

from ..records.journal import Journal, json_line
from ..records.output import beside, whole_files
from .gain import plain_where_it_gains_little
from .independence import PLAIN
from .outcomes import Kept, outcome_of
from .report import Tally, plot_report


def write_outputs(
    out: Path,
    journal: Journal,
    count: int,
    keep_plain: bool = True,
    price: tuple[float, float] | None = None,
    min_gain: float | None = None,
) -> dict[str, Any]:
    """Write the side files and then OUT, in the order of the source, and return the report.

    Args:
        count: the number of records in the source.
        keep_plain: write the answers without a plan too.
        price: per million prompt and completion tokens, for the report.
        min_gain: the largest critical path of an answer with a plan, as a share of its plain length; others become
            plain. The journal keeps all plans, so that an unfinished run may go on with another share.

    Raises:
        RuntimeError: the disk is full or gone; all finished records are kept in the journal.
    """
    tally = Tally()
    with whole_files(out, ".refused.jsonl", len(journal)) as (kept_file, refused_file):
        for entry in journal.entries(count):
            outcome = outcome_of(entry)
            if isinstance(outcome, Kept):
                outcome = plain_where_it_gains_little(outcome, min_gain)
            tally.add(outcome)
            if not isinstance(outcome, Kept):
                refused_file.write(json_line(outcome.as_json()))
            elif keep_plain or outcome.kind != PLAIN:
                kept_file.write(json_line(outcome.row))
        report = tally.report(keep_plain, price)
        beside(out, ".report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        plot_report(report, beside(out, ".report.png"))
    return report
