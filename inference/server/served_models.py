"""The models of a server, by the names under which they are served: prompts to token ids, fields to requests."""

import copy
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from transformers import PreTrainedTokenizerBase

from ...generation.query import Request
from ...generation.requests import DEFAULT_NEW_TOKENS
from ...records.encoding import encode_bare, encode_prompt
from ..answer import Checkpoint, Fields, Prompt
from ..form import Form, tokens_of
from ..form_values import FormTokens
from .body_reading import RENAMED
from .limits import Limits
from .refusals import RefusalError
from .stop_texts import StopTexts


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A checkpoint under the name by which clients ask for it.

    Its own tokenizer encodes, on one thread; `reader` is a copy that only decodes, on any thread: a fast tokenizer that
    is told to encode in another way must not be in use elsewhere.
    """

    name: str
    checkpoint: Checkpoint
    limits: Limits
    reader: PreTrainedTokenizerBase = field(init=False, repr=False)
    created: int = field(default_factory=lambda: int(time.time()))
    _form_tokens: list[FormTokens] = field(default_factory=list, init=False, repr=False)  # once a form was asked for

    def __post_init__(self) -> None:
        object.__setattr__(self, "reader", copy.deepcopy(self.checkpoint.tokenizer))

    @property
    def positions(self) -> int:
        """Tokens that a prompt may have."""
        most = self.checkpoint.model.config.get_text_config().max_position_embeddings - 1
        return most if self.limits.prompt_tokens is None else min(most, self.limits.prompt_tokens)

    def encode_chat(self, messages: Prompt) -> list[int]:
        """Return the ids of a chat up to where the answer begins; control tags in it stay text.

        Raises:
            RefusalError: messages that the chat template refuses, or too many tokens.
        """
        try:
            return self._bounded(encode_prompt(self.checkpoint.tokenizer, messages), "messages")
        except ValueError as error:
            raise RefusalError(str(error), param="messages") from error

    def encode_text(self, text: str) -> list[int]:
        """Return the ids of a text without a chat template; control tags in it stay text.

        Raises:
            RefusalError: a special token of one character, or too many tokens.
        """
        try:
            return self._bounded(encode_bare(self.checkpoint.tokenizer, text), "prompt")
        except ValueError as error:
            raise RefusalError(str(error), param="prompt") from error

    def form(self, schema: object) -> Form:
        """Return the form of a JSON schema.

        Raises:
            RefusalError: a schema that cannot be filled in.
        """
        try:
            if not self._form_tokens:
                self._form_tokens.append(tokens_of(self.checkpoint))
            return Form(schema, self._form_tokens[0], self.checkpoint)
        except ValueError as error:
            raise RefusalError(str(error), param="response_format") from error

    def requests(
        self,
        prompt_ids: list[int],
        fields: Fields,
        count: int = 1,
        stops: Sequence[str] = (),
        plan: list[Any] | None = None,
    ) -> list[Request]:
        """Return the engine's requests for `count` answers to a prompt, drawn with one seed after the other.

        Args:
            fields: fields of `generate`.
            stops: texts at which an answer ends.
            plan: rounds, as `generate` takes them.

        Raises:
            RefusalError: fields or a plan that cannot be used.
        """
        fields = {"max_new_tokens": self._default_new_tokens(), **fields}
        try:
            request = self.checkpoint.request_for(prompt_ids, fields, plan)
        except ValueError as error:
            raise _refused(error, [*fields, "plan"]) from error
        if count > 1 and request.sampling.temperature == 0 and not request.settings.is_in_random_order:
            raise RefusalError(f"n is {count}, and the answers would be equal; give a temperature above 0.", param="n")
        return [self._numbered(request, number, stops) for number in range(count)]

    def _numbered(self, request: Request, number: int, stops: Sequence[str]) -> Request:
        """Return one of several requests that are alike but for their seeds."""
        sampling = replace(request.sampling, seed=request.sampling.seed + number)
        should_stop = request.should_stop
        if stops:
            should_stop = StopTexts(self.reader, len(request.prompt_ids), stops, should_stop)
        return replace(request, sampling=sampling, should_stop=should_stop)

    def _default_new_tokens(self) -> int:
        """Return the tokens of an answer where a client names no limit."""
        own = self.checkpoint.model.generation_config.max_new_tokens
        return min(own or DEFAULT_NEW_TOKENS, self.limits.answer_tokens)

    def _bounded(self, ids: list[int], param: str) -> list[int]:
        """Return ids of a prompt that is neither empty nor too long."""
        if not ids:
            raise RefusalError(f"{param} has no tokens; give some text.", param=param)
        if len(ids) > self.positions:
            raise RefusalError(
                f"{param} has {len(ids)} tokens, and the model {self.name} takes {self.positions}; shorten it.",
                param=param,
                code="context_length_exceeded",
            )
        return ids


def _refused(error: ValueError, fields: Iterable[str]) -> RefusalError:
    """Return an error of `generate` as a client is told of it: by OpenAI's names, with the field that it is about."""
    found = {name: place for name in fields if (place := re.search(rf"\b{name}\b", str(error)))}
    others = found.keys() - {"decoding"} or found.keys()  # the decoding is named beside a field that it has no use for
    param = min(others, key=lambda name: found[name].start(), default=None)
    return RefusalError(str(error).replace("max_new_tokens", "max_tokens"), param=RENAMED.get(str(param), param))


def find_model(models: Mapping[str, ServedModel], name: str) -> ServedModel:
    """Return the model of that name.

    Raises:
        RefusalError: no such model is served.
    """
    if name in models:
        return models[name]
    names = ", ".join(models)
    raise RefusalError(
        f"The model {name[:100]!r} is not served; choose one of {names}.", 404, param="model", code="model_not_found"
    )
