"""Takes the pictures of the web page: `python tests/browser/pictures.py [FOLDER]` (`make pictures`).

    page-1400.png   a race in the middle, light, as on a desk
    page-390.png    the finished answer with its outline, dark, as on a phone

It starts a page of the included model and looks at it with Chromium; FOLDER is docs/pictures where none is given.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "pictures"
QUESTION = "What are the capital, the currency and the main language of Kenya?"
PATIENCE = 120_000  # milliseconds


def main() -> None:
    """Take both pictures."""
    folder = Path(sys.argv[1]) if sys.argv[1:] else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with shown_page() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        picture(browser, url, folder / "page-1400.png", (1400, 860), in_the_middle=True)
        picture(browser, url, folder / "page-390.png", (390, 844), scheme="dark")
        browser.close()


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


def picture(
    browser: Browser,
    url: str,
    file: Path,
    size: tuple[int, int],
    scheme: str = "light",
    in_the_middle: bool = False,
) -> None:
    """Take a picture of a page that answers: a race in the middle, without thresholds, or an answer at its end."""
    page = browser.new_page(
        viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, device_scale_factor=1.5
    )
    page.set_default_timeout(PATIENCE)
    page.goto(url)
    page.fill("#question textarea", QUESTION)
    if in_the_middle:
        page.click("#knobs button")
        page.fill("#knob-confidence_threshold input[type=number]", "0")
        page.press("#knob-confidence_threshold input[type=number]", "Tab")
        page.click("#knobs button")
        page.check("#race input")
    page.click("#ask")
    if in_the_middle:
        page.wait_for_function("() => document.querySelectorAll('.pd-part .pd-word').length >= 24")
    else:
        page.wait_for_selector(".pd-below:not([hidden])")
    page.mouse.move(0, 0)
    page.screenshot(path=file, full_page=not in_the_middle)
    page.close()
    print(file)


if __name__ == "__main__":
    main()
