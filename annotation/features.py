"""What in a request and its outlined answer speaks for independent parts, or for a chain: counted words and signs.

All features are shares or flags in [0, 1], so that they mean the same for short and for long answers. The word lists
are English; in other languages the shape of the answer (kind, markers, labels, signs) decides alone.
"""

import re

from .outline import LIST, SECTIONS, Outline, is_directions
from .words import ASKED, CLASS_OF, CLASSES, IMPERATIVE

# Feature -> the way it points: 1 speaks for independent parts, -1 for a chain, 0 is read by rules only.
DIRECTIONS = {
    "is_list": 1, "is_sections": 1, "labelled": 1, "asks_list": 1, "words_you": 1, "words_modal": 1,
    "opens_link": -1, "opens_pronoun": -1, "opens_person": -1,
    "words_sequence": -1, "words_story": -1, "words_past": -1, "words_person": -1,
    "code_signs": -1, "quotes": -1, "asks_creation": -1, "asks_code": -1,
    "has_code": 0, "says_steps": 0, "opens_sequence": 0, "imperative": 0, "asks_procedure": 0, "asks_making": 0,
    "asks_ideas": 0, "asks_story": 0, "asks_quantity": 0, "asks_several": 0, "asks_algebra": 0, "announces_steps": 0,
    "has_directions": 0, "asks_steps": 0, "asks_proof": 0, "opens_consequence": 0,
}  # fmt: skip

_OPENINGS = ("sequence", "link", "pronoun", "person")
_COUNTED = ("sequence", "story", "past", "person", "you", "modal")
_QUANTITY = re.compile(
    r"\bhow (?:many|much|long|far|old|fast|tall|often)\b|\bwhat (?:is|was) the (?:total|average|sum)\b|"
    r"\b(?:calculate|compute|convert \d+|probability|simplify (?:the fraction|\d+))\b|\d(?: ?%| percent) of \d|"
    r"\bfind (?:the|its|her|his)\b[^.?!]{0,20}\b(?:area|perimeter|volume|value|sum|number)\b"
)
_SEVERAL = re.compile(
    r"\b(?:a list|list (?:of|the|all|out|some|any)|name|(?:two|three|four|five|six|seven|eight|nine|ten|several|some|"
    r"few|different|various|multiple|[2-9]|1\d|20)(?: [\w-]+){0,3} \w+s\b)"
)
_MAKING = re.compile(
    r"\bhow (?:to|do (?:i|you|we)) (?:make|cook|bake|build|brew|set up|install|fold|assemble|prepare|solve|calculate|"
    r"tie|knit|change|replace|fix|register|sign up|log in)\b"
)
_PROCESS = re.compile(
    r"\bwalk (?:me|us) through\b|\bprocess (?:of|for|to|that)\b|"
    r"\b(?:describe|explain|outline|document) (?:the|a) (?:[\w-]+ ){1,4}process\b"
)
_STEPS_FOLLOW = re.compile(
    r"\bsteps\b[^.!?\n]*$|\bstep[- ]by[- ]step\b|\b(?:instructions|directions|method|procedure)\b[^.!?\n]{0,40}:|"
    r"\bhere(?:'s| is) how\b"
)
_STEPS = re.compile(r"\bthe (?:[\w-]+ ){0,2}steps\b|\b\d+[- ]step\b|\bstep[- ]by[- ]step\b")
_PROOF = re.compile(r"\b(?:prove|proof of|(?:proof|show) that|by (?:induction|contradiction))\b")
_CONSEQUENCE = re.compile(
    r"(?:so|therefore|thus|hence|consequently|as a (?:result|consequence)|because of (?:this|that|these|those)|"
    r"this (?:means|implies|shows|proves|contradicts|gives|leads)|it follows|from (?:this|that|these|those))\b",
    re.IGNORECASE,
)
_ALGEBRA = re.compile(
    r"(?<![\w.])\d*[a-z](?:\^?\d)?\s*[-+*/]\s*\d*[a-z(]?\d*[^=\n]{0,40}=|(?<![\w.])\d*[a-z]\s*=\s*-?\d"
)
_CLAUSE = re.compile(r"[^.:;!?\n]{3,60}?,\s*")  # "In a bowl, ", "Once the butter has melted, "
_NUMBER = re.compile(r"\d")
_WORD = re.compile(r"[a-z']+")
_MARKER = re.compile(r"\s*(?:#{1,6}|[^\w\s\"'(\[<]|\(?(?:\d{1,3}|[a-z]|[ivx]{1,4})[.):])?[ \t*_]*", re.IGNORECASE)
_STEP = re.compile(
    r"(?:step|phase|stage|day|week|chapter|scene|act|verse|stanza)\s*(?:\d|one|two|three|[ivx]+\b)", re.IGNORECASE
)
_LABEL = re.compile(r"[^\n.!?:]{2,60}(?::|\*\*| [-\u2013\u2014] |\n)")
_PROMPT_READ = 2000  # characters; what a long prompt asks stands at its beginning or end
_PART_READ = 1500
_PREAMBLE_READ = 200
_LONGEST_ORDER = 24  # characters of the word that orders


