"""Give a foreign tokenizer the control tags: find those that it has, add the others, each as one special token."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from transformers import AddedToken, AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast, Qwen2Tokenizer

from ...generation.tokens import SPELLING
from ...loading.tokenizer_origin import without_origin
from ...records.chat_templates import DEFAULT, named_templates, tidy_templates
from ...records.checks import first_line
from ...records.escaping import escape_contents
from ...records.vocabulary import control_token_ids

MASK = "<|mask|>"
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "tokenizer.model")
# The order in which the published checkpoints number their tags; Dream, converted, gets the same ids.
ORDER = ("async_start", "async_end", "promise_start", "topic_end", "sync", "span_pad")
# Words that describe a token; a new token's row starts as the mean of theirs.
DESCRIPTIONS = {
    "mask_token_id": " blank missing word",
    "async_start_token_id": " begin this part of the answer",
    "async_end_token_id": " end this part of the answer",
    "promise_start_token_id": " plan the next topic",
    "topic_end_token_id": " length of the topic",
    "sync_token_id": " wait, then continue",
    "span_pad_token_id": " empty padding space",
}
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] }}<|im_end|>{% endgeneration %}"
    "{% else %}{{ message['content'] }}<|im_end|>{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PLAIN_TEXT = (
    "{% if bos_token %}{{ bos_token }}{% endif %}"
    "{% for message in messages %}{{ message['role'] | capitalize }}:\n"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] }}{{ eos_token }}{% endgeneration %}"
    "{% else %}{{ message['content'] }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:\n{% endif %}"
)


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer that has every control token.

    Attributes:
        ids: the id fields of `PlannedDiffusionConfig`.
        added: id -> ids of the words that describe it, for every token that was added.
        words: ids of all describing words.
        has_all_tags: whether the tokenizer came with all tags, as those of published checkpoints do.
        chat_template: "kept" or "added".
    """

    tokenizer: PreTrainedTokenizerBase
    ids: dict[str, int | list[int]]
    added: dict[int, tuple[int, ...]]
    words: tuple[int, ...]
    has_all_tags: bool
    chat_template: str

    @property
    def rows(self) -> int:
        """Return the rows of an embedding that has one for every id."""
        return max(self.tokenizer.get_vocab().values()) + 1

    @property
    def eos_token_id(self) -> int:
        """Return the id that ends an answer."""
        return cast(int, self.ids["eos_token_id"])


def load_tokenizer(folder: Path, is_dream: bool) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a checkpoint, without running code from it.

    Raises:
        ValueError: no tokenizer that can be read.
    """
    try:
        if not any((folder / name).is_file() for name in TOKENIZER_FILES):
            raise OSError("the folder holds none")  # transformers would make an empty one
        if not is_dream:
            return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        # Dream's own class is Qwen2's tokenizer in Python; its files are Qwen2's.
        reader = PreTrainedTokenizerFast if (folder / "tokenizer.json").is_file() else Qwen2Tokenizer
        return reader.from_pretrained(folder)
    except Exception as error:  # transformers and tokenizers raise anything here
        raise ValueError(
            f"No tokenizer can be read from {folder}: {first_line(error)}; put tokenizer.json (or vocab.json and "
            "merges.txt) and tokenizer_config.json beside the weights."
        ) from error


def with_control_tokens(tokenizer: PreTrainedTokenizerBase, mask_token_id: int | None = None) -> Vocabulary:
    """Add the missing control tokens to `tokenizer`, and set its EOS to the token that ends an answer in its template.

    Args:
        mask_token_id: the mask of the checkpoint's training, if its configuration has one.

    Raises:
        ValueError: digits of several tokens, no EOS, or a mask that is not the configuration's.
    """
    check_digits(tokenizer)
    before = tokenizer.get_vocab()
    words = {name: tuple(tokenizer(text, add_special_tokens=False)["input_ids"]) for name, text in DESCRIPTIONS.items()}
    set_mask(tokenizer, mask_token_id)
    tags = [AddedToken(SPELLING[f"{name}_token_id"], special=True, normalized=False) for name in ORDER]
    tokenizer.add_special_tokens({"additional_special_tokens": tags}, replace_extra_special_tokens=False)
    tidy_templates(tokenizer)
    chat_template = "kept" if tokenizer.chat_template else "added"
    if not tokenizer.chat_template:
        tokenizer.chat_template = CHATML if {"<|im_start|>", "<|im_end|>"} <= before.keys() else PLAIN_TEXT
    tokenizer.eos_token = answer_end(tokenizer)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = tokenizer.init_kwargs["padding_side"] = "left"
    without_origin(tokenizer).init_kwargs.pop("auto_map", None)  # the source's code is not converted
    escape_contents(tokenizer)
    ids = control_token_ids(tokenizer)
    described = {cast(int, ids[name]): words[name] for name in DESCRIPTIONS}
    return Vocabulary(
        tokenizer=tokenizer,
        ids=ids,
        added={token: by for token, by in described.items() if token not in before.values()},
        words=tuple(sorted({token for by in words.values() for token in by})),
        has_all_tags=all(SPELLING[f"{name}_token_id"] in before for name in ORDER),
        chat_template=chat_template,
    )


def check_digits(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise ValueError unless each digit is one known token."""
    for digit in "0123456789":
        ids = tokenizer(digit, add_special_tokens=False)["input_ids"]
        if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
            raise ValueError(
                f"The tokenizer writes the digit {digit} as {ids}; a plan's lengths are written digit by digit, each "
                "one known token, so this checkpoint cannot be converted."
            )


def set_mask(tokenizer: PreTrainedTokenizerBase, mask_token_id: int | None) -> None:
    """Set the mask token: the tokenizer's own, else the configuration's, else `<|mask|>`, which may be new.

    Raises:
        ValueError: the tokenizer's mask is not the configuration's.
    """
    if tokenizer.mask_token is None:
        spelling = None if mask_token_id is None else tokenizer.convert_ids_to_tokens(mask_token_id)
        tokenizer.add_special_tokens({"mask_token": AddedToken(str(spelling or MASK), special=True, normalized=False)})
    if mask_token_id not in (None, tokenizer.mask_token_id):
        raise ValueError(
            f"The configuration's mask_token_id is {mask_token_id}, but the tokenizer's mask {tokenizer.mask_token!r} "
            f"is {tokenizer.mask_token_id}; fetch the tokenizer that belongs to these weights."
        )


def answer_end(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the special token that the chat template puts behind an answer, or else the tokenizer's EOS.

    Base models often have another EOS than their template; the end of a turn is the end of an answer.

    Raises:
        ValueError: neither of them exists.
    """
    answer = "An answer."
    chat = [{"role": "user", "content": "A question?"}, {"role": "assistant", "content": answer}]
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    named = named_templates(tokenizer)
    for template in [named[DEFAULT]] if DEFAULT in named else named.values():
        try:
            text = str(tokenizer.apply_chat_template(chat, chat_template=template, tokenize=False))
        except Exception:  # a template is a program and may raise anything: some refuse a chat like this one
            continue
        behind = text.rpartition(answer)[2].lstrip()
        found = [token for token in special if behind.startswith(token)]
        if found:
            return max(found, key=len)
    if tokenizer.eos_token is None:
        raise ValueError(
            "The tokenizer has no eos_token and its chat template ends answers with none; set eos_token in its "
            "tokenizer_config.json."
        )
    return str(tokenizer.eos_token)
