"""Small checks and texts that several rooms share: roles of a chat, text for UTF-8, an exception in one line."""

ROLES = ("system", "user", "assistant", "tool")  # of a chat's messages


def check_utf8(text: str, what: str) -> None:
    """Raise ValueError where a text holds half of a surrogate pair, which UTF-8 cannot encode.

    Args:
        what: the text's name, with which the message begins, e.g. "The prompt".
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = ascii(text[error.start])
        raise ValueError(
            f"{what} holds half a character; remove the lone surrogate {half}, or write the text in UTF-8."
        ) from error


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message without its final punctuation, or its type if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".:;")
