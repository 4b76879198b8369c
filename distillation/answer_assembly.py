"""Makes one answer of the answers to its parts, each of which becomes a span of one round.

    1. cut every part to whole sentences, as many as were asked for         part_of
    2. drop the answer where a part breaks a rule or repeats another one     reason_to_drop_parts
    3. choose a frame by the wording of the prompt                           frame_for
    4. write label and text of each part in that frame                       assembled

White space between two parts belongs to the later one.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..annotation.heads import stem, telling
from .answer_filters import AnsweredPrompt, reason_to_drop, words_of

MOST_OVERLAP = 0.5  # share of the shorter part's word 3-grams that the other part has too
UNFINISHED, OVERLAP = "unfinished", "overlap"
FEW_WORDS = 5  # so short an answer need not repeat a word of its question

# A capital behind a mark begins a sentence, unless the mark ends initials or a title, as in "U.S." and "Dr."
SENTENCE_END = re.compile(r"(?:(?<=[a-z0-9)\"”%]{2}[.!?])|(?<=[.!?][\"”)]))\s+(?=[\"“(]?[A-Z0-9])")
WHOLE_SENTENCE = re.compile(r"[.!?][\"”)]?$")
LIST_MARK = re.compile(r"^(?:\d+[.)]|[-*•]|A:)\s+")
SHORT_WORD, MOST_TIMES = 4, 3
CODE = re.compile(r"[`{}<>|\\]")
# A capital I behind a name is a number, as in "World War I".
FIRST_PERSON = re.compile(r"(?:^|(?:\b[a-z]+,?|[.!?:;,])\s+[\"“]?)I\b|\b(?:I['’]\w+|[Mm]y|me)\b")
BACK_REFERENCE = re.compile(r"(?:they|it|its|their|he|she|his|her|yes|no)\b", re.IGNORECASE)
OPENING = re.compile(r"^(?:sure|certainly|of course|yes, i can|here (?:is|are)\b[^.:]*)[^\w.:]*[.:!]\s*", re.IGNORECASE)

LABELLED = {
    "numbered": ("{index}. **{label}**: {text}", "\n"),
    "dashes": ("- {label}: {text}", "\n"),
    "bold": ("**{label}**: {text}", "\n\n"),
    "label": ("{label}: {text}", "\n"),
    "headings": ("## {label}\n{text}", "\n\n"),
}
UNLABELLED = {
    "numbered": ("{index}. {text}", "\n"),
    "dashes": ("- {text}", "\n"),
    "lines": ("{text}", "\n"),
    "paragraphs": ("{text}", "\n\n"),
}
WISHED = {  # the first pattern that a prompt has -> its frame, where parts have labels and where not
    re.compile(r"^1\. |\bnumbered list\b", re.MULTILINE): ("numbered", "numbered"),
    re.compile(r"^- |\blist\b|\bbullet points\b", re.MULTILINE): ("dashes", "dashes"),
    re.compile(r"\bheadings\b|\bsections\b"): ("headings", "paragraphs"),
    re.compile(r"\bparagraph\b"): ("bold", "paragraphs"),
    re.compile(r"\bglossary\b"): ("label", "lines"),
}


@dataclass(frozen=True)
class PartAnswer:
    """A part of an answer: its topic in the plan, its label ("" for none) and its text.

    question: what was asked; subject: what the text must name, "" where any word of the question is enough.
    """

    topic: str
    label: str
    text: str
    question: str = ""
    subject: str = ""

    @property
    def is_aside(self) -> bool:
        """Tell whether the text has no word of its subject or question, and no pronoun for it at its beginning."""
        wanted, text = (set(map(stem, telling(one))) for one in (self.subject or self.question, self.text))
        return len(words_of(self.text)) > FEW_WORDS and not text & wanted and not BACK_REFERENCE.match(self.text)


def _is_code(part: PartAnswer) -> bool:
    return CODE.search(part.text) is not None


def _speaks_as_a_person(part: PartAnswer) -> bool:
    return FIRST_PERSON.search(part.text) is not None


def _harps(part: PartAnswer) -> bool:
    """Tell whether a long word that its question does not have stands in the text three times."""
    counts = Counter(word for word in words_of(part.text) if len(word) > SHORT_WORD)
    asked = set(map(stem, words_of(part.question)))
    return any(count >= MOST_TIMES and stem(word) not in asked for word, count in counts.items())


PART_RULES: dict[str, Callable[[PartAnswer], bool]] = {
    "code": _is_code,
    "person": _speaks_as_a_person,
    "harping": _harps,
    "aside": lambda part: part.is_aside,
}


def part_of(asked: Mapping[str, Any], answer: str, ended: str) -> PartAnswer:
    """Return the part that a sub-prompt and its answer make: the first paragraph's first whole sentences.

    An answer of a few words that ended by itself may lack its full stop.
    """
    paragraph = OPENING.sub("", answer.strip()).strip().split("\n")[0]
    if ended != "length" and len(words_of(answer)) <= FEW_WORDS and paragraph[-1:].isalnum():
        paragraph += "."
    sentences = SENTENCE_END.split(LIST_MARK.sub("", paragraph).strip())
    whole = [sentence for sentence in sentences if WHOLE_SENTENCE.search(sentence)]
    text = " ".join(whole[: asked["sentences"]])
    return PartAnswer(asked["topic"], asked["label"], _without_quotes(text), asked["prompt"], asked["subject"])


def _without_quotes(text: str) -> str:
    """Return a text without the quotation marks around all of it."""
    inner = text[1:-1]
    return inner if text[:1] == text[-1:] == '"' and '"' not in inner else text


def reason_to_drop_parts(parts: Sequence[PartAnswer]) -> str | None:
    """Return the name of the first rule that a part breaks, or two parts together; None for good parts."""
    for index, part in enumerate(parts):
        if not part.text:
            return UNFINISHED
        # The token limit is no fault of a part that was cut to whole sentences.
        reason = reason_to_drop(AnsweredPrompt("", part.text, parts=None, ended="stop"))
        if reason:
            return reason
        broken = next((name for name, breaks in PART_RULES.items() if breaks(part)), None)
        if broken:
            return broken
        if any(overlap(part.text, other.text) > MOST_OVERLAP for other in parts[:index]):
            return OVERLAP
    return None


def overlap(text: str, other: str) -> float:
    """Return the share of the word 3-grams of the shorter text that the other has; texts below three words are one."""
    both = [_triples(text), _triples(other)]
    return len(both[0] & both[1]) / min(map(len, both))


def _triples(text: str) -> set[tuple[str, ...]]:
    words = words_of(text)
    return set(zip(words, words[1:], words[2:], strict=False)) or {tuple(words)}


def frame_for(prompt: str, parts: Sequence[PartAnswer]) -> tuple[str, str]:
    """Return the format of a part and what stands between parts, as the prompt wishes.

    The prompt alone decides: parts that are written at the same time cannot agree on anything else.
    """
    has_labels = all(part.label for part in parts)
    frames = LABELLED if has_labels else UNLABELLED
    for pattern, names in WISHED.items():
        if pattern.search(prompt):
            return frames[names[not has_labels]]
    return frames["bold" if has_labels else "lines"]


def assembled(prompt: str, parts: Sequence[PartAnswer]) -> list[tuple[str, str]]:
    """Return topic and text of each span; the texts, joined, are the answer."""
    form, between = frame_for(prompt, parts)
    spans = []
    for index, part in enumerate(parts, start=1):
        text = form.format(index=index, label=_capital(part.label), text=part.text)
        spans.append((part.topic, text if index == 1 else between + text))
    return spans


def _capital(label: str) -> str:
    return label[:1].upper() + label[1:]
