"""The page in a real browser: ask, see the outline first, edit it, fill again, race, fill in a form, be refused."""

import json

import pytest

from planned_diffusion.inference.answer import ask
from planned_diffusion.inference.form import fill_form

pytestmark = pytest.mark.browser
QUESTION = "What are the capital, the currency, the continent and the main language of Kenya?"
# Records what was on the stage whenever it changed.
WATCH = """() => {
  window.seen = [];
  const stage = document.querySelector('.pd-stage');
  new MutationObserver(() => window.seen.push({
    cards: stage.querySelectorAll('.pd-card').length,
    words: stage.querySelectorAll('.pd-part .pd-word').length,
    blanks: stage.querySelectorAll('.pd-blank').length,
    counts: stage.querySelector('.pd-counts')?.textContent,
  })).observe(stage, {subtree: true, childList: true, characterData: true, attributes: true});
}"""


def parts_of(answer) -> list[str]:
    """Return the texts of an answer's parts as the page shows them."""
    return [part["text"].removeprefix(" ") for parts in answer.plans for part in parts]


def test_the_outline_stands_before_any_word_and_then_all_parts_fill(tab, facts):
    alone = ask(facts, QUESTION, {"confidence_threshold": None})
    tab.set_knob("knob-confidence_threshold", 0)  # else this model writes nearly all of it in one forward
    tab.set_knob("pace", 20)
    tab.page.evaluate(WATCH)
    tab.ask(QUESTION)
    assert tab.texts(".pd-part h4") == [part["topic"] for part in alone.plans[0]]
    assert tab.texts(".pd-part .pd-text") == parts_of(alone)
    assert tab.cards() == [(part["topic"], part["length"], True) for part in alone.plans[0]]
    assert tab.forwards() == alone.trace.forwards
    seen = tab.page.evaluate("window.seen")
    with_outline = next(one for one in seen if one["cards"])
    assert with_outline["cards"] == 4 and with_outline["words"] == 0
    assert with_outline["blanks"] == sum(part["length"] for part in alone.plans[0])
    words = [one["words"] for one in seen]
    assert words == sorted(words) and len(set(words)) > 8  # it is seen to fill
    assert f"{alone.trace.tokens} tokens" in tab.texts(".pd-foot")[0]


def test_one_part_is_edited_and_only_that_one_written_again(tab):
    tab.ask(QUESTION)
    before, forwards = tab.texts(".pd-part .pd-text"), tab.forwards()
    tab.page.fill(".pd-card:nth-child(2) .pd-length", "32")
    assert [keep for _, _, keep in tab.cards()] == [True, False, True, True]
    assert tab.texts(".pd-write") == ["Write 1 part"]
    tab.page.evaluate(WATCH)
    tab.click_and_wait(".pd-write")
    after = tab.texts(".pd-part .pd-text")
    assert [after[place] for place in (0, 2, 3)] == [before[place] for place in (0, 2, 3)] and after[1]
    assert tab.forwards() < forwards
    assert tab.cards()[1][1:] == (32, True)
    blanks = [one["blanks"] for one in tab.page.evaluate("window.seen")]
    assert 0 < max(blanks) <= 32  # the others stand from the start


def test_cards_are_renamed_moved_deleted_and_added(tab):
    tab.ask(QUESTION)
    before = dict(zip(tab.texts(".pd-part h4"), tab.texts(".pd-part .pd-text"), strict=True))
    names = [name for name, _, _ in tab.cards()]
    tab.page.locator(".pd-card").nth(3).get_by_label("Move up").click()
    tab.page.locator(".pd-card").nth(0).get_by_label("Delete").click()
    tab.page.click(".pd-add")
    tab.page.locator(".pd-card .pd-topic").last.fill("region")
    assert [name for name, _, _ in tab.cards()] == [names[1], names[3], names[2], "region"]
    tab.click_and_wait(".pd-write")
    after = dict(zip(tab.texts(".pd-part h4"), tab.texts(".pd-part .pd-text"), strict=True))
    assert list(after) == [names[1], names[3], names[2], "region"] and after["region"]
    assert all(after[name] == before[name] for name in list(after)[:3])


@pytest.mark.parametrize(
    ("selector", "value", "sentence"),
    [
        (".pd-topic", " ", "A part has no name; give it one, or delete it."),
        (".pd-length", "", "has no length; give a whole number of tokens, at least 1."),
        (".pd-length", "-3", "has the length -3; give a whole number of tokens, at least 1."),
        (".pd-length", "99999", "There is room for 320 new tokens, but the given plan needs"),
    ],
)
def test_a_nonsensical_outline_is_one_sentence_and_nothing_is_lost(tab, selector, value, sentence):
    tab.ask(QUESTION)
    texts = tab.texts(".pd-part .pd-text")
    tab.page.fill(f".pd-card:first-child {selector}", value)
    cards = tab.cards()
    tab.click_and_wait(".pd-write")
    assert sentence in tab.texts(".pd-note")[0]
    assert tab.cards() == cards and tab.texts(".pd-part .pd-text") == texts
    tab.page.fill(".pd-card:first-child .pd-topic", "capital")
    tab.page.fill(".pd-card:first-child .pd-length", "24")
    tab.page.uncheck(".pd-card:first-child .pd-keep input")
    tab.click_and_wait(".pd-write")
    assert tab.texts(".pd-note") == [""] and tab.texts(".pd-part .pd-text") == texts


