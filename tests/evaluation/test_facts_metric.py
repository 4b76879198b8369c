import pytest

from planned_diffusion.facts.countries import ATTRIBUTES, country_named, load_countries
from planned_diffusion.facts.generator import (
    comparison_question,
    facts_question,
    held_out_questions,
    training_questions,
)
from planned_diffusion.facts.metric import CUES, facts_right
from planned_diffusion.facts.sentences import COMPARABLE, comparison_sentence, fact_sentence


def facts(name, *attributes):
    return facts_question("", "", country_named(name), attributes)


def comparison(a, b, attribute):
    return comparison_question("", "", country_named(a), country_named(b), attribute)


def right(question, text):
    return facts_right(question, text).right


def test_canonical_answers_are_complete_and_exact():
    assert tuple(CUES) == ATTRIBUTES
    for question in [*training_questions(1_500, seed=3), *held_out_questions(300, seed=3)]:
        score = facts_right(question, question.answer)
        assert score.complete and score.exact and score.total == len(question.statements), (score, question.answer)


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_every_sentence_is_right_for_its_own_country_and_no_other_value(attribute):
    countries = load_countries()
    for country, other in zip(countries, countries[1:] + countries[:1], strict=True):
        question = facts(country.name, attribute)
        assert right(question, fact_sentence(country, attribute)) == 1
        assert right(question, fact_sentence(other, attribute)) == 0  # it speaks of the other country
        value, wrong = country.value(attribute), other.value(attribute)
        if value != wrong:
            head, _, tail = fact_sentence(country, attribute).rpartition(value)
            assert right(question, f"{head}{wrong}{tail}") == 0
        assert right(question, fact_sentence(country, attribute).replace(value, "Nowhere")) == 0


@pytest.mark.parametrize(
    "name, attribute, text, is_right",
    [
        # other correct wordings
        ("Kenya", "capital", "Nairobi is the capital.", True),
        ("Kenya", "capital", "Kenya's capital, Nairobi, is large!", True),
        ("Kenya", "currency", "People pay with the Kenyan shilling there", True),
        ("Kenya", "driving_side", "In Kenya, traffic keeps left.", True),
        ("Kenya", "driving_side", "Cars use the left-hand side.", True),
        ("Kenya", "continent", "Kenya lies in East Africa.", True),
        ("Kenya", "internet_domain", "Its web domain: .ke", True),
        ("Kenya", "calling_code", "Dial +254, then the number.", True),
        ("Kenya", "demonym", "A person from Kenya is called a Kenyan.", True),
        ("Argentina", "demonym", "The main language is called Spanish. People there are called Argentine.", True),
        ("United States", "capital", "The capital is Washington, D.C. The currency is the US dollar.", True),
        ("Kenya", "capital", "Kenya borders Uganda. The capital is Nairobi.", True),
        # nothing, or not about the attribute
        ("Kenya", "capital", "", False),
        ("Kenya", "capital", "Nairobi", False),
        ("Kenya", "capital", "Kenya uses the Kenyan shilling.", False),
        ("Spain", "language", "Someone from Spain is described as Spanish.", False),
        ("Spain", "demonym", "The main language of Spain is Spanish.", False),
        # contradicted or negated
        ("Kenya", "capital", "The capital is Nairobi or Kampala.", False),
        ("Kenya", "capital", "The capital is Kampala. The capital is Nairobi.", False),
        ("Kenya", "capital", "The capital is not Nairobi.", False),
        ("Kenya", "capital", "The capital isn't Nairobi.", False),
        ("Kenya", "driving_side", "People drive on the left and on the right.", False),
        ("Kenya", "driving_side", "People drive on the right.", False),
        ("Kenya", "driving_side", "People drive on the leftover side.", False),
        # another country
        ("Kenya", "capital", "The capital of Uganda is Nairobi.", False),
        ("Kenya", "capital", "The capital of Chad is Nairobi.", False),
        # part of something longer
        ("Guinea-Bissau", "capital", "The capital city of Guinea-Bissau is Nowhere.", False),
        ("Guinea-Bissau", "capital", "The capital of Guinea-Bissau is Bissau.", True),
        ("Luxembourg", "capital", "The capital of Luxembourg is Luxembourg.", False),
        ("Sao Tome and Principe", "capital", "The capital of Sao Tome and Principe is Nowhere.", False),
        ("Guinea", "demonym", "People there are called Papua New Guinean.", False),
        ("Guinea", "demonym", "People there are called Bissau-Guinean.", False),
        ("South Sudan", "currency", "People pay with the Sudanese pound.", False),
        ("Sudan", "currency", "People pay with the South Sudanese pound.", False),
        ("Samoa", "capital", "The capital of American Samoa is Apia.", False),
        ("Niger", "capital", "The capital of Nigeria is Niamey.", False),
        (
            "Republic of the Congo",
            "capital",
            "The Democratic Republic of the Congo has the capital Brazzaville.",
            False,
        ),
        ("Haiti", "demonym", "Someone from there is described as Haitian Creole.", False),
        ("Canada", "calling_code", "The calling code is +1.", True),
        ("Canada", "calling_code", "The calling code is +1 876.", False),
        ("Canada", "calling_code", "The calling code is +1 345.", False),
        ("Canada", "calling_code", "The calling code is +1-345.", False),
        ("Russia", "calling_code", "The calling code is +77.", False),
        ("Jamaica", "calling_code", "The calling code is +1.", False),
        ("Colombia", "internet_domain", "The domain is .com.", False),
        ("Kenya", "internet_domain", "The domain is .co.ke.", False),
        # spelling counts
        ("Kenya", "capital", "The capital is nairobi.", False),
        ("Kenya", "capital", "The capital is Nairobis.", False),
    ],
)
def test_one_fact(name, attribute, text, is_right):
    assert right(facts(name, attribute), text) == is_right


