"""Features of a request and its outlined answer that speak for independent passages or for a chain: words and signs.

All features are shares or flags in [0, 1], so that they mean the same for short and for long answers. The word lists
are English; in other languages the shape of the answer (kind, markers, labels, signs) decides alone.
"""

import re

from . import phrases
from .outline import LIST, SECTIONS, Outline, is_directions
from .words import ASKED, CLASS_OF, CLASSES, IMPERATIVE

# Feature -> the way it points: 1 speaks for independent passages, -1 for a chain, 0 is read by rules only.
DIRECTIONS = {
    "is_list": 1, "is_sections": 1, "labelled": 1, "asks_list": 1, "words_you": 1, "words_modal": 1,
    "opens_link": -1, "opens_pronoun": -1, "opens_person": -1,
    "words_sequence": -1, "words_story": -1, "words_past": -1, "words_person": -1,
    "code_signs": -1, "quotes": -1, "asks_creation": -1, "asks_code": -1,
    "has_code": 0, "says_steps": 0, "opens_sequence": 0, "imperative": 0, "asks_procedure": 0, "asks_making": 0,
    "asks_ideas": 0, "asks_story": 0, "asks_quantity": 0, "asks_several": 0, "asks_algebra": 0, "announces_steps": 0,
    "has_directions": 0, "asks_days": 0, "asks_plan": 0, "days": 0, "asks_steps": 0, "asks_proof": 0,
    "opens_consequence": 0,
}  # fmt: skip

_OPENINGS = ("sequence", "link", "pronoun", "person")
_COUNTED = ("sequence", "story", "past", "person", "you", "modal")
_CLAUSE = re.compile(r"[^.:;!?\n]{3,60}?,\s*")  # "In a bowl, ", "Once the butter has melted, "
_NUMBER = re.compile(r"\d")
_WORD = re.compile(r"[a-z']+")
# A passage's marker: "## ", "- ", "(2) ", "b. ", "iv) ", each with bold signs behind it.
_MARKER = re.compile(r"\s*(?:#{1,6}|[^\w\s\"'(\[<]|\(?(?:\d{1,3}|[a-z]|[ivx]{1,4})[.):])?[ \t*_]*", re.IGNORECASE)
_LABEL = re.compile(r"[^\n.!?:]{2,60}(?::|\*\*| [-\u2013\u2014] |\n)")  # "Fresh air: ", "Fresh air** ", "Fresh air - "
_PROMPT_READ = 2000  # characters: the question of a long prompt stands at its beginning or end
_PASSAGE_READ = 1500
_PREAMBLE_READ = 200
_LONGEST_ORDER = 24  # characters of the word that orders


def features_of(prompt: str, answer: str, outline: Outline) -> dict[str, float]:
    """Return feature name -> value in [0, 1], for the names of `DIRECTIONS`, of an outline with passages."""
    half = _PROMPT_READ // 2
    asked = (prompt if len(prompt) <= _PROMPT_READ else prompt[:half] + prompt[-half:]).lower()
    asked_words = set(_WORD.findall(asked))
    passages = [_without_marker(answer, start, stop) for start, stop in outline.passages]
    says_steps = (
        outline.marker == "step" or sum(phrases.SEQUENCE_LABEL.match(passage) is not None for passage in passages) > 1
    )
    return {
        "is_list": float(outline.kind is LIST),
        "is_sections": float(outline.kind is SECTIONS),
        "labelled": sum(_LABEL.match(passage) is not None for passage in passages) / len(passages),
        "says_steps": float(says_steps),
        "has_code": float(outline.has_code or "```" in answer),
        **{name: float(not asked_words.isdisjoint(words)) for name, words in ASKED.items()},
        "asks_procedure": float(
            not asked_words.isdisjoint(ASKED["asks_procedure"]) or bool(phrases.PROCESS.search(asked))
        ),
        "announces_steps": float(_announces_steps(answer, outline)),
        "has_directions": float(any(is_directions(answer[start:stop]) for start, stop in outline.passages[1:])),
        "days": sum(phrases.DAY.match(passage) is not None for passage in passages) / len(passages),
        "asks_algebra": float(phrases.ALGEBRA.search(asked) is not None),
        "asks_quantity": float(phrases.QUANTITY.search(asked) is not None and _NUMBER.search(asked) is not None),
        "asks_making": float(phrases.MAKING.search(asked) is not None),
        "asks_several": float(phrases.SEVERAL.search(asked) is not None),
        "asks_steps": float(phrases.STEPS.search(asked) is not None),
        "asks_proof": float(phrases.PROOF.search(asked) is not None),
        "opens_consequence": sum(phrases.CONSEQUENCE.match(passage) is not None for passage in passages[1:])
        / max(len(passages) - 1, 1),
        **_word_shares(passages),
        **_sign_shares("".join(passages)),
    }


def _without_marker(answer: str, start: int, stop: int) -> str:
    """Return the beginning of a passage without its marker."""
    marker = _MARKER.match(answer, start, stop)
    assert marker is not None  # the pattern matches an empty text too
    return answer[marker.end() : min(stop, marker.end() + _PASSAGE_READ)]


def _announces_steps(answer: str, outline: Outline) -> bool:
    """Tell whether the preamble says that steps follow."""
    before = answer[slice(*outline.preamble)] if outline.preamble else ""
    return phrases.STEPS_FOLLOW.search(before[-_PREAMBLE_READ:].rstrip().lower()) is not None


def _is_order(passage: str, words: list[str]) -> bool:
    """Tell whether a passage is an order: "Fold ...", "Carefully fold ...", "In a bowl, fold ..."."""
    if not words or words[0] in IMPERATIVE:
        return bool(words)
    if words[0].endswith("ly") or CLASS_OF.get(words[0]) == "sequence":
        words = words[1:]
    clause = _CLAUSE.match(passage)
    behind = _WORD.findall(passage[clause.end() : clause.end() + _LONGEST_ORDER].lower()) if clause else []
    return not IMPERATIVE.isdisjoint((*words[:1], *behind[:1]))


def _word_shares(passages: list[str]) -> dict[str, float]:
    """Return the shares of passages that open with words of a class, and of words of a class among all words."""
    opens: dict[str, int] = dict.fromkeys(_OPENINGS, 0)
    counts: dict[str, int] = dict.fromkeys((*CLASSES, "past"), 0)
    total = imperative = 0
    for index, passage in enumerate(passages):
        words = _WORD.findall(passage.lower())
        total += len(words)
        first = words[0] if words else ""
        imperative += _is_order(passage, words)
        if index and CLASS_OF.get(first) in opens:
            opens[CLASS_OF[first]] += 1
        for word in words:
            if word in CLASS_OF:
                counts[CLASS_OF[word]] += 1
            elif word[-2:] == "ed":
                counts["past"] += 1
    scale = 10 / max(total, 1)
    return {
        "imperative": imperative / len(passages),
        **{f"opens_{name}": count / max(len(passages) - 1, 1) for name, count in opens.items()},
        **{f"words_{name}": min(counts[name] * scale, 1.0) for name in _COUNTED},
    }


def _sign_shares(text: str) -> dict[str, float]:
    """Return the signs per character, scaled so that 1 is a lot."""
    scale = 50 / max(len(text), 1)
    return {
        "code_signs": min(scale * sum(map(text.count, "{}_`<>;")), 1.0),
        "quotes": min(scale * (text.count('"') + text.count("\u201c")), 1.0),
    }
