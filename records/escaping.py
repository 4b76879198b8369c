"""Keep control tags in messages as text, in any program that uses a checkpoint's chat template and tokenizer.

The chat template puts a mark into every tag that a message spells, or a tool or document beside the messages: `<async>`
becomes `<\\ufdd0async>`, so that the tokenizer does not find it; the tokenizer's normalizer then takes the marks out,
before the text is cut into tokens.
Both are data of stock classes (chat_template.jinja, tokenizer.json): no code comes along. An assistant's message at the
end of a chat, which is an answer to learn or to go on with, is left as it is.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from tokenizers import normalizers

from ..generation.tokens import SPELLING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MARK = "\ufdd0"  # a noncharacter of Unicode: no text has it
_END = "{#- End of the escapes. #}\n"
_PREAMBLE = (
    "{#- Control tags in messages are text: a mark breaks them here, and the tokenizer takes the mark out. -#}\n"
    "{%- macro escape(value, out) -%}\n"
    "{%- set out.value = value -%}\n"
    "{%- if value is string -%}\n"
    "{%- for tag in SPELLINGS if tag in value -%}\n"
    "{%- set out.value = out.value | replace(tag, tag[0] ~ '\\ufdd0' ~ tag[1:]) -%}\n"
    "{%- endfor -%}\n"
    "{%- elif value is mapping -%}\n"
    "{%- set out.value = {} -%}\n"
    "{%- for name, part in value.items() -%}\n"
    "{%- set key = namespace() -%}{%- set inner = namespace() -%}{{- escape(name, key) ~ escape(part, inner) -}}\n"
    "{%- set out.value = dict(out.value.items() | list + [(key.value, inner.value)]) -%}\n"
    "{%- endfor -%}\n"
    "{%- elif value is iterable and value.shape is not defined -%}\n"
    "{%- set out.value = [] -%}\n"
    "{%- for part in value -%}\n"
    "{%- set inner = namespace() -%}{{- escape(part, inner) -}}\n"
    "{%- set out.value = out.value + [inner.value] -%}\n"
    "{%- endfor -%}\n"
    "{%- endif -%}\n"
    "{%- endmacro -%}\n"
    "{%- set state = namespace(messages=[]) -%}\n"
    "{%- for message in messages -%}\n"
    "{%- set inner = namespace(value=message) -%}\n"
    "{%- if add_generation_prompt or not (loop.last and message['role'] == 'assistant') -%}\n"
    "{{- escape(message, inner) -}}\n"
    "{%- endif -%}\n"
    "{%- set state.messages = state.messages + [inner.value] -%}\n"
    "{%- endfor -%}\n"
    "{%- set messages = state.messages -%}\n"
    "{%- if tools -%}{{- escape(tools, state) -}}{%- set tools = state.value -%}{%- endif -%}\n"
    "{%- if documents -%}{{- escape(documents, state) -}}{%- set documents = state.value -%}{%- endif -%}\n"
)
_ANY_PREAMBLE = re.compile(re.escape(_PREAMBLE[:40]) + ".*?" + re.escape(_END), re.DOTALL)


def spelled_ids(tokenizer: "PreTrainedTokenizerBase") -> dict[str, int]:
    """Return spelling -> id of every token that text must never become: special tokens and control tokens."""
    names = {*SPELLING.values(), cast(str | None, tokenizer.mask_token)}
    return {
        token.content: index
        for index, token in tokenizer.added_tokens_decoder.items()
        if token.special or token.content in names
    }


def escape_contents(tokenizer: "PreTrainedTokenizerBase") -> None:
    """Change a tokenizer and its chat template so that control tags in messages stay text.

    A tokenizer that is not one of the library tokenizers, or has no chat template, stays as it is.
    """
    backend, templates = getattr(tokenizer, "backend_tokenizer", None), tokenizer.chat_template
    if backend is None or not templates:
        return
    if not _drops_marks(tokenizer):
        rest = [] if backend.normalizer is None else [backend.normalizer]
        backend.normalizer = normalizers.Sequence([normalizers.Replace(MARK, ""), *rest])
    if isinstance(templates, str):
        tokenizer.chat_template = _escaping(templates, spelled_ids(tokenizer))
    else:
        named = cast(Mapping[str, str], templates)
        tokenizer.chat_template = {
            name: _escaping(template, spelled_ids(tokenizer)) for name, template in named.items()
        }  # pyright: ignore[reportAttributeAccessIssue] - transformers takes named templates


def escapes_contents(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Tell whether control tags in messages stay text, whoever applies the chat template."""
    template = tokenizer.chat_template
    if not isinstance(template, str) or not _drops_marks(tokenizer):
        return False
    spellings = spelled_ids(tokenizer)
    tokens = [tokenizer.added_tokens_decoder[index] for index in spellings.values()]
    if any(token.normalized or len(token.content) < 2 for token in tokens):  # found although there was a mark
        return False
    return template.startswith(_preamble(spellings))


def without_escapes(template: str) -> str:
    """Return a chat template without what `escape_contents` has put before it."""
    return _ANY_PREAMBLE.sub("", template, count=1)


def save_tokenizer(tokenizer: "PreTrainedTokenizerBase", folder: Path) -> None:
    """Save a tokenizer so that it is read from tokenizer.json as it is.

    Classes made for one architecture, such as Qwen2Tokenizer, would build a normalizer of their own while loading.
    """
    from transformers import PreTrainedTokenizerFast

    tokenizer.save_pretrained(folder)
    if _drops_marks(tokenizer):
        file = folder / "tokenizer_config.json"
        config = json.loads(file.read_text(encoding="utf-8"))
        config["tokenizer_class"] = PreTrainedTokenizerFast.__name__
        file.write_text(json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _escaping(template: str, spellings: Iterable[str]) -> str:
    return _preamble(spellings) + without_escapes(template)


def _preamble(spellings: Iterable[str]) -> str:
    return _PREAMBLE.replace("SPELLINGS", json.dumps(list(spellings), ensure_ascii=False)) + _END


def _drops_marks(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Tell whether the normalizer takes marks out."""
    normalizer = getattr(getattr(tokenizer, "backend_tokenizer", None), "normalizer", None)
    return normalizer is not None and normalizer.normalize_str(f"a{MARK}b") == normalizer.normalize_str("ab")
