"""Fill in a form: a JSON schema becomes a frame that is given, and values that are all written at once.

    {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}}

    {"name": "░░░░░░", "age": ░░░}

The frame is a canvas (generation/skeleton.py), each value is written under a rule that keeps it valid
(generation/value_rules.py), and the result is put together from the values: it always parses and fits the schema.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from ..generation.events import Ended
from ..generation.skeleton import Blank
from ..generation.value_rules import Choice, NumberText, Rule, TextOf
from ..records.encoding import encode_text
from .answer import Checkpoint, Fields, Prompt
from .form_schema import ArrayForm, ChoiceValue, NumberValue, ObjectForm, Outline, TextValue, outline_of
from .form_values import FormTokens

TEXT_ROOM, NUMBER_ROOM = 24, 8  # tokens of a value, at most; a text that must be longer has more
DECODING = "planned"  # the decoder that fills canvases
LEFT_OUT = object()  # an item of an array that was left empty


@dataclass(frozen=True)
class Gap:
    """A value of a form: the blank where it is written, and whether it is an item that may be left out.

    choices: the values among which one is chosen, by the tokens of their JSON.
    """

    outline: TextValue | NumberValue | ChoiceValue
    blank: Blank
    optional: bool
    choices: Mapping[tuple[int, ...], object]


class Form:
    """The form of a schema, for one tokenizer.

    Args:
        schema: a JSON schema; see form_schema.py for what it may hold.
        tokens: the tokens that values consist of.
        checkpoint: encodes the texts of choices.

    Attributes:
        pieces: the canvas: give it in place of a part's length, `plan=[[[("answer", form.pieces)]]]`.

    Raises:
        ValueError: a schema that cannot be filled in.
    """

    def __init__(self, schema: object, tokens: FormTokens, checkpoint: Checkpoint) -> None:
        self.outline, self.tokens, self.checkpoint = outline_of(schema), tokens, checkpoint
        laid_out = list(self._lay_out(self.outline, optional=False))
        self.gaps = [piece for piece in laid_out if isinstance(piece, Gap)]
        self.pieces: list[list[int] | Blank] = []
        for is_gap, run in groupby(laid_out, lambda piece: isinstance(piece, Gap)):
            if is_gap:
                self.pieces += [piece.blank for piece in run if isinstance(piece, Gap)]
            else:
                self.pieces.append(list(self._encoded("".join(map(str, run)))))

    def value(self, ended: Ended) -> object:
        """Return the object of a finished answer whose only part is the form.

        Raises:
            ValueError: the answer was cut before every value was written.
        """
        [[span]] = ended.written_plans
        written = ended.written_ids[span.start : span.start + span.length]
        if len(written) < span.length:
            raise ValueError("The answer was cut before every value was written; give it more time.")
        values, start = [], 0
        for piece in self.pieces:
            size = piece.tokens if isinstance(piece, Blank) else len(piece)
            if isinstance(piece, Blank):
                values.append(tuple(token for token in written[start : start + size] if token != self.tokens.pad))
            start += size
        read = (self._read(gap, tokens) for gap, tokens in zip(self.gaps, values, strict=True))
        return self._composed(self.outline, read)

    def _lay_out(self, outline: Outline, optional: bool) -> Iterator[str | Gap]:
        """Yield the frame and the gaps of an outline in order."""
        if isinstance(outline, ObjectForm):
            for index, (name, inner) in enumerate(outline.properties):
                yield f"{', ' if index else '{'}{written_as(name)}: "
                yield from self._lay_out(inner, optional=False)
            yield "}" if outline.properties else "{}"
        elif isinstance(outline, ArrayForm):
            plain = not isinstance(outline.item, (ObjectForm, ArrayForm))
            for index in range(outline.most):
                yield ", " if index else "["
                yield from self._lay_out(outline.item, optional=plain and index >= outline.least)
            yield "]"
        else:
            quote = '"' if isinstance(outline, TextValue) else ""
            yield quote
            choices = outline.choices if isinstance(outline, ChoiceValue) else ()
            encoded = {self._encoded(written_as(one)): one for one in choices}
            yield Gap(outline, self._blank(outline, optional, encoded), optional, encoded)
            yield quote

    def _blank(
        self, outline: TextValue | NumberValue | ChoiceValue, optional: bool, choices: Mapping[tuple[int, ...], object]
    ) -> Blank:
        """Return the blank of a value with its rule."""
        pad = self.tokens.pad
        if isinstance(outline, ChoiceValue):
            rule: Rule = Choice(frozenset(choices), pad, optional, self.tokens.marks)
            return Blank(max(map(len, choices)), rule=rule)
        may_be_empty = optional or outline.nullable
        if isinstance(outline, NumberValue):
            number = NumberText(self.tokens.numbers, pad, outline.whole, may_be_empty, self.tokens.marks)
            return Blank(NUMBER_ROOM, rule=number)
        room = max(outline.least, min(outline.most, TEXT_ROOM))
        return Blank(room, rule=TextOf(self.tokens.lengths, outline.least, outline.most, may_be_empty))

    def _encoded(self, text: str) -> tuple[int, ...]:
        return tuple(encode_text(self.checkpoint.tokenizer, text))

    def _read(self, gap: Gap, tokens: Sequence[int]) -> object:
        """Return the value that was written into a gap."""
        if not tokens and gap.optional:
            return LEFT_OUT
        if isinstance(gap.outline, ChoiceValue):
            return gap.choices[tuple(tokens)]
        if not tokens and gap.outline.nullable:
            return None
        text = self.tokens.spell(tokens)
        return text if isinstance(gap.outline, TextValue) else json.loads(text)

    def _composed(self, outline: Outline, values: Iterator[object]) -> object:
        """Return the object of an outline, with the values in order."""
        if isinstance(outline, ObjectForm):
            return {name: self._composed(inner, values) for name, inner in outline.properties}
        if isinstance(outline, ArrayForm):
            items = [self._composed(outline.item, values) for _ in range(outline.most)]
            return [item for item in items if item is not LEFT_OUT]
        return next(values)


def written_as(value: object) -> str:
    """Return a value as JSON, in which characters stand for themselves."""
    return json.dumps(value, ensure_ascii=False)


def form_of(checkpoint: Checkpoint, schema: object) -> Form:
    """Return the form of a schema for a checkpoint; the tokenizer's tokens are looked through every time.

    Raises:
        ValueError: a schema that cannot be filled in, or a checkpoint without tags.
    """
    return Form(schema, tokens_of(checkpoint), checkpoint)


def tokens_of(checkpoint: Checkpoint) -> FormTokens:
    """Return the tokens of which a checkpoint's values consist.

    Raises:
        ValueError: a checkpoint that cannot plan, or a tokenizer without single digits.
    """
    pad = checkpoint.model.config.span_pad_token_id
    if pad is None:
        raise ValueError("This checkpoint has no tags, so it cannot fill in forms; train it, or choose another.")
    return FormTokens.of(checkpoint.tokenizer, pad)


def form_fields(fields: Fields) -> dict[str, Any]:
    """Return fields of `generate` for a form: with the decoder that can fill it in, unless they name another."""
    return {"decoding": DECODING, **fields}


def fill_form(checkpoint: Checkpoint, prompt: Prompt, schema: object, fields: Fields, topic: str = "answer") -> object:
    """Return the object that answers a prompt and fits a JSON schema.

    Args:
        fields: fields of `generate`; the decoder is "planned", whatever the checkpoint's own is.
        topic: of the one part that is planned.

    Raises:
        ValueError: a schema that cannot be filled in, no room for the form, or fields that cannot be used.
    """
    form = form_of(checkpoint, schema)
    request = checkpoint.request(prompt, form_fields(fields), [[[topic, form.pieces]]])
    [(ended, _)] = checkpoint.model.run_requests([request], compile_config=checkpoint.compile_config)
    return form.value(ended)
