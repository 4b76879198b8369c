"""Count how often guesses are right as a request goes on, whether they were made or another took their place."""

from collections.abc import Sequence

PRIOR = 1.0  # counted guesses that weigh as much as what was expected of them
MEMORY = 0.95  # weight of a forward, relative to the one after it
FORWARDS_WITHOUT = 32  # before a request whose guesses failed tries again


class Acceptance:
    """How likely the first i guesses are all right, as counted over a request's forwards, the latest counting most.

    The i-th guess is judged where those before it were right. A guess that was judged seldom is expected to do
    as the one before it does, so that a model that guesses well is soon trusted further ahead than it was ever tried.

    Args:
        most: guesses, at most.
        expected: share of them that is right, before any was checked (`draft_acceptance`).

    Attributes:
        shares: how likely each guess is right where those before it are.
        rates: how likely the first 0, 1, ... are all right.
    """

    def __init__(self, most: int, expected: float) -> None:
        self._expected = expected
        self._right = [0.0] * most  # of the i-th guesses that were reached, the latest counting most ...
        self._reached = [0.0] * most  # ... and all of them
        self._without = 0  # forwards since the last guess
        self.shares, self.rates = self._counted()

    def judge(self, guesses: Sequence[int], tokens: Sequence[int]) -> None:
        """Take in what was guessed, whether it was checked or not, and the tokens that were written."""
        agreed = [guess == token for guess, token in zip(guesses, tokens, strict=False)]
        self.learn(len(agreed), agreed.index(False) if False in agreed else len(agreed))

    def learn(self, offered: int, accepted: int) -> None:
        """Take in that of `offered` guesses the first `accepted` were right."""
        for index in range(min(offered, accepted + 1, len(self._right))):
            self._right[index] = MEMORY * self._right[index] + (index < accepted)
            self._reached[index] = MEMORY * self._reached[index] + 1
        if offered:  # or a try (`try_again`) would end before its guess is checked
            self.shares, self.rates = self._counted()

    def _counted(self) -> tuple[list[float], list[float]]:
        """Return how likely each guess is right behind the one before it, and the first 0, 1, ... all are."""
        shares, rates, share = [], [1.0], self._expected
        for right, reached in zip(self._right, self._reached, strict=True):
            share = (PRIOR * share + right) / (PRIOR + reached)
            shares.append(share)
            rates.append(rates[-1] * share)
        return shares, rates

    def try_again(self, has_guesses: bool, worth: float) -> None:
        """Be told of each forward whether it checks guesses; after many without, think the next one just worth a try.

        Args:
            worth: how likely a guess must be for that; one failure takes it below.
        """
        self._without = 0 if has_guesses else self._without + 1
        if self._without > FORWARDS_WITHOUT and len(self.rates) > 1:
            self._without, self.rates[1] = 0, 1.01 * worth
            self.shares[0] = self.rates[1]
