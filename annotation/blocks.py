"""Cut an answer into blocks: headings, list items, paragraphs and code, line by line; the text never changes.

Every character belongs to exactly one block. White space between two blocks opens the later one, as in the records of
the package (`<async>An aurora ...</async><async> It is ...</async>`), so any grouping of neighbours gives the text
back.
"""

import re
from dataclasses import dataclass

from . import phrases

HEADING, ITEM, PARAGRAPH, CODE = "heading", "item", "paragraph", "code"

_FENCE = re.compile(r"[ \t]*(```|~~~)")
# "## Tea", "**Tea**", "__Tea__:"
_HEADING = re.compile(r"[ \t]{0,3}(?:(#{1,6})[ \t]+\S|(\*\*|__)(?=\S)[^*_\n]{1,80}(?<=\S)\2:?[ \t]*$)")
# Families of list markers, with examples; a list goes on with its own family.
_MARKERS = (
    ("step", r"(?:step|day|week|month|phase|stage|round|level)[ \t]+\d{1,2}\b"),  # Step 2
    ("word", r"(?:tip|reason|option|idea|part|question|example|method|rule|point|item|fact)[ \t]+\d{1,2}\b"),  # Tip 2
    ("number", r"\(?\d{1,3}(?:[.)](?!\d)|:(?=[ \t]))"),  # 2. or 2) or (2) or "2: ", but not 2.5
    ("bullet", r"[-*+\u2013\u2014](?=[ \t])|[\u2022\u2023\u25aa\u25cf\u25cb\u00b7]"),  # "- " or "* "
    ("letter", r"\(?[a-h][.)](?=[ \t])"),  # "b) "
    ("roman", r"(?:i{1,3}|iv|v|vi{1,3}|ix|x)\.(?=[ \t])"),  # "iv. "
)
_ITEM = re.compile(
    r"([ \t]*)(?:\*\*|__)?(?:" + "|".join(f"(?P<{name}>{spelling})" for name, spelling in _MARKERS) + r")",
    re.IGNORECASE,
)
_TAB = 4  # columns
LABEL_WORDS = 12  # a line of at most so many words and a colon is a title


@dataclass(frozen=True, slots=True)
class Block:
    """A block of an answer, text[start:stop].

    `level` is a heading's depth or an item's indentation in columns, `marker` the family of an item's marker.
    """

    kind: str
    start: int
    stop: int
    level: int
    marker: str
    after_blank: bool


@dataclass(slots=True)
class _Opening:
    """The beginning of a block whose end is not known yet."""

    kind: str
    start: int
    level: int
    marker: str
    after_blank: bool


def blocks_of(text: str) -> list[Block]:
    """Return the blocks of a text, in order, covering all of it; [] where there is only white space."""
    opened: list[_Opening] = []
    place = end_of_content = 0
    fence, after_blank = None, False  # the fence that closes the code under way
    for line in text.splitlines(keepends=True):
        content = line.rstrip()
        if fence:
            fence = None if content.lstrip().startswith(fence) else fence
        elif content:
            kind, level, marker = _kind(content)
            if kind is not PARAGRAPH or _opens_paragraph(opened, line, after_blank):
                opened.append(_Opening(kind, end_of_content if opened else 0, level, marker, after_blank))
            fence = content.lstrip()[:3] if kind is CODE else None
        if content or fence:
            end_of_content = place + len(content)
        after_blank = not content
        place += len(line)
    stops = [*(one.start for one in opened[1:]), len(text)][: len(opened)]
    return [
        Block(one.kind, one.start, stop, one.level, one.marker, one.after_blank)
        for one, stop in zip(opened, stops, strict=True)
    ]


def is_label(text: str) -> bool:
    """Tell whether a text is a title with a colon behind it, as "Ingredients:"."""
    return text.rstrip(" \t\r\n*_").endswith(":") and len(text.split()) <= LABEL_WORDS


def is_conclusion(text: str) -> bool:
    """Tell whether a text begins, behind its markers, with words that only a conclusion begins with."""
    return phrases.CONCLUSION.match(text.lstrip()) is not None


def _kind(line: str) -> tuple[str, int, str]:
    """Return kind, level and marker of a block that would open with this line."""
    if _FENCE.match(line):
        return CODE, 0, ""
    if item := _ITEM.match(line):
        return ITEM, len(item[1].expandtabs(_TAB)), item.lastgroup or ""
    if heading := _HEADING.match(line):
        return HEADING, len(heading[1]) if heading[1] else 7, ""
    return PARAGRAPH, 0, ""


def _opens_paragraph(opened: list[_Opening], line: str, after_blank: bool) -> bool:
    """Tell whether an ordinary line begins a paragraph, rather than going on with the block before it."""
    if not opened or opened[-1].kind in (HEADING, CODE):
        return True
    is_indented, is_item = line[:1] in " \t", opened[-1].kind is ITEM
    if after_blank:
        return not (is_item and is_indented)
    return not is_indented and (is_conclusion(line) or (is_item and is_label(line)))
