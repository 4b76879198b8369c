"""README and docs: tables are fresh, links lead somewhere, and the site builds without a warning."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from planned_diffusion.cli.main import main
from planned_diffusion.generation import events
from planned_diffusion.generation.decoders.table import DECODERS
from planned_diffusion.generation.fields import FIELDS
from planned_diffusion.inference.batch.tasks import open_tasks

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *(ROOT / folder / "README.md" for folder in ("training", "benchmarks")),
    *sorted(DOCS.glob("*.md")),
]
LINK = re.compile(r"\]\(([^)\s]+)\)")


def names(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_links_lead_to_files_and_headings(page):
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = (page.parent / path) if path else page
        assert target.exists(), f"{page.name} links to {link}"
        assert not anchor or anchor in anchors(target), f"{page.name} links to {link}"


def test_the_readme_is_short_and_has_the_two_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert "    make demo " in text and "    make test " in text


def test_tables_are_fresh(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(DOCS))
    import tables

    monkeypatch.setattr(sys, "argv", ["tables.py", "--check"])
    assert tables.main() == 0, capsys.readouterr().out


def test_tables_name_every_field_and_decoder():
    page = (DOCS / "fields.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` | " in page for name in FIELDS)
    assert all(f'| `"{name}"` | ' in page for name in DECODERS)


def test_a_stale_table_is_renewed_and_an_unknown_one_refused(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    import tables

    page = "before\n<!-- table decoders -->\noutdated\n<!-- end decoders -->\nafter\n"
    renewed = tables.renewed(page)
    assert renewed.startswith("before\n<!-- table decoders -->\n| ") and "outdated" not in renewed
    assert renewed.endswith("<!-- end decoders -->\nafter\n") and tables.renewed(renewed) == renewed
    with pytest.raises(ValueError, match="There is no table 'fish'; choose among layers, fields"):
        tables.renewed("<!-- table fish -->\n<!-- end fish -->\n")


def test_a_check_names_stale_pages_and_writes_nothing(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(str(DOCS))
    import tables

    page = tmp_path / "page.md"
    stale = "<!-- table decoders -->\n<!-- end decoders -->\n"
    page.write_text(stale)
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    monkeypatch.setattr(tables, "pages", lambda: [page])
    monkeypatch.setattr(sys, "argv", ["tables.py", "--check"])
    assert tables.main() == 1 and page.read_text() == stale
    assert "page.md: stale; run python docs/tables.py" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["tables.py"])
    assert tables.main() == 0 and "planned" in page.read_text()
    assert tables.main() == 0 and capsys.readouterr().out == "page.md: renewed\n"


def test_formats_name_every_event_and_its_fields():
    page = (DOCS / "formats.md").read_text(encoding="utf-8")
    for event in events.EVENTS:
        fields = ", ".join(f"`{name}`" for name in event.__dataclass_fields__)
        assert f"| `{event.__name__}` | {fields} |" in page


def test_examples_in_formats_are_json():
    page = (DOCS / "formats.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    assert blocks
    for block in blocks:
        decoder, rest = json.JSONDecoder(), block.strip()
        while rest:
            value, end = decoder.raw_decode(rest)
            assert isinstance(value, (dict, list)), rest[:40]
            rest = rest[end:].strip()


@pytest.mark.slow
def test_the_site_builds_without_a_warning():
    pytest.importorskip("zensical")
    command = [sys.executable, str(DOCS / "build.py")]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    site = ROOT / "build" / "docs" / "site"
    assert (site / "index.html").is_file() and "RoundGrammar" in (site / "reference" / "generation.html").read_text()


def test_a_link_to_a_missing_file_stops_the_build(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    import build

    with pytest.raises(FileNotFoundError, match="missing.json"):
        build.with_files("see [this](../benchmarks/missing.json)")


def test_the_commands_for_one_answer_run(tmp_path, monkeypatch, capsys):
    page = (DOCS / "usage.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^## One answer\n\n```bash\n(.*?)```", page, re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    for line in block.splitlines():
        assert main(shlex.split(line)[1:]) == 0, line
    printed = capsys.readouterr().out
    assert "the answer is yes." in printed and "<promise>-<topic>capital" in printed and '"counts": ' in printed
    assert json.loads((tmp_path / "trace.json").read_text())["format"] == "planned-diffusion-trace"


def test_the_requests_in_formats_are_accepted(tmp_path):
    page = (DOCS / "formats.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^## Requests of batch\n.*?```json\n(.*?)```", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "requests.jsonl").write_text(block)
    assert [task.id for task in open_tasks(tmp_path / "requests.jsonl")] == [1, "a7", 3, 4]
