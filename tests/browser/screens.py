"""Screens of a terminal: what a command shows on a terminal of a given size, one picture after the other.

A command runs on a pseudo-terminal; pyte keeps the screen, and Chromium draws it.
"""

import fcntl
import html
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyte
from pyte.screens import Char

ROOT = Path(__file__).resolve().parents[2]
READ_SECONDS = 0.04  # what a command prints in less is one screen
PATIENCE_SECONDS = 120
ANSI = {
    "black": "#1c1c1f", "red": "#e0708a", "green": "#7fd0a5", "brown": "#e0bd62", "blue": "#8ab0ff",
    "magenta": "#c8a2f0", "cyan": "#6fcfd9", "white": "#d9d7d2", "default": "#d9d7d2", "brightblack": "#8b8993",
}  # fmt: skip
LIGHT_ANSI = {
    "black": "#1d1d1f", "red": "#b3264a", "green": "#2a8459", "brown": "#8a6508", "blue": "#2f66c9",
    "magenta": "#8a4fbf", "cyan": "#0d7380", "white": "#5c5a55", "default": "#1d1d1f", "brightblack": "#77746d",
}  # fmt: skip
PAGE = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: {ground}; }}
pre {{ margin: 0; padding: 16px 20px; color: {ink}; font: 14px/1.36 "DejaVu Sans Mono", monospace; }}
pre {{ width: max-content; }}
</style><pre id="screen"></pre>"""


@dataclass(frozen=True)
class Typed:
    """Text to type once the last line that is not empty is `once`."""

    once: str
    text: str
    seconds_per_key: float = 0.05


@dataclass(frozen=True)
class Shot:
    """A screen as HTML, and the seconds at which it appeared."""

    at: float
    markup: str


class Screen(pyte.Screen):
    """A screen on which faint text is grey; pyte knows no other faintness."""

    def select_graphic_rendition(self, *attributes: int, **given: bool) -> None:
        """Set how the next letters look."""
        if not {38, 48} & set(attributes):  # behind these a 2 is part of a colour
            attributes = tuple(90 if one == 2 else one for one in attributes)
        super().select_graphic_rendition(*attributes, **given)


class Recorder:
    """A command on a pseudo-terminal, and all screens that it showed.

    Args:
        columns, rows: of the terminal.
        is_light: draw dark letters on a light ground.
    """

    def __init__(self, columns: int, rows: int, is_light: bool = False) -> None:
        self.screen = Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.colours = LIGHT_ANSI if is_light else ANSI
        self.ground = "#ffffff" if is_light else "#161618"
        self.shots: list[Shot] = []

    @property
    def page(self) -> str:
        """An HTML page with an element #screen, for the markup of a shot."""
        return PAGE.format(ground=self.ground, ink=self.colours["default"])

    @property
    def last(self) -> str:
        """The last screen as HTML."""
        return self.shots[-1].markup

    def run(self, arguments: Sequence[str], typed: Sequence[Typed] = (), **environment: str) -> None:
        """Run planned-diffusion with arguments, type, and keep every screen until it ends.

        Raises:
            TimeoutError: the screen did not change for two minutes.
        """
        here, there = pty.openpty()
        size = struct.pack("HHHH", self.screen.lines, self.screen.columns, 0, 0)
        fcntl.ioctl(there, termios.TIOCSWINSZ, size)
        known = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "", "LINES": "", **environment}
        process = subprocess.Popen(
            [sys.executable, "-m", "planned_diffusion", *arguments],
            stdin=there, stdout=there, stderr=there, cwd=ROOT.parent, env=known, start_new_session=True,
        )  # fmt: skip
        os.close(there)
        started = time.monotonic()
        try:
            for one in typed:
                while not self._ends_with(one.once):
                    self._read(here, started)
                for key in one.text:
                    os.write(here, key.encode())
                    self._read(here, started, one.seconds_per_key)
            while self._read(here, started):
                pass
        finally:
            process.terminate()
            process.wait()
            os.close(here)

    def _ends_with(self, text: str) -> bool:
        lines = [line for line in (line.strip() for line in self.screen.display) if line]
        return lines[-1:] == [text]

    def _read(self, here: int, started: float, seconds: float = PATIENCE_SECONDS) -> bool:
        """Take in what is printed next; return whether there was anything."""
        ready, _, _ = select.select([here], [], [], seconds)
        if not ready:
            if seconds == PATIENCE_SECONDS:
                raise TimeoutError(f"nothing was printed for {seconds} seconds:\n" + "\n".join(self.screen.display))
            return False
        until, told = time.monotonic() + READ_SECONDS, b""
        while ready and time.monotonic() < until:
            try:
                piece = os.read(here, 65536)
            except OSError:  # the command has ended
                piece = b""
            if not piece:
                return False
            told += piece
            ready, _, _ = select.select([here], [], [], READ_SECONDS / 4)
            if b"\x1b[6n" in piece:  # where is the cursor?
                os.write(here, f"\x1b[{self.screen.cursor.y + 1};{self.screen.cursor.x + 1}R".encode())
        self.stream.feed(told)
        markup = self.markup()
        if not self.shots or self.shots[-1].markup != markup:
            self.shots.append(Shot(time.monotonic() - started, markup))
        return True

    def markup(self) -> str:
        """Return the screen as HTML, a line per row."""
        return "\n".join(self._line(row) for row in range(self.screen.lines))

    def _line(self, row: int) -> str:
        cells, pieces = self.screen.buffer[row], []
        before, text = "", ""
        for column in range(self.screen.columns):
            style = self._style(cells[column])
            if style != before:
                pieces.append(f'<span style="{before}">{html.escape(text)}</span>' if before else html.escape(text))
                before, text = style, ""
            text += cells[column].data
        pieces.append(f'<span style="{before}">{html.escape(text)}</span>' if before else html.escape(text))
        return "".join(pieces)

    def _style(self, cell: Char) -> str:
        ink, ground = self._colour(cell.fg), "" if cell.bg == "default" else self._colour(cell.bg)
        if cell.reverse:
            ink, ground = self.ground, ink
        styles = {
            "color": "" if ink == self.colours["default"] else ink,
            "background": ground,
            "font-weight": "700" if cell.bold else "",
        }
        return ";".join(f"{name}:{value}" for name, value in styles.items() if value)

    def _colour(self, name: str) -> str:
        return self.colours.get(name) or (f"#{name}" if len(name) == 6 else self.colours["default"])
