"""Topics are short words of the parts, all different within an answer; list markers are no topics."""

import gzip
import json
import random

import pytest

from planned_diffusion.annotation.structure import annotate_by_structure
from planned_diffusion.annotation.topics import CLOSING, Part, topics_of

MOST_WORDS = 2
WORDS = ["tea", "milk", "salt", "river", "stone", "cloud", "light", "ship"]


def topics(*passages, prompt=""):
    return topics_of([Part(passage, (passage,)) for passage in passages], prompt)


@pytest.mark.parametrize(
    ("passage", "topic"),
    [
        # Labels: the noun, not its adjective; markers of any shape are left out.
        ("1. Quiet light: switch the lamps off", "light"),
        ("\n\n2. **Data leakage**: occurs when", "leakage"),
        ("**3. Apples**\n\nApples are sweet", "Apples"),
        ("- **Price** - compare it", "Price"),
        ("\n## The history of tea\nTea was", "history"),
        ("* Health benefits: it is good", "Health"),
        ("a) Oak\n", "Oak"),
        ("(iv) _Stone bridges_: they last", "bridges"),
        ("1. 2. 'Medical Assistant' - helps", "Assistant"),
        ("Advantage 2: Culture and Community", "Culture"),
        ("\nStep 3: Turn off the oven.", "oven"),
        ("After the interview: be polite", "After"),
        # Days keep their number, which is the information; "Monday" is a word.
        ("Day 1: Arrive and rest", "Day 1"),
        ("- **Week two** - Rest", "Week two"),
        ("Monday: run a mile", "Monday"),
        # No label: the first telling word of a sentence, its verb or adjective only where there is no other.
        ("- Drink a glass of water before bed and wake up fresh again", "glass"),
        ("3. They are used for various important purposes like cooking over a fire outside", "fire"),
        ("- Avoid screens (e.g. telephones) at night, when everybody else is asleep", "screens"),
        ("- 1/2 cup of milk", "cup"),
        ("- 12, 15", "15"),
        ("Is it?", "Is"),
        ("...!?", ""),
        ("北京是中华人民共和国的首都,也是全国的政治中心和文化中心", "也是全国的政治中"),
    ],
)
def test_the_topic_of_a_part(passage, topic):
    assert topics(passage) == [topic]


@pytest.mark.parametrize(
    ("prompt", "passages", "wanted"),
    [
        ("", ("Solar energy: warm", "Wind energy: cold", "Hydro energy: wet"), ["Solar", "Wind", "Hydro"]),
        ("", ("Positive Perspective: tests help", "Negative Perspective: tests harm"), ["Positive", "Negative"]),
        (
            "Tell me two facts about penguins.",
            (
                "1. Penguins are birds of the south that swim very well",
                "2. Penguins eat fish and krill in the open sea",
            ),
            ["birds", "fish"],
        ),
        (
            "Describe a tiger by look and food.",
            ("Its look is striking, with stripes on a coat of orange fur", "Its food is meat of deer and of wild pigs"),
            ["look", "food"],
        ),
        (
            "What are the differences between a lake and a river?",
            (
                "A lake is a body of standing water in all continents of the world",
                "A river flows downhill to the sea, always",
            ),
            ["lake", "river"],
        ),
        (
            "Job interview: before, during and after?",
            ("Before the interview:\nSleep", "During the interview:\nSmile", "After the interview:\nWrite"),
            ["Before", "During", "After"],
        ),
    ],
)
def test_topics_tell_the_parts_from_each_other(prompt, passages, wanted):
    assert topics(*passages, prompt=prompt) == wanted


def test_a_group_is_called_by_its_first_passage():
    parts = [Part("", ("1. Flu", "2. Diabetes", "3. HIV")), Part("", ("4. Heart disease", "5. Asthma"))]
    assert topics_of(parts) == ["Flu", "disease"]
    assert topics_of([Part("", ("Day 1: Rome", "Day 2: Pisa")), Part("", ("Day 3: Siena",))]) == ["Day 1", "Day 3"]


def test_parts_that_say_the_same_still_differ():
    same = "Salt is a mineral."
    assert topics(same, same, same) == ["Salt", "mineral", "Salt mineral"]
    assert topics(same, same, same, same, same)[3:] == ["Salt two", "Salt three"]
    assert topics_of([Part("- Closing: lock it", ("- Closing: lock it",)), Part("Bye", topic=CLOSING)]) == [
        "Closing",
        "closing two",
    ]


def test_any_parts_get_short_different_topics_of_their_own_words():
    draw = random.Random(0)
    for _ in range(300):
        passages = [
            f"{draw.choice(('1. ', '- ', '', '## ', 'Tip 2: '))}{' '.join(draw.choices(WORDS, k=draw.randint(1, 9)))}."
            for _ in range(draw.randint(2, 9))
        ]
        found = topics(*passages, prompt=" ".join(draw.choices(WORDS, k=2)))
        assert len(set(map(str.lower, found))) == len(passages)
        for passage, topic in zip(passages, found, strict=True):
            assert topic.split()[0] in passage and len(topic.split()) <= MOST_WORDS


def test_topics_of_the_pool_are_short_and_differ(shared_data):
    """A topic starts with no marker; a word that two plans in a hundred lack would be found in 400."""
    with gzip.open(shared_data("structured_pool.jsonl.gz"), "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines][::20]
    words = plans = 0
    for record in records:
        plan = annotate_by_structure(record["prompt"], record["response"])
        found = [topic for spans in plan.rounds for topic, _ in spans]
        assert len({topic.lower() for topic in found}) == len(found)
        assert all(topic and topic[0].isalnum() and len(topic.split()) <= MOST_WORDS for topic in found)
        words, plans = words + sum(len(topic.split()) for topic in found), plans + len(found)
    assert plans > 500 and words / plans < 1.5
