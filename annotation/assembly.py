"""The finished files: OUT.refused.jsonl, OUT.report.json, OUT.report.png, and last of all OUT itself."""

import json
import os
from pathlib import Path

from ..records.journal import Journal, json_line, unwritable
from ..records.output import beside
from .report import Tally, plot
from .structure import PLAIN


def assemble(
    out: Path, journal: Journal, count: int, keep_plain: bool = True, price: tuple[float, float] | None = None
) -> dict:
    """Writes the side files and then OUT, in the order of the source, each whole or not at all; returns the report."""
    tally = Tally()
    paths = {name: beside(out, ending) for name, ending in (("kept", ".new"), ("refused", ".refused.jsonl.new"))}
    report_path = beside(out, ".report.json")
    try:
        with paths["kept"].open("wb") as kept, paths["refused"].open("wb") as refused:
            for entry in journal.entries(count):
                tally.add(entry)
                if "refused" in entry:
                    refused.write(json_line(entry["refused"]))
                elif keep_plain or entry["kind"] != PLAIN:
                    kept.write(json_line(entry["kept"]))
            for file in (kept, refused):
                file.flush()
                os.fsync(file.fileno())
        report = tally.report(keep_plain, price)
        report_path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        plot(report, beside(out, ".report.png"))
        _settle(paths["refused"], beside(out, ".refused.jsonl"), bool(tally.refused))
        os.replace(paths["kept"], out)
    except OSError as error:
        for path in paths.values():
            path.unlink(missing_ok=True)
        raise unwritable(out, error, len(journal)) from error
    return report


def _settle(new: Path, path: Path, is_wanted: bool) -> None:
    """Moves a side file to its name; an empty one is removed, and so is one of an earlier run."""
    if is_wanted:
        os.replace(new, path)
    else:
        new.unlink()
        path.unlink(missing_ok=True)
