"""Takes the pictures of chat, web page and replay: `python tests/browser/pictures.py [FOLDER]` (`make pictures`).

    terminal.webp                     a chat with the real model: an answer, and its outline edited
    chat-60.png, chat-120.png         the same at its end, on a light and on a dark terminal
    page-1400.png, page-390.png       a race in the middle; a finished answer with its outline, as on a phone
    replay-light.png, replay-dark.png the replay of a race in the middle, and on a phone at its end

FOLDER is build/pictures where none is given, and those that README and docs show go to docs/pictures as well. The chat
is with smollm2-planner where its weights can be had, else with the included model, as the page.
"""

import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from moving_picture import write_moving
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from screens import Recorder, Typed

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "pictures"
SHOWN, SHOWN_FOLDER = ("terminal.webp", "page-1400.png", "replay-light.png"), ROOT / "docs" / "pictures"
QUESTION = "What are the capital, the currency and the main language of Kenya?"
TALK = {
    "smollm2-planner": (
        "Describe giraffes: diet, habitat and appearance.",
        "/plan diet | 50; habitat | 60; how giraffes sleep | 40",
    ),
    "facts": (QUESTION, "/plan capital | 24; currency | 16; continent | 16"),
}
PATIENCE = 120_000  # milliseconds
PNG_COLOURS = 128


def main() -> None:
    """Take all pictures."""
    folder = Path(sys.argv[1]) if sys.argv[1:] else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        chats(browser, folder)
        with shown_page() as url:
            pages(browser, url, folder)
        browser.close()
    for file in sorted(folder.iterdir()):
        print(file, f"{file.stat().st_size / 1000:.0f} kB")
        if file.name in SHOWN and folder == FOLDER:
            shutil.copy(file, SHOWN_FOLDER)


def chats(browser: Browser, folder: Path) -> None:
    """Take the pictures of a chat on terminals of several sizes."""
    model = "smollm2-planner" if has_planner() else "facts"
    for name, columns, rows, is_light in (("terminal", 84, 27, False), ("60", 60, 32, True), ("120", 120, 32, False)):
        recorder = Recorder(columns, rows, is_light)
        lines = [Typed("›", f"{line}\r") for line in TALK[model]]
        recorder.run(["chat", "--model", model], [*lines, Typed("›", "\x04")])
        if name == "terminal":
            write_moving(browser, recorder, folder / "terminal.webp")
        else:
            page = browser.new_page(device_scale_factor=1.5)
            page.set_content(recorder.page)
            page.eval_on_selector("#screen", "(screen, markup) => { screen.innerHTML = markup; }", recorder.last)
            save(page.locator("#screen").screenshot(), folder / f"chat-{name}.png")
            page.close()


def has_planner() -> bool:
    """Tell whether smollm2-planner answers on this machine."""
    command = [sys.executable, "-m", "planned_diffusion", "generate", "Hi", "--model", "smollm2-planner"]
    return subprocess.run([*command, "--max-new-tokens", "2"], cwd=ROOT.parent, capture_output=True).returncode == 0


@contextmanager
def shown_page() -> Iterator[str]:
    """Show the page of the included model; yield its address."""
    command = [sys.executable, "-m", "planned_diffusion", "app", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT.parent) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            yield line.split(" is on ")[1].split()[0]
        finally:
            process.terminate()


def pages(browser: Browser, url: str, folder: Path) -> None:
    """Take the pictures of the page and of its replay."""
    page = opened(browser, url, (1400, 860), "light")
    page.click("#knobs button")
    page.fill("#knob-confidence_threshold input[type=number]", "0")
    page.press("#knob-confidence_threshold input[type=number]", "Tab")
    page.click("#knobs button")
    page.check("#race input")
    page.click("#ask")
    page.wait_for_function("() => document.querySelectorAll('.pd-part .pd-word').length >= 24")
    page.mouse.move(0, 0)
    save(page.screenshot(), folder / "page-1400.png")
    page.wait_for_selector(".pd-below:not([hidden])")
    with tempfile.TemporaryDirectory() as place, page.expect_download() as download:
        page.click(".pd-replay")
        replay = Path(place) / "replay.html"
        download.value.save_as(replay)
        replays(browser, replay.as_uri(), folder)
    page.close()
    page = opened(browser, url, (390, 844), "dark")
    page.click("#ask")
    page.wait_for_selector(".pd-below:not([hidden])")
    page.mouse.move(0, 0)
    save(page.screenshot(full_page=True), folder / "page-390.png")
    page.close()


def replays(browser: Browser, url: str, folder: Path) -> None:
    """Take the pictures of a replay."""
    page = opened(browser, url, (1400, 860), "light")
    half = int(page.get_attribute("#slider", "max") or 0) // 2
    page.goto(f"{url}#{half}")
    page.reload()
    save(page.screenshot(), folder / "replay-light.png")
    page.close()
    page = opened(browser, url, (390, 844), "dark")
    save(page.screenshot(), folder / "replay-dark.png")
    page.close()


def opened(browser: Browser, url: str, size: tuple[int, int], scheme: str) -> Page:
    """Return a page of that size in pixels, with the question typed where there is a place for it."""
    width, height = size
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme, device_scale_factor=1.5)
    page.set_default_timeout(PATIENCE)
    page.goto(url)
    if not url.startswith("file:"):
        page.fill("#question textarea", QUESTION)
    return page


def save(picture: bytes, file: Path) -> None:
    """Write a picture with few colours, which is small."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.quantize(PNG_COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(file, optimize=True)


if __name__ == "__main__":
    main()
