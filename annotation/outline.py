"""What an answer is made of: a preamble, parts side by side, and a closing; sections, a list or paragraphs.

The outline only says what stands next to what. Whether the parts could be written without seeing each other is the
question of `independence.py`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from .blocks import CODE, HEADING, ITEM, PARAGRAPH, Block, blocks_of, is_conclusion, is_label

SECTIONS, LIST, PARAGRAPHS, NONE = "sections", "list", "paragraphs", "none"
LEAST_LIST_SHARE = 0.35  # of the characters: a shorter list is part of the paragraphs around it

_CLOSING = re.compile(
    r"\W*(?:in (?:conclusion|summary|short|closing|general|essence|a nutshell|all|the end)|overall|"
    r"to (?:conclude|sum up|summari[sz]e|recap|wrap up)|conclusions?|summary|ultimately|"
    r"finally, (?:it|remember|always|by)|with (?:these|this|all|the right)|"
    r"by (?:following|doing|implementing|using|combining|incorporating|understanding|taking|considering|adopting)|"
    r"for (?:all )?(?:of )?(?:these|this)|all (?:of )?(?:these|this|in all)|"
    r"these |taken together|together,|both |remember|following these|"
    r"(?:i|we) hope|hope (?:this|that|these)|as you can see|therefore,|thus,|hence,)",
    re.IGNORECASE,
)
_REFERS_BACK = re.compile(
    r"\b(?:these|those|above|aforementioned|mentioned|listed|such|both|all of|each of|the (?:two|three|four|five|"
    r"list|tips|steps|points|items|following|ways|reasons|examples|ideas)|this (?:list|is|was|way|will|approach|can)|"
    r"and (?:many )?more|more examples|etc)\b",
    re.IGNORECASE,
)
_DIRECTIONS = re.compile(
    r"[\s#*_]*(?:(?:[\w-]+ ){0,2}(?:instructions|directions)|method|preparation|procedure|steps)[*_]*:?[*_ \t]*\n",
    re.IGNORECASE,
)
_ANNOUNCES = re.compile(
    r"\b(?:following|here (?:are|is)|here's|these|below|as follows|such as|include|includes|including|"
    r"one|two|three|four|five|six|seven|eight|nine|ten|several|few|some|many|list|steps|tips|ways|"
    r"reasons|examples|ideas)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Outline:
    """Half-open character ranges that follow each other and cover the text; `preamble` and `closing` may be None.

    `marker` is the family of the list's markers ("number", "bullet", ...), "" where the parts are no list.
    """

    kind: str
    parts: tuple[tuple[int, int], ...]
    preamble: tuple[int, int] | None = None
    closing: tuple[int, int] | None = None
    marker: str = ""
    has_code: bool = False


def outline_of(text: str) -> Outline:
    """The coarsest outline with at least two parts: sections, else list items, else paragraphs."""
    blocks = blocks_of(text)
    starts = _section_starts(blocks, text)
    kind, marker, stop = SECTIONS, "", len(blocks)
    if len(starts) < 2:
        starts, stop, marker = _item_starts(blocks, text)
        kind = LIST
        if len(starts) < 2 or _span_of(blocks, starts[0], stop) < LEAST_LIST_SHARE * len(text):
            starts, kind, stop, marker = _paragraph_starts(blocks, text), PARAGRAPHS, len(blocks), ""
    last = text[blocks[starts[-1]].start : blocks[stop - 1].stop] if len(starts) > 1 else ""
    if is_conclusion(last) or (kind is not LIST and is_closing(last)):
        stop = starts.pop()
    elif len(starts) > 1:
        stop = _first(starts[-1] + 1, stop, lambda index: _is_conclusion(blocks[index], text))
    has_code = any(block.kind is CODE for block in blocks)
    if len(starts) < 2:
        return Outline(NONE, (), has_code=has_code)
    edges = [blocks[index].start for index in starts]
    end = blocks[stop].start if stop < len(blocks) else len(text)
    return Outline(
        kind,
        tuple(zip(edges, [*edges[1:], end], strict=True)),
        preamble=(0, edges[0]) if starts[0] else None,
        closing=(end, len(text)) if stop < len(blocks) else None,
        marker=marker,
        has_code=has_code,
    )


def _span_of(blocks: list[Block], first: int, stop: int) -> int:
    return blocks[stop - 1].stop - blocks[first].start


def _section_starts(blocks: list[Block], text: str) -> list[int]:
    """Headings of the highest level that occurs twice beside conclusions; or else the titles of at least two lists."""
    levels = [block.level for block in blocks if block.kind is HEADING and not _is_conclusion(block, text)]
    often = [level for level in set(levels) if levels.count(level) >= 2]
    if often:
        return [index for index, block in enumerate(blocks) if block.kind is HEADING and block.level == min(often)]
    return [
        index
        for index, (block, following) in enumerate(zip(blocks, blocks[1:], strict=False))
        if block.kind is PARAGRAPH and following.kind is ITEM and is_label(text[block.start : block.stop])
    ]


def _first(start: int, stop: int, holds: Callable[[int], bool]) -> int:
    """The first index of which it holds; `stop` if there is none."""
    return next((index for index in range(start, stop) if holds(index)), stop)


def _is_conclusion(block: Block, text: str) -> bool:
    return block.kind in (PARAGRAPH, HEADING) and is_conclusion(text[block.start : block.stop])


def _is_title(block: Block, text: str) -> bool:
    return block.kind is HEADING or (block.kind is PARAGRAPH and is_label(text[block.start : block.stop]))


def _item_starts(blocks: list[Block], text: str) -> tuple[list[int], int, str]:
    """Where the outermost list's items begin, where the last one ends, and the family of their markers."""
    items = [index for index, block in enumerate(blocks) if block.kind is ITEM]
    if len(items) < 2:
        return items, len(blocks), ""
    depth = sorted(blocks[index].level for index in items)[1]  # one item further out is the first, set differently
    outer = [index for index in items if blocks[index].level <= depth]
    family = blocks[outer[0]].marker
    if sum(blocks[index].marker == family for index in outer) >= 2:  # other families at its depth are nested in it
        outer = [index for index in outer if blocks[index].marker == family]
    outer = [_with_titles(index, blocks, text) if index > outer[0] else index for index in outer]
    extents = [after - before for before, after in zip(outer, outer[1:], strict=False)]
    return outer, _end_of_last(blocks, text, outer[-1], max(extents, default=1)), family


