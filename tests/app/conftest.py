"""Desks in this process: of the included model, and of a tiny random one without tags; no page and no browser."""

import asyncio
import contextlib
import copy
import json
import time
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the page needs fastapi")
pytest.importorskip("prometheus_client", reason="the page needs prometheus-client")

from planned_diffusion.app.desk import Desk, told
from planned_diffusion.app.page_server import page_limits
from planned_diffusion.inference.answer import Checkpoint, open_checkpoint
from planned_diffusion.inference.server.service import Service

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


class Asked:
    """A desk that tests ask; each call runs an event loop of its own."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def views(self, make) -> list[dict]:
        """Return all views of what is asked, refusals as the page gets them."""
        [views] = self.at_once([make])
        return views

    def at_once(self, makers) -> list[list[dict]]:
        """Ask several things at the same time; return the views of each."""

        async def collected(make):
            return [view async for view in told(make)]

        async def all_collected():
            return await asyncio.gather(*map(collected, makers))

        return asyncio.run(all_collected())

    def ask(self, prompt: str, *fields, plan=None) -> dict:
        """Return the last view of a question."""
        return self.views(lambda: self.desk.ask(prompt, fields or [{}], plan))[-1]

    def fill(self, name, outline, **fields) -> dict:
        """Return the last view of an edited outline."""
        return self.views(lambda: self.desk.fill_outline(name, outline, fields))[-1]

    @property
    def held(self) -> tuple[int, int, int]:
        """Return answers in the engine, slots of its cache, and places that are taken, once the orders are done."""
        engine = self.desk.service.engine.engines[self.desk.model.name]
        end = time.monotonic() + 10
        while time.monotonic() < end and (len(engine) or engine.slots):
            time.sleep(0.01)
        return len(engine), engine.slots, self.desk.service.admission.taken.get(self.desk.model.name, 0)


@contextlib.contextmanager
def opened_desk(name, checkpoint, limits=None):
    desk = Desk(Service.of({name: checkpoint}, limits or page_limits()))
    desk.service.engine.start()
    try:
        yield Asked(desk)
    finally:
        desk.service.admission.close()


@pytest.fixture(scope="session")
def open_desk():
    """open_desk(name, checkpoint, limits) -> a context with an `Asked` desk."""
    return opened_desk


@pytest.fixture(scope="session")
def facts() -> Checkpoint:
    """The included model."""
    return open_checkpoint(str(ROOT / "checkpoints" / "facts"), "float32", "cpu")


@pytest.fixture(scope="session")
def facts_desk(facts):
    """A desk of the included model."""
    with opened_desk("facts", facts) as asked:
        yield asked


@pytest.fixture(scope="session")
def plain(build_model, byte_tokenizer) -> Checkpoint:
    """A random model without tags, which cannot plan."""
    tokenizer = copy.deepcopy(byte_tokenizer)
    tokenizer.chat_template = TEMPLATE
    return Checkpoint(build_model(plans=False, eos_token_id=100), tokenizer, "plain")


class Folded:
    """Frames folded the slow and obvious way: cells by position, parts by their range."""

    def __init__(self, lane: dict) -> None:
        self.cells, self.parts, self.closed, self.text, self.kinds, self.steps = {}, [], {}, "", [], []
        self.end = None
        self.times, self.forwards = [], 0
        for frame in map(json.loads, lane["frames"]):
            self.times.append(frame["at"])
            self.forwards = frame["forwards"]
            for kind, *rest in frame["changes"]:
                self.kinds.append(kind)
                self._take(kind, rest)

    def _take(self, kind, rest):
        if kind in ("outline", "blanks"):
            number, parts = rest
            for index, part in enumerate(parts):
                self.parts.append((number, index, part))
                self.cells |= dict.fromkeys(range(part["start"], part["stop"]))
                self.cells |= dict(part["given"])
        elif kind == "write":
            positions, texts, scores = rest
            assert len(positions) == len(texts) == len(scores)
            self.steps.append(positions)
            self.cells |= dict(zip(positions, texts, strict=True))
        elif kind == "blank":
            self.cells |= dict.fromkeys(rest[0])
        elif kind == "closed":
            number, index, text = rest
            self.closed[number, index] = text
        elif kind == "text":
            self.text += rest[0]
        elif kind == "end":
            self.end = dict(zip(("reason", "text", "rest", "counts", "felt"), rest, strict=True))

    def spans(self) -> list[range]:
        """Return the positions of every part."""
        return [range(part["start"], part["stop"]) for _, _, part in self.parts]

    def part_text(self, part: dict) -> str:
        """Return what stands in the cells of a part."""
        return "".join(self.cells[position] for position in range(part["start"], part["stop"]))


@pytest.fixture(scope="session")
def folded():
    """folded(lane) -> its frames, folded."""
    return Folded
