"""Reports: what is read from runs, worst answers as readily as best, one page without network, hostile texts."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt

from planned_diffusion.cli.main import main
from planned_diffusion.evaluation.charts_svg import draw_chart, ticks
from planned_diffusion.evaluation.likelihood import Likelihood
from planned_diffusion.evaluation.report_cases import answer_cases, ends_of
from planned_diffusion.evaluation.report_document import Chart, Spot, section_of
from planned_diffusion.evaluation.report_page import harmless, write_report
from planned_diffusion.evaluation.report_runs import read_run
from planned_diffusion.evaluation.text_answers import TextAnswer, WrittenSpan
from planned_diffusion.evaluation.text_figures import figures_of
from planned_diffusion.evaluation.text_prompts import TextPrompt

ROOT = Path(__file__).parents[2]
EVIL = (
    "</p><script>alert(1)</script><img src=x onerror=alert(2)> {{ 7 * 7 }} \x1b[31m \u202e ``` | *a* [b](javascript:1)"
)


def answer(line, nats, system="planned", text="some words", **changes) -> TextAnswer:
    span = WrittenSpan("words", 8, 6, text)
    given = {
        "batch_size": 1, "batch": line, "asked": TextPrompt(line, f"Question {line}?"), "text": text,
        "plans": ((span, span),), "ended": "eos", "plan_tokens": 9, "planning": 9, "forwards": 20 + line,
        "critical_path": 20, "tokens": 40, "tokens_run": 90, "seconds": 1.0,
        "likelihood": None if nats is None else Likelihood(-40.0 * nats, 40),
    }  # fmt: skip
    return TextAnswer(system, **{**given, **changes})


def kept(path: Path, answers, **settings) -> Path:
    """A file of kept answers, as --keep writes it."""
    lines = [{"settings": {"task": "text", "commit": "abc", **settings}}]
    lines += [
        {"index": index, "hash": str(index), "answer": one.as_json(), "figures": figures_of(one)}
        for index, one in enumerate(answers)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def answers(tmp_path):
    return kept(tmp_path / "answers.jsonl", [answer(line, 1 + line / 10) for line in range(10)])


class Page(HTMLParser):
    """The tags of a page, and the text that a reader sees."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.links, self.words, self._hidden = [], [], "", 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset", "action", "data") or
                       name.startswith("on")]  # fmt: skip
        self._hidden += tag in ("style", "title")

    def handle_endtag(self, tag):
        self._hidden -= tag in ("style", "title")

    def handle_data(self, data):
        self.words += "" if self._hidden else data


# Reading


def test_kept_answers_are_read_and_a_torn_line_is_left_out(answers):
    whole = read_run(answers)
    assert [one.asked.line for one in whole.answers] == list(range(10)) and whole.stamp["commit"] == "abc"
    assert whole.figures[0].how == "one at a time" and whole.figures[0].rows[0]["answers"] == 10
    answers.write_bytes(answers.read_bytes()[:-20])
    assert len(read_run(answers).answers) == 9
    again = answers.read_text().splitlines(keepends=True)
    answers.write_text("".join([*again[:3], "{torn\n", *again[3:]]))
    with pytest.raises(ValueError, match=r"answers.jsonl, line 4: not JSON .*; give the file of --keep"):
        read_run(answers)


def test_the_verdict_of_pays_is_told(tmp_path):
    both = [answer(line, 1.0, name, seconds=each) for line in range(40)
            for name, each in (("autoregressive", 2.0), ("planned, ratio 1", 1.0))]  # fmt: skip
    file = kept(tmp_path / "pays.jsonl", both, task="pays")
    assert read_run(file).verdict.startswith("Planning pays here: planned, ratio 1 takes 0.50 (0.50 to 0.50)")
    write_report([file], tmp_path / "report.html", 1)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "Planning pays here" in page.words
    assert read_run(kept(tmp_path / "begun.jsonl", both[:1], task="pays")).verdict == ""
    assert read_run(kept(tmp_path / "text.jsonl", both)).verdict == ""


def test_the_included_figures_are_read():
    facts = section_of(read_run(ROOT / "benchmarks" / "results" / "decoders.json"), 3)
    assert [table.title for table in facts.tables] == ["figures, in batches", "figures, one at a time"]
    assert len(facts.tables[0].rows) == 39 and len(facts.charts) == 4
    planner = section_of(read_run(ROOT / "checkpoints" / "smollm2-planner"), 3)
    titles = [table.title for table in planner.tables]
    results = json.loads((ROOT / "checkpoints" / "smollm2-planner" / "results.json").read_text())
    asked = max(row["answers"] for row in results["results"])
    assert titles[0] == f"costs, {asked} prompts in batches, 95 % intervals over prompts" and "training" in titles
    assert {chart.title for chart in planner.charts} >= {
        "losses",
        "log-likelihood per token against forwards, in batches",
    }


