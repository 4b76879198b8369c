"""Make any text safe to show: what a terminal or a page would obey instead of showing becomes visible text."""

# Tab and line feed stay; other C0 controls have pictures of their own (ESC is ␛), the rest is shown by its number.
_PICTURES = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\t\n"} | {127: "\N{SYMBOL FOR DELETE}"}
_C1 = range(0x80, 0xA0)
_BIDI = (0x061C, *range(0x202A, 0x202F), *range(0x2066, 0x206A))  # they would reorder what stands around them
_SEPARATORS = (0x2028, 0x2029)  # a line and a paragraph
_HALVES = range(0xD800, 0xE000)  # halves of a surrogate pair, which no encoding takes
_WHOLE = dict.fromkeys(_HALVES, "\N{REPLACEMENT CHARACTER}")
_TABLE = _PICTURES | {code: f"<U+{code:04X}>" for code in (*_C1, *_BIDI, *_SEPARATORS)} | _WHOLE


def shown(text: str) -> str:
    """Return the text with control characters, marks that change its direction and half characters made visible."""
    return text.translate(_TABLE)


def whole(text: str) -> str:
    """Return the text as it is but for half characters, which become replacement characters."""
    return text.translate(_WHOLE)