def _with_titles(start: int, blocks: list[Block], text: str) -> int:
    """Where an item begins together with the titles right before it."""
    while _is_title(blocks[start - 1], text):
        start -= 1
    return start


def _end_of_last(blocks: list[Block], text: str, last: int, most: int) -> int:
    """The last item keeps nested items and as many further blocks as the longest of the others has, up to a title of
    something else."""
    stop = _first(last, len(blocks), lambda index: blocks[index].kind is ITEM) + 1
    while (
        stop < len(blocks) and (blocks[stop].kind is ITEM or stop - last < most) and not _is_title(blocks[stop], text)
    ):
        stop += 1
    return stop


def _paragraph_starts(blocks: list[Block], text: str) -> list[int]:
    """Paragraphs; lists and code stay with the paragraph before them, titles with the one behind them."""
    starts, joins = [], False
    for index, block in enumerate(blocks):
        if not joins and (block.kind is PARAGRAPH or block.kind is HEADING or not starts):
            starts.append(index)
        joins = block.kind is HEADING or text[block.start : block.stop].rstrip().endswith(":")
    return starts


def is_closing(text: str) -> bool:
    """Whether a text begins as a conclusion does."""
    return _CLOSING.match(text.lstrip(" \t\r\n#*_")) is not None


def is_directions(text: str) -> bool:
    """Whether a text is headed "Instructions" or the like, so that it uses what stands before it."""
    return _DIRECTIONS.match(text) is not None


def refers_to_parts(closing: str) -> bool:
    """Whether a closing speaks of the parts before it, so that it should see them."""
    return (
        is_closing(closing)
        or is_conclusion(closing)
        or is_directions(closing)
        or _REFERS_BACK.search(closing) is not None
    )


def announces_parts(preamble: str) -> bool:
    """Whether a preamble speaks of the parts behind it ("Here are three tips:"), so that they should see it."""
    return preamble.rstrip().endswith((":", ",", "...")) or _ANNOUNCES.search(preamble[-200:]) is not None
