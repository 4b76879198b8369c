"""JSON objects in the reply of a model, which may stand between other text."""

import json
from typing import Any


def values_named(name: str, text: str) -> list[Any]:
    """Return what every JSON object in a text that has such a member has there; text around the objects is skipped."""
    found, place, decoder = [], text.find("{"), json.JSONDecoder()
    while place >= 0:
        stop = place + 1
        try:
            value, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            value = {}
        if name in value:
            found.append(value[name])
            stop = end
        place = text.find("{", stop)
    return found
