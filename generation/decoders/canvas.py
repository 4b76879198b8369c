"""The canvas of one request: its tokens with their labels, which of them are blank, and which states are stale."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from typing import Any

from ..events import PlacedSpan, TokensWritten
from ..plan import Round, opening_of
from ..query import Drawn, Query, Request
from ..tokens import Allowed
from ..value_rules import Rule
from ..visibility import CAUSAL, CLEAN, DRAFT, NO_SPAN
from .prose import Prose


class Canvas:
    """Tokens of one request in plain lists; a token's position is its index.

    Attributes:
        ids, spans, rounds: of every token, as in `visibility.py`.
        blanks: positions that hold the mask token.
        stale: positions whose cached state is missing or no longer true: tokens never run, and spans in which something
            was written since. Decoders add to it. A query is right as long as everything that its tokens see is fresh
            or run along; running a position makes it fresh.
        placed: the spans with tags, per round.
        openings: positions of their opening tags, ascending.
        repeated: positions of the promises that stand in spans again.
        untagged: positions of blocks without tags, ascending.
        text_outside: positions outside spans that hold answer text or EOS.
        confidences: of each token when it was written.
        prose: the canvas read as text.
    """

    def __init__(self, request: Request, hold: bool = False) -> None:
        self.control = request.control
        self.ids: list[int] = []
        self.spans: list[int] = []
        self.rounds: list[int] = []
        self.blanks: set[int] = set()
        self.stale: set[int] = set()
        self.placed: list[tuple[PlacedSpan, ...]] = []
        self.openings: list[int] = []
        self.repeated: set[int] = set()
        self.untagged: list[int] = []
        self.text_outside: set[int] = set()
        self.confidences: dict[int, float] = {}
        self.round = 0
        self._start_of_round = 0
        self._next_label = 0  # of the next span
        self._taken_back: dict[int, int] = {}  # position -> token whose state the cache still holds
        self._exact: set[int] = set()  # blanks that may not become `[PAD]`
        self._ruled: list[tuple[range, Rule]] = []  # blanks that are values
        self.append(request.prompt_ids)
        self.prompt_length = len(self.ids)
        self.prose = Prose(self, request.separator_ids, request.should_stop, hold)

    @property
    def room_used(self) -> int:
        """Tokens after the prompt, plan and tags included: the ones that `max_new_tokens` bounds."""
        return len(self.ids) - self.prompt_length

    # Layout

    def append(self, ids: Iterable[int], span: int = NO_SPAN, is_text: bool = False) -> range:
        """Append tokens and return their positions; `is_text` marks words, or EOS, written outside any span."""
        start = len(self.ids)
        self.ids.extend(ids)
        added = range(start, len(self.ids))
        self.spans.extend([span] * len(added))
        self.rounds.extend([self.round] * len(added))
        self.stale.update(added)
        if is_text:
            self.text_outside.update(added)
        return added

    def append_again(self, token: int, is_text: bool = False) -> int:
        """Append a token and return its position; if the same was just taken back there, its state is right."""
        (position,) = self.append([token], is_text=is_text)
        if self._taken_back.get(position) == token:
            self.stale.discard(position)
            del self._taken_back[position]
        return position

    def take_back(self, length: int) -> None:
        """Remove the tokens from position `length` on, which lie outside any span."""
        removed = range(length, len(self.ids))
        self._taken_back |= {position: self.ids[position] for position in removed if position not in self.stale}
        self.stale.difference_update(removed)
        self.prose.unread(length)
        for column in (self.ids, self.spans, self.rounds):
            del column[length:]

    def lay_out(self, promises: Round, is_dense: bool) -> tuple[PlacedSpan, ...]:
        """Place the spans of a round as blanks between their tags; dense spans share one label."""
        placed, control = [], self.control
        for index, span in enumerate(promises.spans):
            opened = self.append(opening_of(span.topic_ids, span.number, control), self._next_label)
            self.openings.append(opened.start)
            self.repeated.update(opened[1:])
            content = self.append(
                span.skeleton.ids if span.skeleton else [control.mask] * span.length, self._next_label
            )
            self.append([control.async_end], self._next_label)
            self.blanks |= {position for position in content if self.ids[position] == control.mask}
            if span.skeleton:
                self._exact.update(content.start + offset for offset in span.skeleton.exact)
                self._ruled += [(content[run.start : run.stop], rule) for run, rule in span.skeleton.ruled]
            given = tuple((position, self.ids[position]) for position in content if position not in self.blanks)
            placed.append(PlacedSpan(index, span.topic_ids, content.start, content.stop, given, len(opened)))
            self._next_label += not is_dense
        self._next_label += is_dense
        self.placed.append(tuple(placed))
        return self.placed[-1]

    def lay_out_block(self, length: int) -> PlacedSpan:
        """Place blanks at the end as a span without tags: a whole answer or a block of one; EOS or `[PAD]` ends it."""
        content = self.append([self.control.mask] * length, self._next_label)
        self._next_label += 1
        self.blanks.update(content)
        self.untagged += content
        return PlacedSpan(0, (), content.start, content.stop)

    def next_round(self, first_ids: Iterable[int] = ()) -> None:
        """Begin the next round; its first tokens, `<sync/>` in a plan, belong to it already."""
        self.round += 1
        self._start_of_round = len(self.ids)
        self.append(first_ids)

    def join_spans(self) -> range:
        """Make one span of all, in one round, whose tokens see each other; return the positions that are stale."""
        inside = [position for position, span in enumerate(self.spans) if span != NO_SPAN]
        for position in inside:
            self.spans[position] = self._next_label
        self._next_label += 1
        self._start_of_round = 0
        changed = range(inside[0], len(self.ids))
        self.stale.update(changed)
        return changed

    def take_ruled(self) -> list[tuple[range, Rule]]:
        """Return the blanks that are values, each with its rule; the next call returns those laid out since."""
        ruled, self._ruled = self._ruled, []
        return ruled

    # Writing

    def write(self, drawn: Mapping[int, Drawn]) -> TokensWritten:
        """Fill blanks with the tokens of a step, position -> token, and return the event that says so."""
        for position, each in drawn.items():
            self.ids[position] = each.token
            if each.confidence is not None:
                self.confidences[position] = each.confidence
        self.blanks.difference_update(drawn)
        tokens, scores, _ = zip(*drawn.values(), strict=True)
        return TokensWritten(self.round, tuple(drawn), tokens, scores)

    def make_blank(self, positions: Iterable[int]) -> None:
        """Blank written positions again."""
        for position in positions:
            self.ids[position] = self.control.mask
            self.blanks.add(position)

    # Asking

    def query(
        self,
        run: Iterable[int],
        predict: list[int],
        allowed: Allowed | list[Allowed],
        purpose: str,
        causal: Container[int] = (),
        guesses: Mapping[int, int] | None = None,
        **fields: Any,
    ) -> Query:
        """Build the query that runs positions and asks for tokens; the positions that run are fresh from then on.

        Args:
            run: positions to run, in any order.
            predict: positions whose tokens are wanted: the row of p - 1 predicts p (the backbone's shift).
            allowed: tokens that may be drawn, for all of them or one entry each.
            purpose: as in `Query`.
            causal: positions that run in the CAUSAL stream, where they see their span to the left only.
            guesses: position -> token that runs there in place of the one that stands there.
            fields: further fields of `Query`.
        """
        run = sorted(run)
        stale = self.stale.intersection(run)
        commits = any(self.spans[position] != NO_SPAN for position in stale if position < self._start_of_round)
        self.stale -= stale
        place = dict(zip(run, range(len(run)), strict=True))
        clean = [position for position in run if position not in causal] if causal else run
        forget = sorted(self._taken_back.keys() - set(clean))
        self._taken_back.clear()
        ids, spans, rounds = (list(map(column.__getitem__, run)) for column in (self.ids, self.spans, self.rounds))
        if guesses:
            ids = [guesses.get(position, token) for position, token in zip(run, ids, strict=True)]
        if not self._exact.isdisjoint(predict) and isinstance(allowed, Allowed):
            without_pad = replace(allowed, ids=allowed.ids | {self.control.span_pad})
            allowed = [without_pad if position in self._exact else allowed for position in predict]
        return Query(
            token_ids=ids,
            positions=run,
            spans=spans,
            rounds=rounds,
            streams=[CAUSAL if position in causal else CLEAN for position in run] if causal else [CLEAN] * len(run),
            wanted=[place[position - 1] for position in predict],
            allowed=allowed,
            purpose=purpose,
            forget=forget,
            commits=commits,
            **fields,
        )

    def with_drafts(self, query: Query, anchors: Mapping[int, int], allowed: Allowed) -> Query:
        """Add blanks that guess what follows: for each anchor, a position, so many of them behind it.

        Args:
            allowed: tokens that may be guessed.
        """
        anchored = [anchor for anchor, count in anchors.items() for _ in range(count)]
        query = replace(query, by_position=True)
        if not anchored:
            return query
        first, wanted = len(query.token_ids), len(query.wanted)
        is_alike = query.allowed == allowed
        already = [query.allowed] * wanted if isinstance(query.allowed, Allowed) else query.allowed
        return replace(
            query,
            token_ids=query.token_ids + [self.control.mask] * len(anchored),
            positions=query.positions + [a + 1 + offset for a, count in anchors.items() for offset in range(count)],
            spans=query.spans + [self.spans[anchor] for anchor in anchored],
            rounds=query.rounds + [self.rounds[anchor] for anchor in anchored],
            streams=query.streams + [DRAFT + anchor for anchor in anchored],
            wanted=[*query.wanted, *range(first, first + len(anchored))],
            allowed=allowed if is_alike else [*already, *[allowed] * len(anchored)],
            drafts=len(anchored),
        )


def open_blanks(canvas: Canvas, span: PlacedSpan) -> list[int]:
    """Return the positions of a span that are still blank, ascending."""
    return list(filter(canvas.blanks.__contains__, span.positions))
