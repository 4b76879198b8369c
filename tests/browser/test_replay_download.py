"""A replay is downloaded from the page, opened from the disk without a server, and stepped: it shows the trace."""

import json

import pytest

from planned_diffusion.inference.answer import ask
from planned_diffusion.inference.recording import Recording
from planned_diffusion.inference.replay.page import replay_page

pytestmark = pytest.mark.browser
QUESTION = "What are the capital and the currency of Peru?"


def downloaded(tab, tmp_path):
    with tab.page.expect_download() as download:
        tab.page.click(".pd-replay")
    file = tmp_path / "replay.html"
    download.value.save_as(file)
    assert download.value.suggested_filename == "replay.html"
    return file


@pytest.mark.parametrize("race", [False, True])
def test_a_replay_opens_from_the_disk_and_shows_the_trace(tab, browser, facts, tmp_path, race):
    tab.ask(QUESTION, race=race)
    file = downloaded(tab, tmp_path)
    assert file.stat().st_size < 300_000
    context = browser.new_context(offline=True)
    page = context.new_page()
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(file.as_uri())
    answer = ask(facts, QUESTION, {})
    other = ask(facts, QUESTION, {"decoding": "autoregressive"})
    last = other.trace.forwards if race else answer.trace.forwards
    assert page.get_attribute("#slider", "max") == str(last)
    assert page.is_visible("#beside") == race

    def texts(selector="#parts .part:not([hidden]) .text"):
        return [
            text.strip() for text in page.eval_on_selector_all(selector, "all => all.map((one) => one.textContent)")
        ]

    page.focus("#slider")
    page.keyboard.press("End")
    assert texts() == [part["text"].strip() for part in answer.plans[0]]
    if race:
        assert texts("#beside-parts .text") == [other.text.strip()]
    page.keyboard.press("Home")
    assert texts() == []  # nothing is laid out yet
    lengths = []
    for forward in range(1, last + 1):
        page.keyboard.press("ArrowRight")
        assert page.input_value("#slider") == str(forward)
        lengths.append(page.locator("#parts .part:not([hidden]) .cell.written").count())
    assert lengths == sorted(lengths) and lengths[0] == 0 and lengths[-1] > 0
    assert texts() == [part["text"].strip() for part in answer.plans[0]]
    rows = page.eval_on_selector_all("#timeline .row-names > *", "all => all.map((one) => one.textContent)")
    assert all(any(part["topic"] in row for row in rows) for part in answer.plans[0])
    context.close()
    assert not complaints


def test_bold_type_in_a_replay(browser, facts, tmp_path):
    recording = Recording(facts.tokenizer)
    answer = ask(facts, QUESTION, {}, [recording.add])
    text = json.dumps(recording.document(answer, {})).replace('" city', '" **city**').replace(" city ", " **city** ")
    file = tmp_path / "bold.html"
    file.write_text(replay_page(json.loads(text)), encoding="utf-8")
    page = browser.new_page()
    page.goto(file.as_uri())
    assert page.locator("#parts .bold").all_text_contents() == ["city"]
    assert "**city**" in page.locator("#parts .text").first.text_content()
    assert "**" not in page.locator("#parts .text").first.inner_text()
    page.close()
