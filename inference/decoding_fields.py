"""Decoding fields as a command line or a line of a file gives them."""

from typing import Any


def with_sampling(fields: dict[str, Any]) -> dict[str, Any]:
    """Return fields in which a temperature says whether to sample (above 0) or not (0), unless do_sample says so."""
    temperature = fields.get("temperature")
    if not isinstance(temperature, (int, float)) or "do_sample" in fields:
        return fields
    return {**fields, "do_sample": temperature > 0}
