"""Blocks cover the text; outlines find preamble, passages and closing."""

import random

import pytest

from planned_diffusion.annotation.blocks import blocks_of
from planned_diffusion.annotation.outline import (
    LIST,
    NONE,
    PARAGRAPHS,
    SECTIONS,
    outline_of,
    refers_to_passages,
)

PIECES = (
    "a word",
    "- item",
    "1. one",
    "2) two",
    "# Head",
    "**Bold**",
    "```",
    "\n",
    "\n\n",
    "  ",
    "\t",
    "\u2028",
    "é世",
    "",
)


def shown(text):
    """kind, passages with preamble in ( ) and closing in [ ], white space shown as it is."""
    outline = outline_of(text)
    pieces = [f"({text[slice(*outline.preamble)]})"] if outline.preamble else []
    pieces += [text[start:stop] for start, stop in outline.passages]
    pieces += [f"[{text[slice(*outline.closing)]}]"] if outline.closing else []
    return outline.kind, pieces


def test_blocks_and_outlines_cover_every_text():
    draw = random.Random(0)
    for _ in range(500):
        text = "".join(draw.choice(PIECES) + draw.choice(("", "\n", "\n\n")) for _ in range(draw.randint(0, 12)))
        blocks = blocks_of(text)
        assert "".join(text[block.start : block.stop] for block in blocks) == (text if text.strip() else "")
        outline = outline_of(text)
        if outline.kind != NONE:
            ranges = [outline.preamble, *outline.passages, outline.closing]
            assert "".join(text[slice(*one)] for one in ranges if one) == text
            assert all(start < stop for start, stop in outline.passages) and len(outline.passages) > 1


@pytest.mark.parametrize(
    ("text", "kind", "pieces"),
    [
        ("One paragraph.", NONE, []),
        ("", NONE, []),
        ("Why:\n- fire\n- water\n\nOverall, b.", LIST, ["(Why:)", "\n- fire", "\n- water", "[\n\nOverall, b.]"]),
        ("1. a\n- a1\n- a2\n2. b\n- b1", LIST, ["1. a\n- a1\n- a2", "\n2. b\n- b1"]),
        ("- a\n  - a1\n  - a2\n- b", LIST, ["- a\n  - a1\n  - a2", "\n- b"]),
        ("1. A\n\nabout A\n\n2. B\n\nabout B\n\nEnd.", LIST, ["1. A\n\nabout A", "\n\n2. B\n\nabout B", "[\n\nEnd.]"]),
        (
            "- a\n- b\nSkills:\n- c\n\n## Rest\n\n- d\n\nMore:\n\nwords",
            LIST,
            ["- a", "\n- b", "\nSkills:\n- c", "\n\n## Rest\n\n- d", "[\n\nMore:\n\nwords]"],
        ),
        ("- a\nso\n- b\nIn summary, c\n- d", LIST, ["- a\nso", "\n- b\nIn summary, c", "\n- d"]),
        ("- an a\n- a b\nIn conclusion, c\n\nd", LIST, ["- an a", "\n- a b", "[\nIn conclusion, c\n\nd]"]),
        ("1. A\n\na\n\n2. B\n\nOverall, c", LIST, ["1. A\n\na", "\n\n2. B", "[\n\nOverall, c]"]),
        (
            "Pros:\n- a\n\nCons:\n- c\n\nTo sum up, d\n\ne",
            SECTIONS,
            ["Pros:\n- a", "\n\nCons:\n- c", "[\n\nTo sum up, d\n\ne]"],
        ),
        ("## A\nx\n## B\ny\n\nUltimately, z", SECTIONS, ["## A\nx", "\n## B\ny", "[\n\nUltimately, z]"]),
        ("Step 1: a\nStep 2: b", LIST, ["Step 1: a", "\nStep 2: b"]),
        ("It rose 1.5 %.\n\nIt fell 2.5 %.", PARAGRAPHS, ["It rose 1.5 %.", "\n\nIt fell 2.5 %."]),
        ("Hi.\n## A\nx\n## B\ny\n### C\nz", SECTIONS, ["(Hi.)", "\n## A\nx", "\n## B\ny\n### C\nz"]),
        ("Pros:\n- a\n- b\n\nCons:\n- c", SECTIONS, ["Pros:\n- a\n- b", "\n\nCons:\n- c"]),
        ("a\n\nb\n\nIn conclusion, c", PARAGRAPHS, ["a", "\n\nb", "[\n\nIn conclusion, c]"]),
        ("a\n\nFor all these reasons, b", NONE, []),
        ("I. a\nII. b\nIII. Conclusion\n- c", LIST, ["I. a", "\nII. b", "[\nIII. Conclusion\n- c]"]),
        ("- a\n- b\n- **Overall**: c\n\nd", LIST, ["- a", "\n- b", "[\n- **Overall**: c\n\nd]"]),
        (
            "## 1. A\nx\n## 2. B\ny\n## 3. Conclusion\nz",
            SECTIONS,
            ["## 1. A\nx", "\n## 2. B\ny", "[\n## 3. Conclusion\nz]"],
        ),
        (
            "# T\n## A\nx\n## B\ny\n# Conclusion\nz",
            SECTIONS,
            ["(# T)", "\n## A\nx", "\n## B\ny", "[\n# Conclusion\nz]"],
        ),
        ("Look:\n\n```\n- no\n\n- item\n```\n\nb", PARAGRAPHS, ["Look:\n\n```\n- no\n\n- item\n```", "\n\nb"]),
        ("- this\n- that\n\n" + "long text " * 9 + "\n\n" + "more text " * 9, PARAGRAPHS, None),
    ],
)
def test_outlines(text, kind, pieces):
    found = shown(text)
    assert found[0] == kind
    assert pieces is None or found[1] == pieces


def test_what_refers_to_the_passages():
    assert refers_to_passages("\n\nOverall, sleep well.") and refers_to_passages("\nDo all of these.")
    assert refers_to_passages("\n\n5. **Conclusion**: sleep well.")
    assert not refers_to_passages("\n\nSincerely, Ann")
