"""The canvas of one request: its tokens with their labels, what is blank, what is stale, and how it reads as text."""

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from ..events import Ended, FinishedSpan, PlacedSpan, TokensWritten
from ..plan import Round
from ..query import Drawn, Query, never
from ..tokens import Allowed, ControlTokens
from ..visibility import CAUSAL, CLEAN, NO_SPAN


class Canvas:
    """Plain lists; a token's position is its index.

    `stale` are the positions whose cached state is missing or no longer true: tokens never run, and spans in which
    something was written since. Running a position makes it fresh; a query is right as long as everything that its
    tokens see is fresh or run along.
    """

    def __init__(
        self,
        prompt_ids: Iterable[int],
        tokens: ControlTokens,
        separator_ids: tuple[int, ...] = (),
        hold: bool = False,
    ):
        self.tokens = tokens
        self.separator_ids = separator_ids
        self.ids: list[int] = []
        self.spans: list[int] = []
        self.rounds: list[int] = []
        self.blanks: set[int] = set()
        self.stale: set[int] = set()
        self.placed: list[list[PlacedSpan]] = []  # per round
        self.round = 0
        self._start_of_round = 0
        self._span_labels = 0
        self._taken_back: set[int] = set()  # positions whose states are of tokens that are gone
        self.stopped = False
        self.held = hold  # nothing is final text before `release`
        self.snapshots: dict[int, float] = {}  # confidence of each token when it was written
        self._read = 0  # positions before it have been read as text
        self._answer: list[int] = []  # the text read so far
        self._prose: set[int] = set()  # positions outside spans that hold answer text or EOS
        self._starts: set[int] = set()  # first content position of every span with tags
        self._exact: set[int] = set()  # positions that may not hold a `[PAD]`
        self._untagged: list[int] = []  # positions of blocks, ascending
        self._first_start = 0
        self.append(prompt_ids)
        self.prompt_length = self._read = len(self.ids)

    def append(self, ids: Iterable[int], span: int = NO_SPAN, text: bool = False) -> range:
        """Adds tokens at the end; `text` marks words (or EOS) written outside any span."""
        start = len(self.ids)
        self.ids.extend(ids)
        added = range(start, len(self.ids))
        self.spans.extend([span] * len(added))
        self.rounds.extend([self.round] * len(added))
        self.stale.update(added)
        if text:
            self._prose.update(added)
        return added

    def shorten(self, length: int) -> None:
        """Takes back the tokens from position `length` on, which lie outside any span and have run."""
        self._taken_back.update(range(length, len(self.ids)))
        for labels in (self.ids, self.spans, self.rounds):
            del labels[length:]

    def restore(self, token: int) -> int:
        """Appends the token that was last taken back from there, whose state is still right; returns its position."""
        (position,) = self.append([token])
        self.stale.discard(position)
        self._taken_back.discard(position)
        return position

    def lay_out(self, plan: Round, dense: bool) -> tuple[PlacedSpan, ...]:
        """Places the spans of a round as blanks between their tags; dense spans share one label."""
        placed, tokens = [], self.tokens
        for span in plan.spans:
            self.append([tokens.async_start], self._span_labels)
            ids = span.skeleton.ids if span.skeleton else [tokens.mask] * span.length
            content = self.append(ids, self._span_labels)
            self.append([tokens.async_end], self._span_labels)
            blanks = {position for position in content if self.ids[position] == tokens.mask}
            self.blanks |= blanks
            self._exact.update(content.start + index for index in (span.skeleton.exact if span.skeleton else ()))
            given = tuple((position, self.ids[position]) for position in content if position not in blanks)
            self._first_start = self._first_start or content.start
            self._starts.add(content.start)
            placed.append(PlacedSpan(len(placed), span.topic_ids, content.start, content.stop, given))
            self._span_labels += not dense
        self._span_labels += dense
        self.placed.append(placed)
        return tuple(placed)

    def lay_out_block(self, length: int) -> PlacedSpan:
        """Places blanks at the end as a span without tags: a whole answer or a block of one; EOS or `[PAD]` ends it."""
        content = self.append([self.tokens.mask] * length, self._span_labels)
        self._span_labels += 1
        self.blanks.update(content)
        self._untagged += content
        return PlacedSpan(0, (), content.start, content.stop)

    @property
    def end(self) -> int | None:
        """Where an answer without tags ends, as it stands: at its first EOS or `[PAD]`."""
        ends = {self.tokens.span_pad, *self.tokens.eos}
        return next((position for position in self._untagged if self.ids[position] in ends), None)

    @property
    def is_complete(self) -> bool:
        """Whether everything up to the end of an answer without tags is written."""
        end = self.end
        return not self.blanks or (end is not None and min(self.blanks) > end)

    @property
    def outcome(self) -> str:
        """How an answer without tags ended, or would: "stop", "eos" or "length"."""
        return "stop" if self.stopped else "length" if self.end is None else "eos"

    def write(self, position: int, token_id: int) -> None:
        """Fills a blank."""
        self.ids[position] = token_id
        self.blanks.discard(position)

    def write_all(self, written: Mapping[int, Drawn]) -> TokensWritten:
        """Fills blanks with what a step drew, and says so."""
        for position, drawn in written.items():
            self.write(position, drawn.token)
            if drawn.confidence is not None:
                self.snapshots[position] = drawn.confidence
        tokens, scores, _ = zip(*written.values(), strict=True)
        return TokensWritten(self.round, tuple(written), tokens, scores)

    def blank(self, positions: Iterable[int]) -> None:
        """Takes back what was written."""
        for position in positions:
            self.ids[position] = self.tokens.mask
            self.blanks.add(position)

    def join_spans(self) -> range:
        """Makes one span of all, so that their tokens see each other; returns what that made stale: all from there."""
        inside = [position for position, span in enumerate(self.spans) if span != NO_SPAN]
        for position in inside:
            self.spans[position] = self._span_labels
        self._span_labels += 1
        changed = range(inside[0], len(self.ids))
        self.stale.update(changed)
        return changed

    @staticmethod
    def extent(span: PlacedSpan) -> range:
        """Positions of a span with its tags."""
        return range(span.start - 1, span.stop + 1)

    def touch(self, span: PlacedSpan) -> None:
        """Marks a span as stale."""
        self.stale.update(self.extent(span))

    def open_blanks(self, span: PlacedSpan) -> list[int]:
        return list(filter(self.blanks.__contains__, span.positions))

    def is_filled(self, span: PlacedSpan) -> bool:
        return self.blanks.isdisjoint(span.positions)

    def begin_round(self) -> None:
        """What is appended from now on belongs to the next round."""
        self.round += 1
        self._start_of_round = len(self.ids)

    def next_round(self) -> None:
        """Writes `<sync/>`: it and what follows belong to the next round."""
        self.begin_round()
        self.append([self.tokens.sync])

    def query(
        self,
        run: Iterable[int],
        predict: list[int],
        allowed: Allowed,
        purpose: str,
        process=None,
        causal: Container[int] = (),
        drafted: Mapping[int, int] = MappingProxyType({}),
        **fields,
    ) -> Query:
        """Runs positions and asks for the tokens at `predict`: the row of p - 1 predicts p (the backbone's shift).

        `process` is a request's logits processor; it gets the ids so far. Positions in `causal` run in the CAUSAL
        stream: they see their span to the left only. `drafted` are tokens to run in place of those of the canvas. More
        `fields` are those of `Query`.
        """
        run = sorted(run)
        stale = self.stale.intersection(run)
        self.stale -= stale
        place = dict(zip(run, range(len(run)), strict=True))
        clean = [position for position in run if position not in causal] if causal else run
        forget = sorted(self._taken_back.difference(clean))
        self._taken_back.clear()
        ids, spans, rounds = (list(map(of_all.__getitem__, run)) for of_all in (self.ids, self.spans, self.rounds))
        return Query(
            token_ids=list(map(drafted.get, run, ids)) if drafted else ids,
            positions=run,
            spans=spans,
            rounds=rounds,
            streams=[CAUSAL if position in causal else CLEAN for position in run] if causal else [CLEAN] * len(run),
            wanted=[place[position - 1] for position in predict],
            allowed=allowed if self._exact.isdisjoint(predict) else self._without_pads(predict, allowed),
            purpose=purpose,
            process=None if process is None else lambda scores: process(self.ids, scores),
            forget=forget,
            **{"commits": self._commits(stale), **fields},
        )

    def _without_pads(self, predict: list[int], allowed: Allowed) -> list[Allowed]:
        """What may be drawn at each position: no `[PAD]` where a blank must be filled to its last token."""
        strict = replace(allowed, ids=allowed.ids | {self.tokens.span_pad})
        return [strict if position in self._exact else allowed for position in predict]

    def _commits(self, stale: Iterable[int]) -> bool:
        """Whether running what is stale brings spans of a finished round up to date."""
        earlier = filter(self._start_of_round.__gt__, stale)
        return any(self.spans[position] != NO_SPAN for position in earlier)

    def written(self) -> int:
        """Tokens after the prompt, plan and tags included: what `max_new_tokens` bounds."""
        return len(self.ids) - self.prompt_length

    def read_on(self, should_stop: Callable[[list[int]], bool] = never) -> tuple[int, ...]:
        """The text that became final since the last call, in reading order: up to the first blank.

        `should_stop` is asked after every token, with prompt and text so far; the answer then ends right there
        (`stopped`).
        """
        text: list[int] = []
        end = self.end
        stop = self._read if self.held else len(self.ids) if end is None else end
        while self._read < stop and self._read not in self.blanks and not self.stopped:
            more = self._text_at(self._read)
            self._read += 1
            text += more
            self._answer += more
            if more and should_stop is not never:
                self.stopped = should_stop(self.answer())
        if not text and should_stop is not never:
            self.stopped = should_stop(self.answer())  # time may be up
        return tuple(text)

    def release(self, should_stop: Callable[[list[int]], bool] = never) -> tuple[int, ...]:
        """The text that was held back."""
        self.held = False
        if not self.stopped:
            return self.read_on(should_stop)
        self.stopped = False
        text = self.read_on()
        self.stopped = True
        return text

    def _text_at(self, position: int) -> tuple[int, ...]:
        """What a position contributes to the prose: its token, a separator where a span starts, or nothing."""
        token = self.ids[position]
        if position in self._prose:
            return () if token in self.tokens.eos else (token,)
        if self.spans[position] == NO_SPAN:
            return ()
        if position + 1 in self._starts:
            return self.separator_ids if position + 1 > self._first_start else ()
        return () if token in self.tokens.all else (token,)

    def answer(self) -> list[int]:
        """The prompt and the text read so far, as stopping criteria want it."""
        return self.ids[: self.prompt_length] + self._answer

    def _cut(self, end: int) -> None:
        """Drops what stands behind the end of an answer without tags; an answer that ended in `[PAD]` ends in EOS."""
        self.ids[end:] = [self.ids[end] if self.ids[end] in self.tokens.eos else self.tokens.eos[0]]
        self.blanks = {position for position in self.blanks if position < end}

    def ended(self, reason: str) -> Ended:
        """The finished request: everything up to the first blank, as prose and as written."""
        if reason == "eos" and self.end is not None:
            self._cut(self.end)
        stop = self._read if self.stopped else min(self.blanks, default=len(self.ids))
        prose: list[int] = []
        offsets = [0] * (stop + 1)  # prose that precedes each position
        for position in range(self.prompt_length, stop):
            offsets[position] = len(prose)
            prose += self._text_at(position)
        offsets[stop] = len(prose)
        if reason == "eos":
            prose.append(self.ids[-1])

        def finished(span: PlacedSpan) -> FinishedSpan:
            return FinishedSpan(
                span.topic_ids, len(span.positions), offsets[min(span.start, stop)], offsets[min(span.stop, stop)]
            )

        def as_written(span: PlacedSpan) -> FinishedSpan:
            start, length = span.start - self.prompt_length, finished(span).stop - finished(span).start
            return FinishedSpan(span.topic_ids, len(span.positions), start, start + length)

        return Ended(
            reason=reason,
            answer_ids=tuple(prose),
            written_ids=tuple(self.ids[self.prompt_length : stop]),
            plans=tuple(tuple(map(finished, spans)) for spans in self.placed),
            written_plans=tuple(tuple(map(as_written, spans)) for spans in self.placed),
        )
