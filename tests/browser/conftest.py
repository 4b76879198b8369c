"""A page of the included model in a process of its own, and tabs of a real browser (Playwright driving Chromium).

A tab fails its test where the console told an error, a script failed, or anything was asked of another machine.
"""

import re
import shutil
import time
import urllib.request
from pathlib import Path

import pytest

from planned_diffusion.inference.answer import Checkpoint, open_checkpoint

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is missing; run make test-browser")
ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
STAGE = ".pd-stage"
SLOW_FRAMES = "window.requestAnimationFrame = (call) => setTimeout(() => call(performance.now()), %d)"
PATIENCE = 60_000  # milliseconds; a busy machine stops for seconds


@pytest.fixture(scope="session")
def browser():
    """Chromium without a window."""
    if CHROMIUM is None:
        pytest.skip("Chromium is missing; run make test-browser")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def page_url(start_page):
    """The address of a page of the included model."""
    return start_page()


@pytest.fixture(scope="session")
def facts() -> Checkpoint:
    """The included model, to compare with."""
    return open_checkpoint(str(ROOT / "checkpoints" / "facts"), "float32", "cpu")


class Tab:
    """A tab that shows the page, and what it complained about."""

    def __init__(self, page: "sync_api.Page", url: str) -> None:
        self.page, self.url = page, url
        self.complaints: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))
        page.on("request", self._request)

    def _console(self, message) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"console: {message.text}")

    def _request(self, request) -> None:
        if not re.match(rf"{re.escape(self.url)}|data:|blob:|file:", request.url):
            self.complaints.append(f"asked elsewhere: {request.url}")

    def open(self) -> "Tab":
        self.page.goto(self.url)
        self.page.wait_for_selector("#ask")
        self.page.wait_for_selector(".pd-board", state="attached")
        return self

    def ask(self, question: str, done: bool = True, race: bool = False) -> None:
        """Ask a question; wait for the end of the answer where `done`."""
        self.page.fill("#question textarea", question)
        self.page.set_checked("#race input", race)
        if done:
            self.click_and_wait("#ask")
        else:
            self.page.click("#ask")

    def click_and_wait(self, selector: str) -> None:
        """Click on something that asks; wait until another answer has been shown whole, or a refusal is there."""
        before = self.page.get_attribute(STAGE, "data-answer")
        self.page.eval_on_selector(".pd-note", "note => { note.textContent = ''; }")
        self.page.click(selector)
        self.wait(before)

    def wait(self, before: str | None = None) -> None:
        """Wait until an answer has been shown whole, other than the one before, or a refusal is there."""
        self.page.wait_for_function(
            f"""before => {{
              const answer = document.querySelector('{STAGE}').dataset.answer;
              return (answer && answer !== before) || document.querySelector('.pd-note').textContent;
            }}""",
            arg=before,
        )

    def set_knob(self, name: str, value: float) -> None:
        """Turn a knob in the folded panel."""
        if not self.page.is_visible("#decoder"):
            self.page.click("#knobs button")
        self.page.fill(f"#{name} input[type=number]", str(value))
        self.page.press(f"#{name} input[type=number]", "Tab")

    def choose(self, decoding: str) -> None:
        """Choose a decoder."""
        if not self.page.is_visible("#decoder"):
            self.page.click("#knobs button")
        self.page.click("#decoder input")
        self.page.get_by_role("option", name=decoding, exact=True).click()

    def texts(self, selector: str) -> list[str]:
        """Return the texts of all elements."""
        return self.page.eval_on_selector_all(selector, "all => all.map((one) => one.textContent)")

    def cards(self) -> list[tuple[str, int, bool]]:
        """Return name, length and keep of every card."""
        script = """all => all.map((card) => [card.querySelector('.pd-topic').value,
            Number(card.querySelector('.pd-length').value), card.querySelector('.pd-keep input').checked])"""
        return [tuple(card) for card in self.page.eval_on_selector_all(".pd-card", script)]

    def forwards(self, lane: int = 0) -> int:
        """Return the forwards that a lane tells."""
        return int(self.texts(".pd-counts")[lane].split()[0])


@pytest.fixture
def open_tab(browser, page_url):
    """open_tab(width=1400, scheme="light", url=None, frame_seconds=None) -> a `Tab` of its own visitor."""
    opened = []

    def open_one(
        width: int = 1400, scheme: str = "light", url: str | None = None, frame_seconds: float | None = None
    ) -> Tab:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        if frame_seconds is not None:
            context.add_init_script(SLOW_FRAMES % (1000 * frame_seconds))
        tab = Tab(context.new_page(), url or page_url)
        opened.append((context, tab))
        return tab.open()

    yield open_one
    for context, _ in opened:
        context.close()
    assert not [complaint for _, tab in opened for complaint in tab.complaints]


@pytest.fixture
def tab(open_tab):
    """A tab of 1400 pixels."""
    return open_tab()


@pytest.fixture(scope="session")
def metric():
    """metric(url, "answers", end="dropped") -> a number of the page's /metrics, summed over all with these labels."""

    def read(url: str, name: str, **labels: str) -> float:
        text = urllib.request.urlopen(f"{url}/metrics", timeout=30).read().decode()
        lines = re.findall(rf"^planned_diffusion_{name}({{.*}}) (\S+)$", text, re.MULTILINE)
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(float(number) for found, number in lines if all(one in found for one in wanted))

    return read


@pytest.fixture(scope="session")
def idle(metric):
    """idle(url): wait until nothing is in the engine; return answers and slots that are left."""

    def wait(url: str) -> tuple[float, float]:
        end = time.monotonic() + 30
        while (left := (metric(url, "answers"), metric(url, "cache_slots"))) != (0, 0) and time.monotonic() < end:
            time.sleep(0.1)
        return left

    return wait
