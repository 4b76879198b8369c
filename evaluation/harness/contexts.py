"""Token ids of the texts that lm-eval passes: chats that were rendered here, and texts as they stand.

lm-eval knows strings only. A chat is therefore rendered for it and remembered; when the string comes back, the chat is
encoded from its messages, so that tags which a user's text spells stay text.
"""

import logging
from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from ...records.chat_templates import default_template
from ...records.encoding import encode_bare, encode_prompt, encode_text
from ...records.escaping import spelled_ids

logger = logging.getLogger(__name__)


class Contexts:
    """The contexts of a run, as token ids."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self._chats: dict[str, list[int]] = {}  # by the text that was rendered
        sample = encode_text(tokenizer, "a")
        # Some tokenizers make a chat of every text, so that an answer begins behind it.
        self._closes_texts = encode_bare(tokenizer, "a")[-len(sample) :] != sample

    def rendered(self, messages: Sequence[dict[str, Any]], answer_begins: bool = True) -> str:
        """Return a chat as text, up to the point where the answer begins.

        Args:
            answer_begins: False: the last message is the beginning of the answer.

        Raises:
            ValueError: no chat template, or one that refuses the messages.
        """
        template = default_template(self.tokenizer)
        if template is None:
            raise ValueError("The tokenizer has no chat template; run lm-eval without --apply_chat_template.")
        chat, beginning = (messages, "") if answer_begins else (messages[:-1], messages[-1]["content"])
        ids = encode_prompt(self.tokenizer, chat) + encode_text(self.tokenizer, beginning)
        text = self.tokenizer.apply_chat_template(
            list(chat), chat_template=template, add_generation_prompt=True, tokenize=False
        )
        assert isinstance(text, str)
        rendered = text + beginning
        self._chats[rendered] = ids
        return rendered

    def ids(self, text: str) -> list[int]:
        """Return the ids of a context."""
        if text in self._chats:
            return self._chats[text]
        spelled = next((tag for tag in spelled_ids(self.tokenizer) if tag in text), None)
        if spelled is not None:
            logger.warning(
                "A context spells %r, which is read as text; a chat that lm-eval kept from an earlier run "
                "(--cache_requests) is not known here, so leave that option out.",
                spelled,
            )
        return encode_bare(self.tokenizer, text)

    def text_ids(self, text: str) -> list[int]:
        """Return the ids of a text that is scored as a whole; without tokens that make a chat of it."""
        return encode_text(self.tokenizer, text) if self._closes_texts else self.ids(text)

    def pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Return the ids of a context and of the text behind it, cut as lm-eval cuts them.

        Behind a chat the text is encoded alone. Elsewhere both are encoded together, blanks between them going with the
        text, and the text is what lies beyond the ids of the context.
        """
        if context in self._chats or self._closes_texts:
            return self.ids(context), encode_text(self.tokenizer, continuation)
        bare = context.rstrip()
        if not bare:
            return self.ids(context), encode_text(self.tokenizer, continuation)
        first = self.ids(bare)
        return first, self.ids(context + continuation)[len(first) :]
