"""Several people at the page: a queue that is told, slots that come free when a page closes, single answers."""

import time

import pytest

from planned_diffusion.inference.answer import ask

pytestmark = pytest.mark.browser
QUESTION = "What are the capital, the currency, the continent and the main language of Kenya?"
LONG = f"{'Kenya ' * 100}: {QUESTION}"  # answered left to right, it goes on until a limit
PLACES = """() => {
  window.places = [];
  const stage = document.querySelector('.pd-stage');
  new MutationObserver(() => window.places.push(stage.querySelector('.pd-counts')?.textContent))
    .observe(stage, {subtree: true, childList: true, characterData: true});
}"""
COUNTRIES = ("Peru", "Japan", "Kenya", "Norway")


@pytest.fixture(scope="module")
def narrow_url(start_page):
    """A page whose engine runs one answer at a time, and takes few questions."""
    return start_page("--live", 1, "--queue", 2)


def test_closing_the_page_in_the_middle_frees_the_slots(open_tab, narrow_url, metric, idle):
    tab = open_tab(url=narrow_url)
    tab.set_knob("pace", 0)
    tab.choose("autoregressive")
    tab.ask(LONG, done=False)
    tab.page.wait_for_selector(".pd-word")
    tab.page.close()
    assert idle(narrow_url) == (0, 0)
    end = time.monotonic() + 10
    while metric(narrow_url, "answers_ended_total") < 1 and time.monotonic() < end:
        time.sleep(0.1)
    assert metric(narrow_url, "answers_ended_total", end="dropped") == 1


def test_stop_ends_the_answer_and_the_page_goes_on(open_tab, narrow_url, idle, facts):
    tab = open_tab(url=narrow_url)
    tab.set_knob("pace", 0)
    tab.choose("autoregressive")
    tab.ask(LONG, done=False)
    tab.page.wait_for_selector(".pd-word")
    tab.page.click("#stop")
    tab.page.wait_for_function("() => document.querySelector('.pd-foot').textContent === 'stopped'")
    assert idle(narrow_url) == (0, 0)
    tab.ask(QUESTION)
    assert tab.texts(".pd-prose") == [ask(facts, QUESTION, {"decoding": "autoregressive"}).text]


def test_who_waits_is_told_the_place(open_tab, narrow_url):
    first, second = open_tab(url=narrow_url), open_tab(url=narrow_url)
    for tab in (first, second):
        tab.set_knob("pace", 0)
    second.page.evaluate(PLACES)
    first.choose("autoregressive")
    first.ask(LONG, done=False)
    first.page.wait_for_selector(".pd-word")
    second.ask(QUESTION)
    assert "waiting, place 1 in the queue" in second.page.evaluate("window.places")
    first.wait()


def test_several_people_at_once_get_their_single_answers(open_tab, facts, page_url, idle):
    questions = [f"Which currency and which capital does {name} have?" for name in COUNTRIES]
    tabs = [open_tab() for _ in questions]
    for tab, question in zip(tabs, questions, strict=True):
        tab.page.fill("#question textarea", question)
    for tab in tabs:
        tab.page.evaluate("document.querySelector('#ask').click()")  # all within a moment
    for tab, question in zip(tabs, questions, strict=True):
        tab.wait()
        alone = ask(facts, question, {})
        assert tab.texts(".pd-part .pd-text") == [part["text"].removeprefix(" ") for part in alone.plans[0]]
        assert tab.forwards() == alone.trace.forwards
    assert idle(page_url) == (0, 0)
