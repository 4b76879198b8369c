from collections import Counter
from random import Random

import pytest

from planned_diffusion.facts.countries import ATTRIBUTES, country_named, load_countries
from planned_diffusion.facts.frames import COMPARISON_FRAMES, FACT_FRAMES
from planned_diffusion.facts.generator import (
    COMBINATION,
    PHRASING,
    combination_is_held_out,
    held_out_questions,
    training_questions,
)
from planned_diffusion.facts.prompts import fact_prompt
from planned_diffusion.facts.scrambled import SCRAMBLED
from planned_diffusion.facts.sentences import COMPARABLE, TOPICS
from planned_diffusion.facts.wordings import CLAUSES, FOLLOW_UPS, NOUNS, QUESTIONS, SAMENESS


@pytest.fixture(scope="module")
def training():
    return list(training_questions(20_000, seed=0))


@pytest.fixture(scope="module")
def held_out():
    return held_out_questions(1_000, seed=0)


def combination(question):
    """What may be held out: the countries and the attributes, whatever their order."""
    return (
        frozenset(name for statement in question.statements for name in statement.countries),
        frozenset(statement.attribute for statement in question.statements),
    )


def test_frames_are_many_and_about_fifteen_percent_are_held_out():
    for frames, least in ((FACT_FRAMES, 60), (COMPARISON_FRAMES, 25)):
        assert len({frame.text for frame in frames}) == len(frames) >= least
        assert 0.12 <= sum(frame.held_out for frame in frames) / len(frames) <= 0.18


def test_every_attribute_has_every_wording():
    for wordings in (NOUNS, CLAUSES, QUESTIONS, FOLLOW_UPS):
        assert tuple(wordings) == ATTRIBUTES
        phrases = [phrase for attribute in wordings for phrase in wordings[attribute]]
        assert len(set(phrases)) == len(phrases)  # no phrase could mean two attributes
    assert tuple(SAMENESS) == COMPARABLE


def test_same_seed_same_examples_other_seed_others():
    first = list(training_questions(200, seed=1))
    assert first == list(training_questions(200, seed=1))
    assert first != list(training_questions(200, seed=2))
    assert first[:50] == list(training_questions(50, seed=1))
    assert held_out_questions(50, seed=1) == held_out_questions(50, seed=1)


def test_examples_do_not_depend_on_the_process():
    """Guards data files already written: the hash of strings differs from process to process, crc32 does not."""
    assert combination_is_held_out(("Kenya",), ("capital", "currency")) is False
    held = [
        (country.name, attribute)
        for country in load_countries()[:40]
        for attribute in ATTRIBUTES[1:]
        if combination_is_held_out((country.name,), ("capital", attribute))
    ]
    assert held[:2] == [("Albania", "continent"), ("Albania", "demonym")]
    assert 0.05 < len(held) / 280 < 0.15


def test_a_combination_has_no_order():
    for countries, attributes in ((("Kenya", "Chile"), ("currency",)), (("Chile",), ("capital", "language"))):
        assert combination_is_held_out(countries, attributes) == combination_is_held_out(
            countries[::-1], attributes[::-1]
        )


def test_training_never_sees_what_is_held_out(training, held_out):
    seen_frames = {question.frame for question in training}
    seen_combinations = {combination(question) for question in training}
    assert not seen_frames & {frame.text for frame in FACT_FRAMES + COMPARISON_FRAMES if frame.held_out}
    assert not {question.prompt for question in training} & {question.prompt for question in held_out}
    for question in held_out:
        assert question.held_out
        assert (question.frame not in seen_frames) == (PHRASING in question.held_out)
        if COMBINATION in question.held_out:
            assert combination(question) not in seen_combinations


def test_training_covers_every_frame_and_every_single_fact(training):
    frames = {frame.text for frame in FACT_FRAMES + COMPARISON_FRAMES if not frame.held_out}
    assert {question.frame for question in training} == frames
    facts = {(statement.countries, statement.attribute) for question in training for statement in question.statements}
    assert len([fact for fact in facts if len(fact[0]) == 1]) == len(load_countries()) * len(ATTRIBUTES)


def test_held_out_prompts_are_distinct_and_half_have_a_new_phrasing(held_out):
    assert len({question.prompt for question in held_out}) == len(held_out) == 1_000
    several = [question for question in held_out if len(question.statements) > 1]
    assert 0.4 < sum(PHRASING in question.held_out for question in several) / len(several) < 0.6
    single = [question for question in held_out if len(question.statements) == 1]
    assert single and all(question.held_out == {PHRASING} for question in single)


