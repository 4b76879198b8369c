"""The prompts: distinct, reproducible, well formed, and held out where they must be."""

import re
from collections import Counter

import pytest

from planned_diffusion.distillation.prompt_data import KINDS, prompt_data
from planned_diffusion.distillation.prompt_set import prompts

TRAINING, HELD_OUT = prompts(7500, seed=1), prompts(300, seed=1, held_out=True)
BOTH = [*TRAINING, *HELD_OUT]


def words(text):
    return f" {' '.join(re.findall(r'[a-z0-9]+', text.lower()))} "


def test_prompts_and_ids_are_distinct():
    assert len({prompt.prompt for prompt in BOTH}) == len({prompt.id for prompt in BOTH}) == len(BOTH)


def test_no_two_prompts_differ_in_their_count_alone():
    shapes = Counter(
        (prompt.form, *sorted(prompt.topics)) for prompt in TRAINING if prompt.kind not in ("sum", "questions")
    )
    assert max(shapes.values()) == 1


def test_the_same_seed_gives_the_same_prompts_and_fewer_are_the_first_of_more():
    assert prompts(50, seed=1) == TRAINING[:50]
    assert prompts(50, seed=2) != TRAINING[:50]


def test_every_kind_has_its_share_and_a_third_must_stay_whole():
    counts = Counter(prompt.kind for prompt in TRAINING)
    assert sum(kind.share for kind in KINDS.values()) == 100
    assert all(abs(counts[name] / len(TRAINING) - kind.share / 100) < 0.015 for name, kind in KINDS.items())
    assert 0.62 < sum(prompt.parts for prompt in TRAINING) / len(TRAINING) < 0.72
    assert {prompt.kind for prompt in HELD_OUT} == set(KINDS)


def test_topics_and_forms_are_many():
    data = prompt_data()
    assert sum(map(len, data.topics.values())) > 900
    assert sum(map(len, data.forms.values())) > 300


def test_held_out_prompts_share_no_form_with_training():
    assert not {prompt.form for prompt in TRAINING} & {prompt.form for prompt in HELD_OUT}


def test_no_held_out_topic_occurs_in_a_training_prompt():
    text = "|".join(words(prompt.prompt) for prompt in TRAINING)
    held_out = prompt_data(held_out=True)
    topics = [entry for name, entries in held_out.topics.items() if name not in ("goods", "name") for entry in entries]
    parts = [part for entry in topics for part in re.split(r" \| ", entry)]
    assert [part for part in parts if words(part) in text] == []


@pytest.mark.parametrize("held_out", [False, True])
def test_every_form_is_written_once_and_every_category_has_topics(held_out):
    data = prompt_data(held_out)
    forms = [(form.kind, form.category, form.text) for kind in KINDS for form in data.forms[kind]]
    assert len(set(forms)) == len(forms)
    assert all(len(set(entries)) == len(entries) for entries in data.topics.values())
    assert {category for _, category, _ in forms} <= set(data.topics)


@pytest.mark.parametrize(  # "a unusual idea" is among the sentences to correct
    ("fault", "pattern"),
    [
        ("a place that was not filled", r"[{}|]|\\n"),
        ("two spaces, or a space at an end", r"[^\S\n]{2}|^\s|\s$|\s\n"),
        ("a before a vowel", r"\b[Aa] (?=[aeiouAEIOU])(?!one|uni|use|euro|ukulele|unusual idea)"),
        ("an before a consonant", r"\b[Aa]n (?![aeiou8]|hour|honest)"),
        ("a space before a mark", r" [.,?!:;]"),
        ("a mark twice", r"[.,?!:;]{2}"),
        ("a word twice", r"\b(\w+) \1\b"),
        ("a small letter at the beginning", r"^[a-z]"),
        ("a number before one thing", r"\bone (?:facts|things|tips|ideas)\b"),
    ],
)
def test_no_prompt_has(fault, pattern):
    # Sentences to correct have faults by intention.
    found = [
        prompt.prompt for prompt in BOTH if re.search(pattern, prompt.prompt) and "unusual idea" not in prompt.prompt
    ]
    assert found == [], fault


def test_divisions_are_exact_and_nothing_becomes_negative():
    for prompt in TRAINING:
        if prompt.kind == "sum":
            numbers = [int(number) for number in re.findall(r"\d+", prompt.prompt)]
            if re.search("divided|shares|piles", prompt.prompt):
                assert numbers[0] % numbers[1] == 0
            elif re.search("gives|minus|sold|Calculate|Solve", prompt.prompt):
                assert max(numbers) >= sum(numbers) - max(numbers)


def test_more_prompts_than_there_are_is_one_sentence():
    with pytest.raises(ValueError, match=r"Got count 3000, expected at most the \d+ distinct prompts found; ask for"):
        prompts(3000, seed=1, held_out=True)
