"""Say what the included model can answer, where a prompt asks for something else."""

import re
import sys

from ..facts.countries import load_countries
from ..loading.embedded import EMBEDDED


def note_on_prompt(model: str, prompt: str) -> None:
    """Print a note on standard error where the included model gets a prompt that names no country."""
    if model == str(EMBEDDED) and not names_country(prompt):
        print(
            f"note: the included model knows facts of {len(load_countries())} countries and nothing else, and the "
            "prompt names none of them; ask for instance: What are the capital and the currency of Kenya?",
            file=sys.stderr,
        )


def names_country(prompt: str) -> bool:
    """Tell whether a text names a country that the included model knows, or its people."""
    names = (re.escape(name) for country in load_countries() for name in (country.name, country.demonym))
    return re.search(rf"\b(?:{'|'.join(names)})\b", prompt, re.IGNORECASE) is not None
