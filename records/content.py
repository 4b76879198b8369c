"""The text of a message's content, which chats write as a string or as a list of parts."""

from collections.abc import Mapping
from typing import Any

TEXT_PARTS = (None, "text", "input_text", "output_text")  # types of a part that is text; None where it names no type
OTHER_MEDIA = ("image", "images", "image_url", "input_image", "audio", "input_audio", "video", "videos", "file")


def joined_text(content: object, what: str) -> object:
    """Return a content's parts joined to one text; anything but a list of parts stays as it is.

    Args:
        what: the content's name, with which the message begins, e.g. "The content of a turn".

    Raises:
        ValueError: a part is no text: an image, a sound, or something unknown.
    """
    if not isinstance(content, (list, tuple)) or not content:
        return content
    return "".join(_text_of(part, what) for part in content)


def _text_of(part: object, what: str) -> str:
    if not isinstance(part, Mapping):
        raise ValueError(f"{what} has a part that is {type(part).__name__}; give objects with a type and a text.")
    refuse_media(part, what)
    kind, text = part.get("type"), part.get("text")
    if kind not in TEXT_PARTS:
        raise ValueError(f"{what} has a part of the type {kind!r}, which is no text; only text can be read.")
    if not isinstance(text, str):
        raise ValueError(f"{what} has a part without a text ({', '.join(map(str, part)) or 'empty'}); give it one.")
    return text


def refuse_media(fields: Mapping[str, Any], what: str) -> None:
    """Raise ValueError where a part or a message has an image, a sound or a file beside its text."""
    found = next((name for name in OTHER_MEDIA if fields.get("type") == name or fields.get(name)), None)
    if found:
        raise ValueError(
            f"{what} has a part of the type {found!r}; only text can be read here, so describe it in words, or leave "
            "the chat out."
        )
