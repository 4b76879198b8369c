"""Token ids as text without a tokenizer: how a trace spells them, alone and together.

A trace has every token alone, and most of them joined to their neighbours. Together they may read differently: bytes
that make one character only together (alone each reads as U+FFFD), and a space that some tokenizers leave out in front
of a token that stands alone. Both are learned by reading the joined text along the single ones.
"""

from collections.abc import Iterable, Sequence

from ...generation.tokens import SPELLING

HALF = "\N{REPLACEMENT CHARACTER}"
MOST_BYTES = 16  # tokens of one run of bytes: characters of several parts, such as flags, have up to 16 and more


class Spellings:
    """The texts of token ids, learned from pairs of ids and texts.

    Attributes:
        alone: the text of every token by itself.
        special: tokens that are spelled like a control token or a digit's tag, and are no text.
    """

    def __init__(self) -> None:
        self.alone: dict[int, str] = {}
        self.special: set[int] = set()
        self._joined: dict[int, str] = {}  # in the middle of a text, where that is not as alone
        self._runs: dict[tuple[int, ...], str] = {}  # bytes of one or more characters
        self._phrases: dict[tuple[int, ...], str] = {}  # known as a whole

    def learn(self, token_ids: Sequence[int], texts: Sequence[str]) -> None:
        """Take in tokens and their texts alone."""
        for token, text in zip(token_ids, texts, strict=True):
            self.alone[token] = text
            if text in SPELLING.values():
                self.special.add(token)

    def learn_joined(self, token_ids: Sequence[int], text: str) -> None:
        """Take in tokens whose texts alone are known, and the text that they make together."""
        at, run = 0, []
        for token in token_ids:
            alone = self.alone.get(token, HALF)
            if HALF in alone:
                run.append(token)
                continue
            place = text.find(alone, at + len(run) // 4)
            if place < 0 or (not run and place > at + 1):
                return  # the two do not belong together
            before = text[at:place]
            if run:
                self._runs[tuple(run)] = before
                run = []
            elif before:
                self._joined[token] = before + alone
            at = place + len(alone)
        if run and text[at:]:
            self._runs[tuple(run)] = text[at:]

    def learn_phrase(self, token_ids: Sequence[int], text: str) -> None:
        """Take in a text whose tokens need not be known one by one."""
        self._phrases[tuple(token_ids)] = text

    def pieces(self, token_ids: Sequence[int]) -> list[str]:
        """Return the text of each token where they stand side by side; a run of bytes is told at its last one."""
        pieces: list[str] = []
        while len(pieces) < len(token_ids):
            at = len(pieces)
            length = self._run_at(token_ids, at)
            if length:
                pieces += [""] * (length - 1) + [self._runs[tuple(token_ids[at : at + length])]]
            else:
                token = token_ids[at]
                pieces.append(self._joined.get(token, self.alone.get(token, HALF)))
        return pieces

    def _run_at(self, token_ids: Sequence[int], at: int) -> int:
        """Return how many tokens from here on are a known run of bytes, 0 for none."""
        lengths = range(min(MOST_BYTES, len(token_ids) - at), 0, -1)
        return next((length for length in lengths if tuple(token_ids[at : at + length]) in self._runs), 0)

    def decode(self, token_ids: Iterable[int], skip_special_tokens: bool = False, **ignored: object) -> str:
        """Return token ids as text, as a tokenizer of transformers does."""
        kept = tuple(token for token in token_ids if not (skip_special_tokens and token in self.special))
        return self._phrases[kept] if kept in self._phrases else "".join(self.pieces(kept))