def test_mixture(training):
    kinds = Counter(question.kind for question in training)
    assert 0.18 < kinds["comparison"] / len(training) < 0.22
    numbers = Counter(len(question.statements) for question in training if question.kind == "facts")
    assert sorted(numbers) == [1, 2, 3, 4, 5, 6]
    verdicts = [question.statements[-1].values for question in training if question.kind == "comparison"]
    assert 0.45 < sum(a == b for a, b in verdicts) / len(verdicts) < 0.55
    assert all(question.kind == "facts" for question in training_questions(100, seed=0, comparison_share=0))


def test_shape_of_examples(training):
    for question in training:
        topics = [statement.topic for statement in question.statements]
        assert len(set(topics)) == len(topics)
        if question.kind == "facts":
            assert len(question.rounds) == 1
            assert topics == [TOPICS[statement.attribute] for statement in question.statements]
        else:
            assert [len(parts) for parts in question.rounds] == [2, 1]
            assert topics == [*question.statements[2].countries, "comparison"]


def test_spaces_belong_to_the_part_that_they_precede(training):
    for question in training:
        assert not question.statements[0].text.startswith(" ")
        assert all(statement.text.startswith(" ") for statement in question.statements[1:])
        assert all(statement.text.endswith(".") and "  " not in statement.text for statement in question.statements)
        assert question.answer == " ".join(statement.text.strip() for statement in question.statements)


def test_prompts_read_cleanly(training):
    for question in training:
        prompt = question.prompt
        assert prompt and prompt == prompt.strip() and "\n" not in prompt
        assert not any(bad in prompt for bad in ("{", "}", "  ", "the the ", "s's", "?.", "?,", "..", ",,"))
        for name in question.statements[-1].countries:
            assert name.lower() in prompt.lower()


def earliest(prompt, attribute):
    """Where a prompt first names an attribute, by any of its wordings."""
    phrases = NOUNS[attribute] + CLAUSES[attribute] + FOLLOW_UPS[attribute]
    found = [prompt.find(phrase.lower()) for phrase in phrases]
    return min((place for place in found if place >= 0), default=-1)


def test_prompts_name_attributes_in_the_order_of_the_parts():
    """With wordings of which none is a piece of another, the places in the prompt must increase."""
    attributes = ("driving_side", "capital", "calling_code", "internet_domain")
    rng = Random(0)
    for frame in FACT_FRAMES:
        for _ in range(20):
            order = tuple(rng.sample(attributes, 4))
            prompt = fact_prompt(frame, country_named("Kenya"), order, rng).lower()
            places = [earliest(prompt, attribute) for attribute in order]
            checked = places[1:] if frame.form == "question" else places  # the first is a question of its own
            assert checked == sorted(checked) and min(checked) >= 0, prompt


def test_prompts_use_the_article_and_the_possessive():
    netherlands = country_named("Netherlands")
    prompts = {fact_prompt(frame, netherlands, ("capital",), Random(0)) for frame in FACT_FRAMES}
    assert any("the Netherlands' " in prompt for prompt in prompts)
    assert all("the netherlands" in p.lower() or "etherlands" in p and "{" not in p for p in prompts)


def test_errors_say_what_to_do(monkeypatch):
    with pytest.raises(ValueError, match="Got comparison_share 2, expected a fraction"):
        training_questions(1, seed=0, comparison_share=2)
    monkeypatch.setattr("planned_diffusion.facts.generator.ATTEMPTS_PER_QUESTION", 0)
    with pytest.raises(ValueError, match="Got count 3, expected at most the 0 distinct prompts found"):
        held_out_questions(3, seed=0)


def test_scrambled_prompts_keep_to_training_combinations_and_name_everything():
    drawn = list(training_questions(500, seed=3, comparison_share=0.5, scrambled_share=1.0))
    assert {question.frame for question in drawn} == {SCRAMBLED} and not any(question.held_out for question in drawn)
    for question in drawn:
        assert not combination_is_held_out(*map(tuple, combination(question)))
        names = {name for statement in question.statements for name in statement.countries}
        assert all(name.lower() in question.prompt.lower() for name in names)
    assert list(training_questions(500, seed=3, comparison_share=0.5, scrambled_share=1.0)) == drawn


def test_a_few_countries_without_some_kind_of_pair_are_compared_otherwise():
    """Of these no two share a currency in a combination that is held out; that must not be waited for."""
    countries = load_countries()[::10][:16]
    prompts = {question.prompt for question in held_out_questions(64, 3, comparison_share=0.5, countries=countries)}
    assert len(prompts) == 64
    with pytest.raises(ValueError, match="2 countries have no pair to compare that may be asked for; give more"):
        held_out_questions(8, 3, comparison_share=1.0, countries=load_countries()[:2])
