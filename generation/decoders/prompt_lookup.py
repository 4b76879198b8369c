"""Guess text by looking it up: what followed the last two tokens where they stood before, in prompt or answer.

    prompt and answer    ... a family gathering that brings ... 3. Family outing: a family
    last two tokens                                                              a family
    guessed                                                                               gathering that brings ...

Such a guess costs the row that checks it and nothing else, needs no training, and is right more often than not; but in
five forwards of six there is none.

Source: prompt lookup decoding (Saxena 2023; `prompt_lookup_num_tokens` of transformers).
"""

from collections.abc import Sequence

from .canvas import Canvas


class PromptLookup:
    """The pairs of tokens of a canvas, and where they last stood.

    Args:
        canvas: whose tokens are looked up as they stand.
        most: tokens that are guessed at once.
    """

    def __init__(self, canvas: Canvas, most: int) -> None:
        self.canvas, self.most = canvas, most
        self._behind: dict[tuple[int, int], int] = {}  # pair of tokens -> position of the token behind it
        if most:
            self.read(0, len(canvas.ids))

    def read(self, start: int, stop: int) -> None:
        """Take in the tokens of positions from `start` to `stop`, which are final; blanks are passed over."""
        ids, mask = self.canvas.ids, self.canvas.control.mask
        for position in range(max(start, 2), min(stop, len(ids))):
            if ids[position] != mask:
                self._behind[ids[position - 2], ids[position - 1]] = position

    def guesses(self, position: int, chain: Sequence[int] = ()) -> list[int]:
        """Return what is guessed to stand at a position and behind it; nothing where the pair before it is new.

        A guess that reaches the position goes on with itself: a repetition is guessed to any length.

        Args:
            chain: guesses from the position on, behind which the lookup is to go on.
        """
        ids, control = self.canvas.ids, self.canvas.control
        first, second, *_ = [*chain[:-3:-1], *ids[position - 1 : max(0, position - 3) : -1], -1, -1]
        place = self._behind.get((second, first))
        ahead = list(chain)
        while place is not None and len(ahead) - len(chain) < self.most:
            token = ids[place] if place < len(ids) else control.mask
            if token == control.mask and 0 <= place - position < len(ahead):
                token = ahead[place - position]
            if token in control.tags:
                break
            ahead.append(token)
            place += 1
        return ahead[len(chain) :]