def test_a_missing_sentence_costs_its_fact_only():
    question = facts("Kenya", "capital", "currency", "language")
    text = question.statements[0].text + question.statements[2].text
    score = facts_right(question, text)
    assert (score.right, score.total, score.complete, score.exact) == (2, 3, False, False)
    assert score.wrong_topics == ("currency",)


def test_another_order_is_complete_but_not_exact():
    question = facts("Kenya", "capital", "currency")
    score = facts_right(question, f"{question.statements[1].text} {question.statements[0].text}")
    assert score.complete and not score.exact


BOTH_FACTS = "The currency of Kenya is the Kenyan shilling. The currency of Senegal is the West African CFA franc."
YES = "So yes, Kenya and Senegal share the same currency, which is the Kenyan shilling."
NEXT_TO_EACH_OTHER = "It is the Kenyan shilling for Kenya and the West African CFA franc for Senegal,"
NO = "So no, Kenya uses the Kenyan shilling whereas Senegal uses the West African CFA franc."


@pytest.mark.parametrize(
    "text, wrong",
    [
        (f"{BOTH_FACTS} {NO}", ()),
        (f"{BOTH_FACTS} {NEXT_TO_EACH_OTHER} so the answer is no.", ()),
        (f"{BOTH_FACTS} {NEXT_TO_EACH_OTHER} so the answer is yes.", ("comparison",)),
        (f"{BOTH_FACTS} Comparing the Kenyan shilling with the West African CFA franc, the answer is no.", ()),
        (f"{BOTH_FACTS} Comparing the Kenyan shilling with the West African CFA franc, it is yes.", ("comparison",)),
        (f"{BOTH_FACTS} Comparing the West African CFA franc with the Kenyan shilling, it is no.", ("comparison",)),
        (f"{BOTH_FACTS} Comparing the Kenyan shilling with the Kenyan shilling, it is no.", ("comparison",)),
        (f"{BOTH_FACTS} Kenya uses the Kenyan shilling, unlike Senegal with the West African CFA franc.", ()),
        (f"{BOTH_FACTS} No, Senegal uses the West African CFA franc but Kenya the Kenyan shilling.", ()),
        (BOTH_FACTS, ("comparison",)),
        (f"{BOTH_FACTS} {YES}", ("comparison",)),
        (f"{BOTH_FACTS} {YES} {NO}", ("comparison",)),
        (f"{BOTH_FACTS} {NO.replace('So no', 'So yes')}", ("comparison",)),
        (f"{BOTH_FACTS} {NO.replace('So no', 'Yes and no')}", ("comparison",)),
        (f"{BOTH_FACTS} So no, Kenya and Senegal differ.", ("comparison",)),
        (
            f"{BOTH_FACTS} So no, Kenya uses the West African CFA franc whereas Senegal uses the Kenyan shilling.",
            ("comparison",),
        ),
        (
            "The currency of Kenya is the West African CFA franc. The currency of Senegal is the Kenyan shilling. "
            + NO,
            ("Kenya", "Senegal"),
        ),
        (NO, ("Kenya", "Senegal")),
        ("The currency of Kenya is the Kenyan shilling. " + NO, ("Senegal",)),
        ("People pay with the Kenyan shilling.", ("Kenya", "Senegal", "comparison")),
        ("", ("Kenya", "Senegal", "comparison")),
    ],
)
def test_comparison(text, wrong):
    assert facts_right(comparison("Kenya", "Senegal", "currency"), text).wrong_topics == wrong


