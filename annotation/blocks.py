"""An answer as blocks: headings, list items, paragraphs and code, found line by line; the text itself is never changed.

Every character belongs to exactly one block. White space between two blocks opens the later one, as in the records of
the package (`<async>An aurora ...</async><async> It is ...</async>`), so any grouping of neighbours gives the text
back.
"""

import re
from dataclasses import dataclass

HEADING, ITEM, PARAGRAPH, CODE = "heading", "item", "paragraph", "code"

_FENCE = re.compile(r"[ \t]*(```|~~~)")
_HEADING = re.compile(r"[ \t]{0,3}(?:(#{1,6})[ \t]+\S|(\*\*|__)(?=\S)[^*_\n]{1,80}(?<=\S)\2:?[ \t]*$)")
# Families of list markers and how they are spelled; a list goes on with its own family.
_MARKERS = (
    ("step", r"(?:step|day|week|month|phase|stage|round|level)[ \t]+\d{1,2}\b"),
    ("word", r"(?:tip|reason|option|idea|part|question|example|method|rule|point|item|fact)[ \t]+\d{1,2}\b"),
    ("number", r"\(?\d{1,3}(?:[.)](?!\d)|:(?=[ \t]))"),
    ("bullet", r"[-*+\u2013\u2014](?=[ \t])|[\u2022\u2023\u25aa\u25cf\u25cb\u00b7]"),
    ("letter", r"\(?[a-h][.)](?=[ \t])"),
    ("roman", r"(?:i{1,3}|iv|v|vi{1,3}|ix|x)\.(?=[ \t])"),
)
_ITEM = re.compile(
    r"([ \t]*)(?:\*\*|__)?(?:" + "|".join(f"(?P<{name}>{spelling})" for name, spelling in _MARKERS) + r")",
    re.IGNORECASE,
)
_TAB = 4  # columns
LABEL_WORDS = 12  # a line of at most so many words and a colon is the title of what follows it
_CONCLUSION = re.compile(
    r"(?:[-#*_+\u2022\u2013\u2014\s]|\(?(?:\d{1,2}|[a-z]|[ivx]{1,4})[.):])*"  # of headings and items
    r"(?:in (?:conclusion|summary|closing|short|a nutshell|the end)|overall|ultimately|"
    r"to (?:conclude|sum up|summari[sz]e|recap|wrap up)|all in all|conclusion)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Block:
    """text[start:stop]; `level` is a heading's depth or an item's indentation in columns, `marker` its family."""

    kind: str
    start: int
    stop: int
    level: int
    marker: str
    after_blank: bool


def blocks_of(text: str) -> list[Block]:
    """The blocks of a text, in order, covering all of it; [] where there is only white space."""
    opened = []  # (kind, start, level, marker, after_blank)
    place = end_of_content = 0
    fence, after_blank = None, False
    for line in text.splitlines(keepends=True):
        content = line.rstrip()
        if content or fence:
            kind, level, marker = _kind(content) if fence is None else (None, 0, "")
            if fence is None and (kind is not PARAGRAPH or _opens_paragraph(opened, line, after_blank)):
                opened.append((kind, end_of_content if opened else 0, level, marker, after_blank))
            if kind is CODE or (fence and content.lstrip().startswith(fence)):
                fence = content.lstrip()[:3] if fence is None else None
            end_of_content = place + len(content)
        after_blank = not content
        place += len(line)
    stops = [*(start for _, start, *_ in opened[1:]), len(text)][: len(opened)]
    return [
        Block(kind, start, stop, level, marker, blank)
        for (kind, start, level, marker, blank), stop in zip(opened, stops, strict=True)
    ]


def is_label(text: str) -> bool:
    """Whether a text is a title with a colon behind it, as "Ingredients:"."""
    return text.rstrip(" \t\r\n*_").endswith(":") and len(text.split()) <= LABEL_WORDS


def is_conclusion(text: str) -> bool:
    """Whether a text begins, behind its markers, with words that only a conclusion begins with."""
    return _CONCLUSION.match(text.lstrip()) is not None


def _kind(line: str) -> tuple[str, int, str]:
    """Kind, level and marker of a block that would open with this line."""
    if _FENCE.match(line):
        return CODE, 0, ""
    if item := _ITEM.match(line):
        return ITEM, len(item[1].expandtabs(_TAB)), item.lastgroup
    if heading := _HEADING.match(line):
        return HEADING, len(heading[1]) if heading[1] else 7, ""
    return PARAGRAPH, 0, ""


def _opens_paragraph(opened: list, line: str, after_blank: bool) -> bool:
    """Whether an ordinary line begins a paragraph, rather than going on with the block before it."""
    if not opened or opened[-1][0] in (HEADING, CODE):
        return True
    is_indented, is_item = line[:1] in " \t", opened[-1][0] is ITEM
    if after_blank:
        return not (is_item and is_indented)
    return not is_indented and (is_conclusion(line) or (is_item and is_label(line)))
