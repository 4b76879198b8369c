"""Decoding fields as a command line or a request line gives them."""


def with_sampling(fields: dict) -> dict:
    """A temperature above 0 says to sample, and 0 not to, unless do_sample says otherwise."""
    temperature = fields.get("temperature")
    if not isinstance(temperature, (int, float)) or "do_sample" in fields:
        return fields
    return {**fields, "do_sample": temperature > 0}
