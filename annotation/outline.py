"""The outline of an answer: a preamble, passages side by side, and a closing; sections, a list or paragraphs.

The outline only says how the text divides. `independence.py` judges whether the passages could be written without
seeing each other.
"""

from collections.abc import Callable
from dataclasses import dataclass

from . import phrases
from .blocks import CODE, HEADING, ITEM, PARAGRAPH, Block, blocks_of, is_conclusion, is_label

SECTIONS, LIST, PARAGRAPHS, NONE = "sections", "list", "paragraphs", "none"
LEAST_LIST_SHARE = 0.35  # of the characters: a shorter list belongs to the paragraphs around it


@dataclass(frozen=True, slots=True)
class Outline:
    """The passages of an answer as half-open character ranges that follow each other.

    Preamble, passages and closing cover the text; preamble and closing may be None.
    `marker` is the family of the list's markers ("number", "bullet", ...), "" where the passages are no list.
    """

    kind: str
    passages: tuple[tuple[int, int], ...]
    preamble: tuple[int, int] | None = None
    closing: tuple[int, int] | None = None
    marker: str = ""
    has_code: bool = False


def outline_of(text: str) -> Outline:
    """Return the coarsest outline with at least two passages: sections, else list items, else paragraphs."""
    blocks = blocks_of(text)
    kind, starts, stop, marker = _starts(blocks, text)
    starts, stop = _without_conclusion(kind, starts, stop, blocks, text)
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


def _starts(blocks: list[Block], text: str) -> tuple[str, list[int], int, str]:
    """Return the kind of the outline, the first block of each passage, the end of the last, and the list's marker."""
    starts = _section_starts(blocks, text)
    if len(starts) >= 2:
        return SECTIONS, starts, len(blocks), ""
    starts, stop, marker = _item_starts(blocks, text)
    if len(starts) >= 2 and _extent(blocks, starts[0], stop) >= LEAST_LIST_SHARE * len(text):
        return LIST, starts, stop, marker
    return PARAGRAPHS, _paragraph_starts(blocks, text), len(blocks), ""


def _without_conclusion(
    kind: str, starts: list[int], stop: int, blocks: list[Block], text: str
) -> tuple[list[int], int]:
    """Return the passages' first blocks and the end of the last, without a conclusion that is or ends the last one."""
    if len(starts) < 2:
        return starts, stop
    last = text[blocks[starts[-1]].start : blocks[stop - 1].stop]
    if is_conclusion(last) or (kind is not LIST and is_closing(last)):
        return starts[:-1], starts[-1]
    return starts, _first(starts[-1] + 1, stop, lambda index: _is_conclusion(blocks[index], text))


def _extent(blocks: list[Block], first: int, stop: int) -> int:
    """Return the characters from the first block to the last one before `stop`."""
    return blocks[stop - 1].stop - blocks[first].start


def _section_starts(blocks: list[Block], text: str) -> list[int]:
    """Return the headings of the highest level that occurs twice beside conclusions, or else the titles of lists."""
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
    """Return the first index from `start` for which `holds` is true; `stop` if there is none."""
    return next((index for index in range(start, stop) if holds(index)), stop)


def _is_conclusion(block: Block, text: str) -> bool:
    """Tell whether a block is a paragraph or heading that begins a conclusion."""
    return block.kind in (PARAGRAPH, HEADING) and is_conclusion(text[block.start : block.stop])


def _is_title(block: Block, text: str) -> bool:
    """Tell whether a block is a heading, or a short paragraph that ends in a colon."""
    return block.kind is HEADING or (block.kind is PARAGRAPH and is_label(text[block.start : block.stop]))


def _item_starts(blocks: list[Block], text: str) -> tuple[list[int], int, str]:
    """Return where the outermost list's items begin, where the last one ends, and the family of their markers."""
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
    """Return where an item begins together with the titles right before it."""
    while _is_title(blocks[start - 1], text):
        start -= 1
    return start


def _end_of_last(blocks: list[Block], text: str, last: int, most: int) -> int:
    """Return where the last item ends.

    It keeps nested items, and as many further blocks as the longest of the other items has, up to the next title.
    """
    stop = _first(last, len(blocks), lambda index: blocks[index].kind is ITEM) + 1
    while (
        stop < len(blocks) and (blocks[stop].kind is ITEM or stop - last < most) and not _is_title(blocks[stop], text)
    ):
        stop += 1
    return stop


def _paragraph_starts(blocks: list[Block], text: str) -> list[int]:
    """Return where paragraphs begin; lists and code stay with the paragraph before them, titles with the next one."""
    starts, joins = [], False
    for index, block in enumerate(blocks):
        if not joins and (block.kind is PARAGRAPH or block.kind is HEADING or not starts):
            starts.append(index)
        joins = block.kind is HEADING or text[block.start : block.stop].rstrip().endswith(":")
    return starts


def is_closing(text: str) -> bool:
    """Tell whether a text begins as a conclusion does."""
    return phrases.CLOSING.match(text.lstrip(" \t\r\n#*_")) is not None


def is_directions(text: str) -> bool:
    """Tell whether a text is headed "Instructions" or the like, so that it uses the passages before it."""
    return phrases.DIRECTIONS_HEADING.match(text) is not None


def refers_to_passages(closing: str) -> bool:
    """Tell whether a closing speaks of the passages before it, so that it should see them."""
    return (
        is_closing(closing)
        or is_conclusion(closing)
        or is_directions(closing)
        or phrases.REFERS_BACK.search(closing) is not None
    )