@pytest.mark.parametrize(
    "verdict, is_right",
    [
        ("So yes, Kenya and Uganda drive on the same side, which is the left.", True),
        ("It is the left for Kenya and the left for Uganda, so the answer is yes.", True),
        ("It is the left for Kenya and the left for Uganda, so the answer is no.", False),
        ("Comparing the left with the left, the answer is yes.", True),
        ("Comparing the left with the left, the answer is no.", False),
        ("Comparing the right with the right, the answer is yes.", False),
        ("Comparing the left with the right, the answer is no.", False),
        ("Comparing the two, the answer is yes.", False),
        ("It is the left for Kenya and the right for Uganda, so the answer is no.", False),
        ("It is the right for Kenya and the right for Uganda, so the answer is yes.", False),
        ("It is the left for Kenya and the left for Tanzania, so the answer is yes.", False),
        ("Both Kenya and Uganda drive on the left.", True),
        ("Yes. Kenya and Uganda drive on the left.", True),
        ("No. Both Kenya and Uganda drive on the left.", False),
        ("So no, Kenya and Uganda drive on the same side, which is the left.", False),
        ("Kenya and Uganda do not drive on the same side, the left.", False),
        ("So yes, Kenya and Uganda drive on the same side, which is the right.", False),
        ("So yes, Kenya and Uganda drive on the same side.", False),
        ("So yes, Kenya drives on the left and Uganda on the right.", False),
        ("So yes, Kenya and Tanzania drive on the same side, which is the left.", False),
        ("Kenya and Uganda drive on the left.", False),
    ],
)
def test_verdict_on_a_shared_value(verdict, is_right):
    question = comparison("Kenya", "Uganda", "driving_side")
    sentences = "".join(statement.text for statement in question.rounds[0])
    assert facts_right(question, f"{sentences} {verdict}").complete == is_right


@pytest.mark.parametrize("attribute", COMPARABLE)
def test_swapped_countries_and_wrong_verdicts_are_wrong(attribute):
    countries = load_countries()
    for a, b in zip(countries, countries[7:], strict=False):
        if a.value(attribute) == b.value(attribute):
            continue
        question = comparison(a.name, b.name, attribute)
        swapped = [
            statement.text.replace(mine, "@").replace(other, mine).replace("@", other)
            for statement, mine, other in (
                (question.statements[0], a.the_name, b.the_name),
                (question.statements[1], b.the_name, a.the_name),
            )
        ]
        score = facts_right(question, "".join(swapped) + question.statements[2].text)
        assert score.wrong_topics == (a.name, b.name)
        verdict = " " + comparison_sentence(a, a, attribute).replace(f"and {a.the_name}", f"and {b.the_name}")
        score = facts_right(question, "".join(statement.text for statement in question.rounds[0]) + verdict)
        assert score.wrong_topics == ("comparison",)
