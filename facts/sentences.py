"""One canonical sentence for every fact: a deterministic function of country and attribute.

The wording of the answers never varies (that of the prompts does, see `frames`), so that the text of each span follows
from its topic alone, and an answer can be checked exactly.
"""

from .countries import Country

TOPICS = {
    "capital": "capital",
    "continent": "continent",
    "currency": "currency",
    "language": "language",
    "demonym": "demonym",
    "driving_side": "driving",
    "calling_code": "phone",
    "internet_domain": "domain",
}

COMPARISON_TOPIC = "comparison"
COMPARABLE = ("continent", "currency", "language", "driving_side")

_SENTENCES = {
    "capital": "The capital city of {country}, as any atlas will show, is {value}.",
    "continent": "On the map of the world, {country} belongs to the continent of {value}.",
    "currency": "The currency that people in {country} use to pay is the {value}.",
    "language": "The main language that people in {country} learn and use is {value}.",
    "demonym": "Someone or something that comes from {country} is usually described as {value}.",
    "driving_side": "Drivers on the roads of {country} must keep to the {value} side.",
    "calling_code": "The calling code for phoning {country} from any other country is {value}.",
    "internet_domain": "The internet domain that is reserved for websites in {country} is {value}.",
}

# The same sentence for both verdicts, with the verdict last: values copied side by side, then compared.
_VERDICT = "Comparing {value_a} with {value_b}, the answer is {answer}."
_WITH_ARTICLE = ("currency", "driving_side")


def fact_sentence(country: Country, attribute: str) -> str:
    """Return the canonical sentence, without a space around it. Raises ValueError for an unknown attribute."""
    value = country.value(attribute)
    return _SENTENCES[attribute].format(country=country.the_name, value=value)


def comparison_sentence(a: Country, b: Country, attribute: str) -> str:
    """Return the verdict on two countries, without a space around it. Raises ValueError unless COMPARABLE."""
    if attribute not in COMPARABLE:
        raise ValueError(f"Got attribute {attribute!r} to compare, expected one of {', '.join(COMPARABLE)}; use those.")
    value_a, value_b = a.value(attribute), b.value(attribute)
    article = "the " if attribute in _WITH_ARTICLE else ""
    return _VERDICT.format(
        value_a=article + value_a,
        value_b=article + value_b,
        answer="yes" if value_a == value_b else "no",
    )
