"""The requests of the batch that answers prompts: one for a prompt that is answered as a whole, else one per part.

A part is greedy or sampled as its prompt is, with a seed of its own. All draws for a prompt depend on the seed and its
id alone, so that more prompts change nothing for those before them.
"""

from collections.abc import Iterable, Iterator
from random import Random

from .distillation_job import Row

SAMPLING = {0.0: 40, 0.3: 30, 0.7: 30}  # temperature -> how many of a hundred prompts are answered with it; 0 is greedy
TOP_P = 0.9
MOST_TOKENS_OF_PART = 60
MOST_TOKENS_OF_LIST = 160  # of a whole answer with several parts; longer ones of a small model repeat themselves


def requests_of(row: Row, seed: int, most_tokens: int) -> Iterator[Row]:
    """Yield the requests for the answer to a prompt, in the order of its parts; a whole answer has `most_tokens`."""
    rng = Random(f"seeds {seed} {row['id']}")
    temperature = temperature_of(row, seed)
    for name, prompt, limit in _asked(row, most_tokens):
        sampled = {"top_p": TOP_P, "seed": rng.randrange(2**31)} if temperature else {}
        yield {"id": name, "prompt": prompt, "temperature": temperature, **sampled, "max_new_tokens": limit}


def temperature_of(row: Row, seed: int) -> float:
    """Return the temperature at which a prompt is answered."""
    return Random(f"sampling {seed} {row['id']}").choices(list(SAMPLING), list(SAMPLING.values()))[0]


def request_ids(row: Row) -> list[str]:
    """Return the ids of the requests for the answer to a prompt."""
    return [name for name, _, _ in _asked(row, 0)]


def missing_requests(rows: Iterable[Row], seed: int, most_tokens: int, answered: Iterable[str]) -> Iterator[Row]:
    """Yield the requests for prompts that have no answer yet."""
    done = set(answered)
    return (request for row in rows for request in requests_of(row, seed, most_tokens) if request["id"] not in done)


def _asked(row: Row, most_tokens: int) -> Iterator[tuple[str, str, int]]:
    """Yield id, prompt and token limit of each request."""
    if not row.get("sub_prompts"):
        yield row["id"], row["prompt"], min(most_tokens, MOST_TOKENS_OF_LIST) if row["parts"] else most_tokens
    for number, part in enumerate(row.get("sub_prompts", ()), start=1):
        yield f"{row['id']}/{number}", part["prompt"], MOST_TOKENS_OF_PART
