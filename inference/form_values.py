"""The tokens of a tokenizer that values of a form may consist of: texts that need no escapes, and numbers."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from transformers import PreTrainedTokenizerBase

from ..generation.value_rules import DIGITS, TextTokens
from ..records.escaping import spelled_ids
from .answer import read

BEHIND_VALUES = frozenset(",}]")
NUMBER_CHARACTERS = frozenset(DIGITS + "-.")
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True, eq=False)
class FormTokens:
    """The ordinary tokens of a tokenizer, each with the text that it adds behind others; `pad` ends a value.

    quotes, marks: tokens that begin with what stands behind a string, or behind another value.
    """

    texts: dict[int, str]
    numbers: dict[int, str]
    pad: int
    quotes: frozenset[int]
    marks: frozenset[int]

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, pad: int) -> "FormTokens":
        """Return the tokens of a tokenizer.

        Raises:
            ValueError: a tokenizer without single digits or characters, which could not end every value.
        """
        # Behind another token, since some tokenizers drop the space at the start of a text.
        [anchor, *_] = tokenizer.encode("a", add_special_tokens=False)
        start = len(read(tokenizer, [anchor]))
        special = set(spelled_ids(tokenizer).values()) | set(tokenizer.all_special_ids)
        spelled = {
            token: read(tokenizer, [anchor, token])[start:] for token in range(len(tokenizer)) if token not in special
        }
        texts = {token: text for token, text in spelled.items() if text and _is_plain(text)}
        numbers = {token: text for token, text in texts.items() if NUMBER_CHARACTERS.issuperset(text)}
        if not set(DIGITS) <= set(numbers.values()):
            raise ValueError("The tokenizer has no token for every digit, so numbers cannot be filled in.")
        quotes = frozenset(token for token, text in spelled.items() if text.startswith('"'))
        marks = frozenset(token for token, text in spelled.items() if text[:1] in BEHIND_VALUES)
        return cls(texts, numbers, pad, quotes, marks)

    @cached_property
    def lengths(self) -> TextTokens:
        """The texts by their length in characters."""
        return TextTokens({token: len(text) for token, text in self.texts.items()}, self.pad, self.quotes)

    def spell(self, tokens: Iterable[int]) -> str:
        """Return the text of a value's tokens."""
        return "".join(self.texts[token] for token in tokens)


def _is_plain(text: str) -> bool:
    """Tell whether a text may stand in a JSON string as it is, and holds no part of a character."""
    return REPLACEMENT not in text and '"' not in text and "\\" not in text and all(c >= " " for c in text)
