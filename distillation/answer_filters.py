"""The rules by which answers are dropped. The first rule that an answer breaks names the reason.

Rules look at a single answer; `filtered` also drops those that were given before.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ..records.tagged import is_tagged

MOST_REPEATED = 0.1  # share of an answer's word 3-grams that occurred in it before
LEAST_WORDS_OF_PARTS = 6  # of an answer to a prompt that asks for independent parts
LEAST_WORDS_OF_DUPLICATES = 8  # shorter answers, such as that to a sum, may well be those of several prompts
MOST_FOREIGN = 0.1  # share of the letters that English does not have

CHAT_TAG = re.compile(r"<\|\w+\|>|</?s>|\[/?INST\]")
MODEL = r"an? (?:ai\b|artificial|(?:large )?language model|chatbot|(?:digital|virtual) assistant|computer program)"
WORK = r"(?:help|assist|provide|answer|fulfill|comply|access|browse|generate|write|create|offer|give you|tell you)\b"
REFUSAL = re.compile(  # "I cannot" and "I am unable to" alone stand in many a letter or story
    rf"\b(?:as|i am|i'm|i am just|i'm just) {MODEL}"
    rf"|\bi (?:cannot|can't|can not|won't|am unable to|am not able to) {WORK}"
    rf"|\bi'm (?:unable|not able) to {WORK}"
    r"|\bi (?:do not|don't) have (?:personal|real-time|the (?:ability|capability)|access to)\b"
    r"|\bi(?: am|'m|'ve been| was| have been) (?:not )?(?:programmed|designed|trained) (?:to|by|on)\b"
    r"|\bsmollm|\bhugging ?face\b"
)

FORM = re.compile(r"\b(?:this list|numbered list|bullet points?|list items?|(?:one|short|single) sentences?)\b")


@dataclass(frozen=True)
class AnsweredPrompt:
    """An answer and its prompt: whether that asks for independent parts (None: not known), and why the answer ended."""

    prompt: str
    answer: str
    parts: bool | None
    ended: str


def words_of(text: str) -> list[str]:
    """Return the words of a text in small letters, without punctuation."""
    return re.findall(r"\w+(?:'\w+)*", text.lower())


def repeated_share(text: str) -> float:
    """Return the share of a text's word 3-grams that occurred in it before."""
    words = words_of(text)
    triples = list(zip(words, words[1:], words[2:], strict=False))
    return 1 - len(set(triples)) / len(triples) if triples else 0.0


def is_cut(one: AnsweredPrompt) -> bool:
    """Tell whether the answer reached the token limit."""
    return one.ended == "length"


def is_short(one: AnsweredPrompt) -> bool:
    """Tell whether the answer has no word, or too few for the parts that its prompt asks for."""
    return len(words_of(one.answer)) < (LEAST_WORDS_OF_PARTS if one.parts else 1)


def has_tags(one: AnsweredPrompt) -> bool:
    """Tell whether the answer spells a control tag of plans or chats."""
    return is_tagged(one.answer) or CHAT_TAG.search(one.answer) is not None


def is_refusal(one: AnsweredPrompt) -> bool:
    """Tell whether the answer declines, or speaks of the model instead of the matter."""
    return REFUSAL.search(one.answer.lower().replace("’", "'")) is not None


def is_about_its_form(one: AnsweredPrompt) -> bool:
    """Tell whether the answer speaks of the list or sentences that it was to be written in, and its prompt does not."""
    return FORM.search(one.answer.lower()) is not None and FORM.search(one.prompt.lower()) is None


def is_foreign(one: AnsweredPrompt) -> bool:
    """Tell whether many of the answer's letters are not English ones, or a character was cut."""
    letters = [letter for letter in one.answer if letter.isalpha()]
    foreign = sum(not letter.isascii() for letter in letters)
    return "\N{REPLACEMENT CHARACTER}" in one.answer or foreign > MOST_FOREIGN * len(letters)


def is_repetitive(one: AnsweredPrompt) -> bool:
    """Tell whether a tenth or more of the answer's word 3-grams are repeated."""
    return repeated_share(one.answer) >= MOST_REPEATED


CUT, REPETITIVE = "cut", "repetitive"  # rules that an answer may be saved from, see answer_trimming.py
RULES: dict[str, Callable[[AnsweredPrompt], bool]] = {
    CUT: is_cut,
    "short": is_short,
    "tags": has_tags,
    "refusal": is_refusal,
    "form": is_about_its_form,
    "foreign": is_foreign,
    REPETITIVE: is_repetitive,
}
DUPLICATE = "duplicate"


def reason_to_drop(one: AnsweredPrompt) -> str | None:
    """Return the name of the first rule that an answer breaks; None for a good answer."""
    return next((name for name, breaks in RULES.items() if breaks(one)), None)


def filtered(answers: Iterable[AnsweredPrompt]) -> Iterator[str | None]:
    """Yield for each answer the reason to drop it, or None."""
    return without_duplicates((one.answer, reason_to_drop(one)) for one in answers)


def without_duplicates(checked: Iterable[tuple[str, str | None]]) -> Iterator[str | None]:
    """Yield for each answer the reason that was found to drop it, or that a good one before it is the same, or None."""
    seen: set[str] = set()
    for answer, reason in checked:
        words = words_of(answer)
        if reason is None and len(words) >= LEAST_WORDS_OF_DUPLICATES:
            key = " ".join(words)
            reason = DUPLICATE if key in seen else None
            seen.add(key)
        yield reason
