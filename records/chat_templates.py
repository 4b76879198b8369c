"""Choose the chat template of a tokenizer that has several, each with a name."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DEFAULT = "default"


def named_templates(tokenizer: "PreTrainedTokenizerBase") -> dict[str, str]:
    """Return the tokenizer's chat templates by name; one without a name is the default, and so is an only one.

    Raises:
        ValueError: templates that are no texts.
    """
    given = tokenizer.chat_template or {}
    if isinstance(given, str):
        return {DEFAULT: given}
    named: dict[str, Any]
    try:
        named = dict(given) if isinstance(given, dict) else {one["name"]: one["template"] for one in given}
    except (KeyError, TypeError):
        named = {"": given}
    odd = [text for text in named.values() if not isinstance(text, str)]
    if odd:
        raise ValueError(
            f"The tokenizer has {str(odd[0])[:60]} for a chat template; write a text in Jinja, or several by their "
            "names, into its tokenizer_config.json."
        )
    return {DEFAULT: next(iter(named.values()))} if len(named) == 1 else named


def default_template(tokenizer: "PreTrainedTokenizerBase") -> str | None:
    """Return the template that turns messages into text; None where the tokenizer has none.

    Raises:
        ValueError: several templates, none of which is the default.
    """
    named = named_templates(tokenizer)
    if named and DEFAULT not in named:
        raise ValueError(
            f"The tokenizer's chat templates are {', '.join(sorted(named))}, and none of them is the default; name one "
            "'default' (tokenizer.chat_template['default'] = ...) and save the tokenizer."
        )
    return named.get(DEFAULT)


def tidy_templates(tokenizer: "PreTrainedTokenizerBase") -> None:
    """Give the tokenizer its templates in the form that transformers reads: a text, or names with a default if any."""
    named = named_templates(tokenizer)
    tokenizer.chat_template = named[DEFAULT] if list(named) == [DEFAULT] else (named or None)
