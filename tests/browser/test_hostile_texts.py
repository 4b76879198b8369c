"""Whatever a question, a name or a token spells is text on the page: no element and no script comes of it."""

import json

import pytest

from planned_diffusion.app.stage import stage_script

pytestmark = pytest.mark.browser
HOSTILE = (
    "<img src=x onerror=\"document.title='hit'\">",
    "<script>document.title='hit'</script>",
    "</p></section><h1>out</h1>",
    "\x1b[31mred\x1b[0m \x1b]0;title\x07",
    "\u202egnitirw \u05d0\u05d1\u05d2 \u0645\u0631\u062d\u0628\u0627",
    "\U0001f992 \U0001f468\u200d\U0001f469\u200d\U0001f467 \ufffd e\u0301",
    "${7*7} {{7*7}} `x` \\u003cb\\u003e __proto__ constructor",
    "a\nb\tc   d",
)
SAFE = """() => ({
  title: document.title, elements: document.querySelectorAll('.pd-stage img, .pd-stage script, .pd-stage h1').length,
})"""


@pytest.mark.parametrize("text", HOSTILE)
def test_names_and_questions_are_text(tab, text):
    title = tab.page.title()
    tab.set_knob("pace", 0)
    tab.ask(f"What is the capital of Kenya? {text}")
    if not tab.cards():  # it answered without a plan
        return
    tab.page.fill(".pd-card:first-child .pd-topic", text)
    tab.click_and_wait(".pd-write")
    assert tab.page.evaluate(SAFE) == {"title": title, "elements": 0}
    if tab.texts(".pd-note") == [""]:
        assert tab.texts(".pd-part h4")[0].split() == tab.cards()[0][0].split()


def stage_alone(page) -> None:
    """Show the stage without Gradio; `window.take(view)` gives it a view, `window.filled` is what it sends."""
    page.set_content('<!doctype html><html><body><div id="root"><div class="pd-stage"></div></div></body></html>')
    page.evaluate(
        """(script) => {
          const props = {value: null};
          const watchers = [];
          new Function('element', 'props', 'watch', 'trigger', script)(
            document.getElementById('root'), props, (name, call) => watchers.push(call),
            (name, data) => { window.filled = data; });
          window.take = (view) => { props.value = view; watchers.forEach((call) => call()); };
        }""",
        stage_script(),
    )


def frames_with(text: str) -> list[str]:
    """Return the frames of an answer with a text in every place that a model or a person fills."""
    part = {"topic": text, "length": 4, "start": 10, "stop": 14, "given": [[10, text]]}
    changes = [
        [["plan", text]],
        [["outline", 0, [part]]],
        [["write", [11, 12], [text, "x"], [0.5, -0.25]], ["drafts", [3], [1]]],
        [["blank", [12]]],
        [["write", [12, 13], [text, ""], [0.5, 1]], ["closed", 0, 0, text * 3], ["text", text]],
        [["end", "eos", text, text, {"forwards": 6, "tokens": 3}, {
            "first_outline_word": 0.1, "first_final_word": 0.2, "last_word": 0.3}]],
    ]  # fmt: skip
    return [json.dumps({"at": 0.1 * at, "forwards": at, "changes": one}) for at, one in enumerate(changes)]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("form", [False, True])
def test_tokens_are_text_in_every_place(browser, text, form):
    page = browser.new_page()
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    stage_alone(page)
    lane = {"decoding": "planned", "form": form, "waiting": 0, "frames": frames_with(text)}
    view = {"run": "1", "lanes": [lane], "name": "abc", "note": text, "pace": 0}
    page.evaluate("(view) => window.take(view)", view)
    page.wait_for_selector(".pd-below:not([hidden])", state="attached")
    assert page.evaluate(SAFE) == {"title": "", "elements": 0}
    assert page.text_content(".pd-part h4") == text and page.text_content(".pd-note") == text
    assert page.text_content(".pd-part .pd-text") == text * 3
    assert page.text_content(".pd-object" if form else ".pd-lane .pd-prose") == text
    if not form:
        assert page.input_value(".pd-topic") == text.replace("\n", "")
        page.uncheck(".pd-keep input")
        page.click(".pd-write")
        sent = page.evaluate("window.filled")
        assert sent["name"] == "abc" and sent["outline"][0][0]["was"] == [0, 0]
    page.close()
    assert not complaints


def test_bold_type_and_no_empty_lines(browser):
    page = browser.new_page()
    stage_alone(page)
    written = ["\n\n", "**", "Diet", "**: ", "2 * 3", "**", "\n"]
    part = {"topic": "diet", "length": 7, "start": 10, "stop": 17, "given": []}
    steps = [
        [["outline", 0, [part]]],
        [["write", [10, 11, 12], written[:3], [1, 1, 1]]],
        [["write", [13, 14, 15, 16], written[3:], [1, 1, 1, 1]]],
    ]
    shown = []
    for stop in range(2, len(steps) + 1):
        frames = [
            json.dumps({"at": 0.1, "forwards": at, "changes": changes}) for at, changes in enumerate(steps[:stop])
        ]
        lane = {"decoding": "planned", "form": False, "waiting": 0, "frames": frames}
        page.evaluate("(view) => window.take(view)", {"run": "1", "lanes": [lane], "name": None, "note": None})
        page.wait_for_function(
            "count => document.querySelector('.pd-counts').textContent.startsWith(`${count} `)", arg=stop - 1
        )
        shown.append((page.text_content(".pd-part .pd-text"), page.locator(".pd-part .bold").all_text_contents()))
    assert shown == [("**Diet", []), ("**Diet**: 2 * 3**", ["Diet"])]
    page.close()