def test_a_training_run_is_read(tmp_path):
    for step in (5, 10):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        log = [{"step": number, "loss": 9 - number / 2, "grad_norm": 1.0} for number in range(1, step + 1)]
        (folder / "trainer_state.json").write_text(json.dumps({"log_history": log}))
    part = {"topic": "a", "promised": 8, "used": 4}
    samples = [
        {"step": step, "prompt": f"p{place}", "text": "t", "plan": [[part]] if place else [], "well_formed": place > 1}
        for step in (5, 10)
        for place in range(4)
    ]
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(one) + "\n" for one in samples))
    section = section_of(read_run(tmp_path), 3)
    [chart], [table], [cases] = section.charts, section.tables, section.cases
    assert list(chart.lines) == ["loss"] and chart.lines["loss"][-1] == (10.0, 4.0)  # of the newest checkpoint
    assert [cell.value for cell in dict(table.rows)["loss"]] == ["8.5", "4", "8.5", "4"]
    assert [case.prompt for case in cases.worst] == ["p0", "p1"] and [case.prompt for case in cases.best] == [
        "p3",
        "p2",
    ]
    assert cases.system == "step 10" and cases.best[0].plan == ["a (4 of 8 tokens)"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("no.json", None, "There is no file or folder .*no.json; give the file of --keep"),
        ("a.json", "[", "a.json is no JSON"),
        ("b.json", "[]", "b.json holds no results"),
        ("c.json", '{"results": []}', "c.json holds no results"),
        ("d.jsonl", "", "d.jsonl does not begin with the settings of a run"),
        ("e.jsonl", '{"prompt": "Hi"}\n', "e.jsonl does not begin with the settings of a run"),
        ("f.jsonl", '{"settings": {}}\n{"hash": "x"}\n', "f.jsonl is no run that can be reported .KeyError.'answer'"),
        ("g.jsonl", '{"settings": {}}\n[]\n', "g.jsonl, line 2: list instead of an object"),
        ("h.json", '{"results": [{"figures": {}}]}', "h.json is no run that can be reported .KeyError.'system'"),
        ("folder", None, "folder holds neither a log of training nor results"),
    ],
)
def test_what_is_no_run_is_refused(name, content, message, tmp_path):
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    elif content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=message):
        write_report([path], tmp_path / "r.md", 3)
    assert not (tmp_path / "r.md").exists()


# Worst and best


def test_as_many_of_the_worst_as_of_the_best_and_none_twice():
    for count in range(1, 12):
        worst, best = ends_of(range(count), 3)
        assert not set(worst) & set(best) and len(worst) - len(best) in (0, 1)
        assert list(worst) == sorted(worst) and list(best) == sorted(best, reverse=True)
        assert worst[0] == 0 and (count == 1 or best[0] == count - 1)


def test_answers_are_ranked_by_likelihood_or_by_repetition():
    scored = [answer(line, nats) for line, nats in enumerate((1.0, 3.0, 2.0, 0.5))]
    [cases] = answer_cases(scored, 1)
    assert (cases.worst[0].prompt, cases.best[0].prompt) == ("Question 1?", "Question 3?")
    assert cases.best[0].figures["log-likelihood per token"] == "-0.50"
    texts = ("a b c a b c a b c", "one two three four five", "a b c d e f a b c")
    [cases] = answer_cases([answer(line, None, text=text) for line, text in enumerate(texts)], 1)
    assert cases.measure == "repeated 3-grams"
    assert (cases.worst[0].prompt, cases.best[0].prompt) == ("Question 0?", "Question 1?")


def test_a_prompt_counts_once_whatever_it_was_answered_with():
    twice = [answer(1, 1.0), replace(answer(1, 1.0), batch_size=8), answer(2, 2.0)]
    [cases] = answer_cases(twice, 3)
    assert len(cases.worst) + len(cases.best) == 2


# The page