def test_a_race_shows_both_answers_in_step(tab, facts):
    own, other = ask(facts, QUESTION, {}), ask(facts, QUESTION, {"decoding": "autoregressive"})
    # Guesses for a plan share their rows with the other answer, which may take forwards more or fewer, and no word.
    together = [facts.request(QUESTION, fields) for fields in ({}, {"decoding": "autoregressive"})]
    forwards = [trace.forwards for _, trace in facts.model.run_requests(together, [])]
    tab.ask(QUESTION, race=True)
    assert tab.texts(".pd-lane h3") == ["planned", "left to right"]
    assert tab.texts(".pd-prose") == [other.text] and tab.texts(".pd-part .pd-text") == parts_of(own)
    assert [tab.forwards(0), tab.forwards(1)] == forwards
    assert tab.texts(".pd-verdict")[0].startswith(f"{forwards[0]} forwards against {forwards[1]}: ")


def test_left_to_right_is_a_plain_answer(tab, facts):
    tab.choose("autoregressive")
    tab.page.wait_for_selector("#knob-length_scale input[type=number]:disabled")  # once the server has answered
    tab.ask(QUESTION)
    assert tab.texts(".pd-prose") == [ask(facts, QUESTION, {"decoding": "autoregressive"}).text]
    assert not tab.page.is_visible(".pd-outline") and not tab.cards()


def test_knobs_change_the_answer_as_fields_do(tab, facts):
    tab.set_knob("knob-length_scale", 2)
    tab.set_knob("knob-confidence_threshold", 0)
    tab.set_knob("pace", 0)
    tab.ask(QUESTION)
    alone = ask(facts, QUESTION, {"length_scale": 2, "confidence_threshold": None})
    assert tab.forwards() == alone.trace.forwards and tab.texts(".pd-part .pd-text") == parts_of(alone)


def test_what_is_typed_at_once_stays(open_tab):
    tab = open_tab(frame_seconds=0.5)  # a browser that is slow to draw
    tab.set_knob("knob-confidence_threshold", 0)
    tab.page.get_by_role("tab", name="Form").click()
    tab.page.fill("#schema textarea", "{}")
    tab.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert tab.page.input_value("#schema textarea") == "{}"
    assert tab.page.input_value("#knob-confidence_threshold input[type=number]") == "0"


def test_tabs_and_the_fold_work_by_keys(tab):
    keys, page = tab.page.keyboard, tab.page
    page.focus("#tabs [aria-selected=true]")
    keys.press("ArrowRight")
    assert page.is_visible("#schema") and not page.is_visible("#question")
    assert page.evaluate("document.activeElement.textContent") == "Form"
    keys.press("ArrowRight")
    assert page.is_visible("#question") and not page.is_visible("#schema")
    for shown in (True, False):
        page.focus("#knobs button")
        keys.press("Enter")
        assert page.is_visible("#decoder") == shown
        assert page.get_attribute("#knobs button", "aria-expanded") == str(shown).lower()


def test_a_form_is_filled_in(tab, facts):
    tab.page.get_by_role("tab", name="Form").click()
    schema = {"type": "object", "properties": {"continent": {"enum": ["Africa", "Asia", "Europe"]}}}
    tab.page.fill("#schema textarea", json.dumps(schema))
    tab.click_and_wait("#fill-form")
    question = tab.page.input_value("#form-question textarea")
    assert json.loads(tab.texts(".pd-object")[0]) == fill_form(facts, question, schema, {})
    for wrong, sentence in (("{", "The schema is no JSON ("), ('{"type": "fish"}', "fish")):
        tab.page.fill("#schema textarea", wrong)
        tab.page.click("#fill-form")
        tab.page.wait_for_function(
            "text => document.querySelector('.pd-note').textContent.includes(text)", arg=sentence
        )


def test_an_empty_question_is_one_sentence(tab):
    tab.ask(QUESTION)
    texts = tab.texts(".pd-part .pd-text")
    tab.ask(" ")
    assert tab.texts(".pd-note") == ["The question is empty; write some text."]
    assert tab.texts(".pd-part .pd-text") == texts


def test_examples_are_questions(tab):
    tab.page.locator("#examples button", has_text="Peru").first.click()
    tab.click_and_wait("#ask")
    assert any("Peru" in text for text in tab.texts(".pd-part .pd-text"))


def test_with_keys_alone(tab):
    keys = tab.page.keyboard
    tab.page.focus("#question textarea")
    keys.press("Control+A")
    keys.type(QUESTION)
    keys.press("Enter")
    tab.wait()
    names = [name for name, _, _ in tab.cards()]
    for _ in range(60):
        keys.press("Tab")
        if tab.page.evaluate("document.activeElement.className") == "pd-topic":
            break
    assert tab.page.evaluate("document.activeElement.getAttribute('aria-label')") == "Name of part 1"
    keys.press("Alt+ArrowDown")
    assert [name for name, _, _ in tab.cards()] == [names[1], names[0], *names[2:]]
    keys.press("Tab")
    keys.press("Tab")
    keys.press("Space")
    assert [keep for _, _, keep in tab.cards()] == [True, False, True, True]
    for _ in range(60):
        keys.press("Tab")
        if "pd-write" in tab.page.evaluate("document.activeElement.className"):
            break
    before = tab.page.get_attribute(".pd-stage", "data-answer")
    keys.press("Enter")
    tab.wait(before)
    assert tab.texts(".pd-part h4") == [names[1], names[0], *names[2:]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_wider_than_the_screen(open_tab, scheme):
    tab = open_tab(390, scheme)
    tab.ask(QUESTION, race=True)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 390
    boxes = tab.page.eval_on_selector_all(
        ".pd-stage *", "all => all.map((one) => one.getBoundingClientRect()).filter((box) => box.right > 390.5).length"
    )
    assert boxes == 0
    tab.page.click("#knobs button")
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 390
