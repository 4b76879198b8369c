import re

import pytest

from planned_diffusion.facts.countries import (
    ATTRIBUTES,
    CONTINENTS,
    NAMES_WITH_ARTICLE,
    country_named,
    load_countries,
    read_countries,
)
from planned_diffusion.facts.sentences import COMPARABLE, TOPICS, comparison_sentence, fact_sentence


def column(attribute):
    return [country.value(attribute) for country in load_countries()]


def test_table_has_many_distinct_countries_in_alphabetical_order():
    names = [country.name for country in load_countries()]
    assert len(names) >= 160
    assert names == sorted(set(names))


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_no_cell_is_empty_or_padded(attribute):
    assert all(value and value == value.strip() and value.isascii() for value in column(attribute))


@pytest.mark.parametrize("attribute", ["capital", "internet_domain"])
def test_values_that_belong_to_one_country_only(attribute):
    assert len(set(column(attribute))) == len(load_countries())


def test_formats():
    assert set(column("continent")) == set(CONTINENTS)
    assert set(column("driving_side")) == {"left", "right"}
    assert all(re.fullmatch(r"\+[1-9]\d{0,2}|\+1 \d{3}", code) for code in column("calling_code"))
    assert all(re.fullmatch(r"\.[a-z]{2}", domain) for domain in column("internet_domain"))


def test_no_value_equals_a_name():
    """The metric tells names from values by their text alone."""
    names = {country.name for country in load_countries()}
    assert not any(names & set(column(attribute)) for attribute in ATTRIBUTES)


@pytest.mark.parametrize(
    "name, attribute, value",
    [
        ("Kenya", "capital", "Nairobi"),
        ("Australia", "capital", "Canberra"),
        ("Kazakhstan", "capital", "Astana"),
        ("Croatia", "currency", "euro"),
        ("Bulgaria", "currency", "euro"),
        ("Senegal", "currency", "West African CFA franc"),
        ("Gabon", "currency", "Central African CFA franc"),
        ("Brazil", "language", "Portuguese"),
        ("Suriname", "driving_side", "left"),
        ("Samoa", "driving_side", "left"),
        ("Myanmar", "driving_side", "right"),
        ("Niger", "demonym", "Nigerien"),
        ("Nigeria", "demonym", "Nigerian"),
        ("Jamaica", "calling_code", "+1 876"),
        ("Canada", "calling_code", "+1"),
        ("United Kingdom", "internet_domain", ".uk"),
        ("Egypt", "continent", "Africa"),
        ("Mexico", "continent", "North America"),
    ],
)
def test_spot_facts(name, attribute, value):
    assert country_named(name).value(attribute) == value


def test_articles():
    names = {country.name for country in load_countries()}
    assert names >= NAMES_WITH_ARTICLE
    assert not any(name.lower().startswith("the ") for name in names)
    assert country_named("Netherlands").the_name == "the Netherlands"
    assert country_named("Kenya").the_name == "Kenya"


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_sentence_names_country_and_value_once_and_ends_with_a_full_stop(attribute):
    texts = [fact_sentence(country, attribute) for country in load_countries()]
    assert len(set(texts)) == len(texts)
    for country, text in zip(load_countries(), texts, strict=True):
        assert country.the_name in text
        assert text.endswith((f" {country.value(attribute)}.", f" {country.value(attribute)} side."))
        assert "the the" not in text
        assert text == text.strip()


def test_sentences_read_right():
    assert fact_sentence(country_named("Philippines"), "currency") == (
        "The currency that people in the Philippines use to pay is the Philippine peso."
    )
    assert comparison_sentence(country_named("Kenya"), country_named("Uganda"), "continent") == (
        "Comparing Africa with Africa, the answer is yes."
    )
    assert comparison_sentence(country_named("Kenya"), country_named("Gambia"), "currency") == (
        "Comparing the Kenyan shilling with the Gambian dalasi, the answer is no."
    )


def test_topics_are_distinct_words():
    assert tuple(TOPICS) == ATTRIBUTES
    assert len(set(TOPICS.values())) == len(ATTRIBUTES)
    assert all(topic.isalpha() for topic in TOPICS.values())
    assert set(COMPARABLE) <= set(ATTRIBUTES)


def test_errors_say_what_to_do():
    kenya = country_named("Kenya")
    with pytest.raises(ValueError, match="Got attribute 'king', expected one of capital"):
        kenya.value("king")
    with pytest.raises(ValueError, match="Got country 'the Gambia'.*without article"):
        country_named("the Gambia")
    with pytest.raises(ValueError, match="Got the csv header .*restore countries.csv"):
        read_countries(["name,capital"])
    with pytest.raises(ValueError, match="Got attribute 'capital' to compare"):
        comparison_sentence(kenya, country_named("France"), "capital")