def test_the_page_is_whole_and_shows_both_ends(answers, tmp_path, capsys):
    out = tmp_path / "report.html"
    assert main(["report", str(answers), str(ROOT / "checkpoints" / "smollm2-planner"), "-o", str(out)]) == 0
    assert re.fullmatch(r".*report.html: 2 runs, \d+ tables, \d+ charts, 6 answers\n", capsys.readouterr().out)
    text = out.read_text(encoding="utf-8")
    page = Page(text)
    assert page.links == [] and "script" not in page.tags and "link" not in page.tags and "http" not in page.words
    assert "default-src 'none'" in text and "prefers-color-scheme: dark" in text and "@import" not in text
    assert page.tags.count("article") == 6 and page.words.index("Worst") < page.words.index("Best")
    for line in (9, 8, 7, 0, 1, 2):
        assert f"Question {line}?" in page.words
    assert "Question 4?" not in page.words and "words (6 of 8 tokens), words (6 of 8 tokens)" in page.words


def test_hostile_texts_stay_texts(tmp_path):
    asked = TextPrompt(1, [{"role": "user", "content": EVIL}])
    bad = [
        answer(1, 1.0, text=EVIL, asked=asked, ended=EVIL, system=EVIL, plans=((WrittenSpan(EVIL, 8, 6, EVIL),),)),
        answer(2, 2.0, text="\ud800 lone", system=EVIL),
    ]
    file = kept(tmp_path / "evil.jsonl", bad, machine=EVIL)
    for name in ("report.html", "report.md"):
        write_report([file], tmp_path / name, 3)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert not {"script", "img"} & set(page.tags) and page.links == []
    assert page.words.count("<script>alert(1)</script>") >= 5 and "{{ 7 * 7 }}" in page.words
    assert "\x1b" not in page.words and "\u202e" not in page.words
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown)  # as the Hub renders cards
    rendered = Page(html)
    assert not {"script", "img", "a", "em"} & set(rendered.tags)
    assert "<script>alert(1)</script>" in rendered.words and "\u202e" not in markdown


def test_joiners_and_line_breaks_stay():
    family = "\U0001f468\u200d\U0001f469 a\n\tb"
    assert harmless({"a": [family, ("x\x00", 3)]}) == {"a": [family, ("x\N{REPLACEMENT CHARACTER}", 3)]}


def test_markdown_for_a_model_card(answers, tmp_path):
    out = tmp_path / "card.md"
    write_report([answers], out, 2)
    text = out.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    assert headings == [
        r"answers\.jsonl", r"Worst answers of planned, by log\-likelihood per token",
        r"Best answers of planned, by log\-likelihood per token",
    ]  # fmt: skip
    assert "```text\nQuestion 9?\n```" in text
    page = Page(MarkdownIt().enable("table").render(text))
    assert page.tags.count("table") == 3 and "40 (40 to 40)" in page.words


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "report.pdf"], "report.pdf ends in .pdf; give a file that ends in .html or .md"),
        (["-o", "report"], "report ends in nothing; give a file that ends in .html or .md"),
        (["--answers", "0"], "answers is 0; give 1 or more"),
        (["-o", "no/report.html"], "give --output another place"),
    ],
)
def test_bad_use_is_refused(options, message, answers, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(answers), *options]) == 2
    assert message in capsys.readouterr().err


# Charts


def test_a_chart_is_valid_and_its_points_lie_inside():
    spots = [Spot(EVIL, (1.0, 0.5, 2.0), (-1.0, -1.5, -0.5)), Spot("b", (30.0, 20.0, 50.0), (0.2, 0.2, 0.2)),
             Spot("c", (float("nan"),) * 3, (1.0,) * 3)]  # fmt: skip
    drawn = draw_chart(Chart("a < b", "x", "y & z", spots))
    root = ElementTree.fromstring(drawn.replace("\x1b", ""))
    circles = [one for one in root.iter() if one.tag == "circle"]
    assert [float(one.attrib["cx"]) for one in circles] == sorted(float(one.attrib["cx"]) for one in circles)
    assert len(circles) == 2 and all(64 <= float(one.attrib["cx"]) <= 620 for one in circles)
    assert root.find("title").text == "a < b" and "nan" not in drawn
    # the upper value stands higher
    assert float(circles[1].attrib["cy"]) < float(circles[0].attrib["cy"])


def test_a_chart_of_nothing_is_nothing_and_one_of_one_point_is_drawn():
    assert draw_chart(Chart("none", "x", "y")) == ""
    assert draw_chart(Chart("one", "x", "y", [Spot("a", (0.0,) * 3, (0.0,) * 3)])).count("<circle") == 1
    lines = {"loss": [(1.0, 3.0), (2.0, float("nan")), (3.0, 1.0)]}
    drawn = draw_chart(Chart("lines", "step", "nats", lines=lines))
    assert drawn.count("L") == 1 and 'class="line c0"' in drawn


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (-1.6, -0.4, [-1.5, -1.0, -0.5]), (98, 102, [98, 99, 100, 101, 102])],
)
def test_ticks_are_round(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)
