"""A moving picture of what a terminal showed, small enough for a README."""

import io
import math
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser
from screens import Recorder, Shot

SCALE = 1.25  # pixels of the picture per pixel of the page
SHORTEST_SECONDS = 0.36  # of what happened, in a picture
FASTER = 2  # than it was
LAST_SECONDS = 4.0
LONGEST_SECONDS = 1.5  # nobody waits for a model to load


def write_moving(browser: Browser, recorder: Recorder, file: Path) -> None:
    """Write the screens of a recorder as a WebP file, twice as fast as they came, without long waits."""
    page = browser.new_page(device_scale_factor=SCALE)
    page.set_content(recorder.page)
    page.eval_on_selector("#screen", "(screen, markup) => { screen.innerHTML = markup; }", recorder.last)
    shots = thinned(recorder.shots)
    box = page.locator("#screen").bounding_box()
    assert box is not None
    page.set_viewport_size({"width": math.ceil(box["width"]), "height": math.ceil(box["height"])})
    images = []
    for shot in shots:
        page.eval_on_selector("#screen", "(screen, markup) => { screen.innerHTML = markup; }", shot.markup)
        images.append(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
    page.close()
    waits = [min(LONGEST_SECONDS, after.at - shot.at) for shot, after in zip(shots, shots[1:], strict=False)]
    images[0].save(
        file, save_all=True, append_images=images[1:], loop=0, lossless=True, method=6,
        duration=[*(round(1000 * seconds / FASTER) for seconds in waits), round(1000 * LAST_SECONDS)],
    )  # fmt: skip


def thinned(shots: list[Shot]) -> list[Shot]:
    """Return the screens that stood for a while, and the last."""
    kept: list[Shot] = []
    for shot in shots:
        if kept and shot.at - kept[-1].at < SHORTEST_SECONDS:
            kept[-1] = Shot(kept[-1].at, shot.markup)
        else:
            kept.append(shot)
    return kept