def features_of(prompt: str, answer: str, outline: Outline) -> dict[str, float]:
    """Feature name -> value in [0, 1], for the names of `DIRECTIONS`, of an outline with parts."""
    half = _PROMPT_READ // 2
    asked = (prompt if len(prompt) <= _PROMPT_READ else prompt[:half] + prompt[-half:]).lower()
    asked_words = set(_WORD.findall(asked))
    parts = []
    for start, stop in outline.parts:
        start = _MARKER.match(answer, start, stop).end()
        parts.append(answer[start : min(stop, start + _PART_READ)])
    says_steps = outline.marker == "step" or sum(_STEP.match(part) is not None for part in parts) > 1
    return {
        "is_list": float(outline.kind is LIST),
        "is_sections": float(outline.kind is SECTIONS),
        "labelled": sum(_LABEL.match(part) is not None for part in parts) / len(parts),
        "says_steps": float(says_steps),
        "has_code": float(outline.has_code or "```" in answer),
        **{name: float(not asked_words.isdisjoint(words)) for name, words in ASKED.items()},
        "asks_procedure": float(not asked_words.isdisjoint(ASKED["asks_procedure"]) or bool(_PROCESS.search(asked))),
        "announces_steps": float(_announces_steps(answer, outline)),
        "has_directions": float(any(is_directions(answer[start:stop]) for start, stop in outline.parts[1:])),
        "asks_algebra": float(_ALGEBRA.search(asked) is not None),
        "asks_quantity": float(_QUANTITY.search(asked) is not None and _NUMBER.search(asked) is not None),
        "asks_making": float(_MAKING.search(asked) is not None),
        "asks_several": float(_SEVERAL.search(asked) is not None),
        "asks_steps": float(_STEPS.search(asked) is not None),
        "asks_proof": float(_PROOF.search(asked) is not None),
        "opens_consequence": sum(_CONSEQUENCE.match(part) is not None for part in parts[1:]) / max(len(parts) - 1, 1),
        **_word_shares(parts),
        **_sign_shares("".join(parts)),
    }


def _announces_steps(answer: str, outline: Outline) -> bool:
    """Whether what stands before the parts says that steps follow."""
    before = answer[slice(*outline.preamble)] if outline.preamble else ""
    return _STEPS_FOLLOW.search(before[-_PREAMBLE_READ:].rstrip().lower()) is not None


def _is_order(part: str, words: list[str]) -> bool:
    """Whether a part tells what to do: "Fold ...", "Carefully fold ...", "In a bowl, fold ..."."""
    if not words or words[0] in IMPERATIVE:
        return bool(words)
    if words[0].endswith("ly") or CLASS_OF.get(words[0]) == "sequence":
        words = words[1:]
    clause = _CLAUSE.match(part)
    behind = _WORD.findall(part[clause.end() : clause.end() + _LONGEST_ORDER].lower()) if clause else []
    return not IMPERATIVE.isdisjoint((*words[:1], *behind[:1]))


def _word_shares(parts: list[str]) -> dict[str, float]:
    """How the parts open, and classes of words per word."""
    opens = dict.fromkeys(_OPENINGS, 0)
    counts = dict.fromkeys((*CLASSES, "past"), 0)
    total = imperative = 0
    for index, part in enumerate(parts):
        words = _WORD.findall(part.lower())
        total += len(words)
        first = words[0] if words else ""
        imperative += _is_order(part, words)
        if index and CLASS_OF.get(first) in opens:
            opens[CLASS_OF[first]] += 1
        for word in words:
            if word in CLASS_OF:
                counts[CLASS_OF[word]] += 1
            elif word[-2:] == "ed":
                counts["past"] += 1
    scale = 10 / max(total, 1)
    return {
        "imperative": imperative / len(parts),
        **{f"opens_{name}": count / max(len(parts) - 1, 1) for name, count in opens.items()},
        **{f"words_{name}": min(counts[name] * scale, 1.0) for name in _COUNTED},
    }


def _sign_shares(text: str) -> dict[str, float]:
    """Signs per character, scaled so that 1 is a lot."""
    scale = 50 / max(len(text), 1)
    return {
        "code_signs": min(scale * sum(map(text.count, "{}_`<>;")), 1.0),
        "quotes": min(scale * (text.count('"') + text.count("\u201c")), 1.0),
    }
