"""What must never be split is not, whatever its shape; the committed weights are those of the labels, and hold up."""

import gzip
import json
import re

import fit_independence
import pytest

from planned_diffusion.annotation.features import DIRECTIONS, features_of
from planned_diffusion.annotation.independence import PARALLEL, PLAIN, STEPS, WEIGHTS, judge, model, why_plain
from planned_diffusion.annotation.outline import outline_of
from planned_diffusion.annotation.structure import annotate_by_structure

CASES = (
    (
        "Give two benefits of sport.",
        "1. Health: sport keeps you fit.\n2. Friends: sport brings people together.",
        PARALLEL,
    ),
    ("How do I make tea?", "1. Boil the water.\n2. Pour it over the leaves.\n3. Wait and serve.", STEPS),
    ("Plan my trip.", "Day 1: We arrive and rest.\nDay 2: We see the castle.", STEPS),
    ("Recipe for soup", "Ingredients:\n- one leek\n- salt\n\nInstructions:\n- Chop it.\n- Boil it.", STEPS),
    (
        "List steps for an omelet",
        "1. Crack two eggs.\n2. In a pan, heat butter.\n3. Once it is hot, pour them in.\n4. Carefully fold it.",
        STEPS,
    ),
    ("Document the steps of an oil change", "- Locate the plug.\n- Open it.\n- Fresh oil goes in.", STEPS),
    ("A bouquet in a vase?", "To do so, follow these steps:\n- Fill the vase.\n- Put the flowers in.", STEPS),
    ("Outline the hiring process.", "1. Define the role.\n2. Conduct interviews.\n3. Offer the job.", STEPS),
    ("Explain the process of baking.", "Mixing:\n- Mix it all.\n\nBaking:\n- Bake it for an hour.", STEPS),
    ("Give three tips for a calm day.", "Take these steps:\n- Sit down.\n- Drink tea.\n- Read a book.", PARALLEL),
    ("List what the recipe needs.", "- Flour and salt\n- Butter\n- Three eggs", PARALLEL),
    ("Solve 2x + 3 = 7 for x.", "- Take three from both sides.\n- Halve both sides.", PLAIN),
    ("Suggest a dish", "Ingredients:\n- one leek\n- salt\n\nMethod:\n1. Chop it.\n2. Boil it.", STEPS),
    ("Suggest a dish", "Leek soup\n- one leek\n- salt\nInstructions:\n- Chop it.\n- Boil it.", STEPS),
    ("What are 3 and 4?", "First, 3 + 1 = 4.\n\nThen 4 + 4 = 8.", PLAIN),
    ("How many are 3 of 4?", "- There are four apples.\n- You take three of them.", PLAIN),
    ("Say hello in Python", "Run it:\n\n```\nprint(1)\n```\n\nThen look at the screen.", PLAIN),
    ("Say hello twice", "def a():\n    return 1\n\ndef b():\n    return 2", PLAIN),
    ("Comment the code.", "# It takes a word.\n# It turns it round.\n# It compares both.\n# It says so.", PLAIN),
    ("Count.", "# Begin with one:\ncount = 1\n\n# Add another one:\ncount += 1\n\n# Show it:\nshow(count)", PLAIN),
    ("Compare them.", "# Cats\nThey can rest all day.\n# Dogs\nThey may want walks.", PARALLEL),
    ("Write a story", "Once upon a time there was a king.\n\nHe had a daughter who loved the sea.", PLAIN),
    ("Why is it so?", "It is old.\n\nSo it fell, and we walked home, and I was sad.", PLAIN),
    ("Why?", "Because.", PLAIN),
    ("Why did it sink?", "- It was fast.\n- Because of that, it was hit.\n- As a result, it sank.", PLAIN),
    ("Are all cats lazy?", "1. Cats rest.\n2. Who rests is lazy.\n3. So all cats are lazy.", PLAIN),
    ("Prove that two is prime.", "## Divisors\nOne divides it.\n## Others\nNone divides it.", PLAIN),
    ("Give three facts that prove it.", "- The ice melts.\n- The sea rises.\n- The air warms.", PARALLEL),
    ("Convert 98 F to C.", "- Subtract 32, which leaves 66.\n- Divide it by 1.8, which leaves 37.", PLAIN),
    ("What is 15% of 240?", "- 10% of it are 24.\n- 5% of it are 12.\n- Together they are 36.", PLAIN),
    ("Calculate the area of 3 by 4.", "- The sides are three and four.\n- The area is twelve.", PLAIN),
    ("Its sides are 3 and 4. Find its area.", "- The sides are three and four.\n- The area is twelve.", PLAIN),
    ("Simplify the fraction 8/12.", "- Halve both: 4/6.\n- Halve both again: 2/3.", PLAIN),
    ("Walk me through it.", "- Loosen the nuts.\n- Take the wheel off.\n- Put the other one on.", STEPS),
    ("Explain the plot of the play.", "- They meet at a ball.\n- They marry in secret.\n- They die.", PLAIN),
    ("Suggest a recipe for pasta.", "- Bring water to a boil.\n- Add the pasta.\n- Serve it with oil.", STEPS),
    ("List the steps to write an essay.", "1. Gathering sources\n2. Writing a draft\n3. Proofreading", STEPS),
    ("How is bread made?", "## Day one\nMix it.\n## Day two\nBake it.", STEPS),
)


@pytest.mark.parametrize(("prompt", "answer", "kind"), CASES)
def test_verdicts(prompt, answer, kind):
    assert judge(prompt, answer, outline_of(answer)).kind == kind


def test_rules_hold_for_answers_without_passages_too():
    assert why_plain("Add 3 and 4.", "3 + 4 = 7, and 7 + 1 = 8.") == "arithmetic"
    assert why_plain("Write a story", "There was a king. He had a daughter.") == "narrative"
    assert why_plain("Why are cats shy?", "They are small. They have enemies.") is None


def test_features_are_shares_or_flags_for_every_direction():
    for prompt, answer, _ in CASES:
        if not (outline := outline_of(answer)).passages:
            continue
        features = features_of(prompt, answer, outline)
        assert set(features) == set(DIRECTIONS) and all(0 <= value <= 1 for value in features.values())


def test_every_weight_points_the_way_that_its_feature_means():
    weights, _ = model()
    assert weights and all(weight * DIRECTIONS[name] > 0 for name, weight in weights.items())


LAYOUTS = {
    "as it is": lambda text: text,
    "without calculator marks": lambda text: re.sub("<<.*?>>", "", text),
    "as paragraphs": lambda text: re.sub("<<.*?>>", "", text).replace("\n", "\n\n"),
    "as a list": lambda text: "- " + re.sub("<<.*?>>", "", text).replace("\n", "\n- "),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_solution_of_gsm8k_is_split_into_parallel_spans(layout, shared_data):
    """All 8,792 as published; a sample in the layouts that tempt most."""
    with gzip.open(shared_data("gsm8k/train.jsonl.gz"), "rt", encoding="utf-8") as lines:
        solutions = [json.loads(line) for line in lines]
    solutions += map(json.loads, shared_data("gsm8k/test.jsonl").read_text(encoding="utf-8").splitlines())
    assert len(solutions) == 8792
    split = 0
    for solution in solutions if layout == "as it is" else solutions[::8]:
        plan = annotate_by_structure(solution["question"], LAYOUTS[layout](solution["answer"]))
        split += any(len(spans) > 1 for spans in plan.rounds)
    assert split == 0


def test_the_committed_weights_are_fitted_to_the_labels_and_agree_with_folds_they_have_not_seen(shared_data):
    records = fit_independence.read(shared_data("skeleton_of_thought/lima_labelled.jsonl.gz"))
    fitted = fit_independence.cross_validate(records)
    committed = json.loads(WEIGHTS.read_text(encoding="utf-8"))
    assert fitted["weights"] == pytest.approx(committed["weights"], abs=1e-3)
    assert fitted["balanced_accuracy_per_fold"] == pytest.approx(committed["balanced_accuracy_per_fold"], abs=0.01)
    assert min(fitted["balanced_accuracy_per_fold"]) >= 0.70


def test_the_annotator_agrees_with_the_labels_as_its_filter_does(shared_data):
    """The whole annotator, grouping included; its weights have seen these answers (the test above has not)."""
    records = fit_independence.read(shared_data("skeleton_of_thought/lima_labelled.jsonl.gz"))
    plans = [annotate_by_structure(record["prompt"], record["response"]) for record in records]
    is_parallel = [any(len(spans) > 1 for spans in plan.rounds) for plan in plans]
    labels = [bool(record["suits_parallel"]) for record in records]
    assert fit_independence.balanced_accuracy(is_parallel, labels) >= 0.70


def test_most_of_the_structured_pool_becomes_plans(shared_data):
    with gzip.open(shared_data("structured_pool.jsonl.gz"), "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines][::4]
    plans = [annotate_by_structure(record["prompt"], record["response"]) for record in records]
    two_or_more = sum(sum(map(len, plan.rounds)) > 1 for plan in plans)
    assert two_or_more >= 0.60 * len(records)
    for record, plan in zip(records, plans, strict=True):
        text = "".join(text for spans in plan.rounds for _, text in spans)
        assert text == (record["response"] if plan.rounds else "")


def test_fitting_writes_what_it_found(tmp_path, capsys):
    rows = [
        {"prompt": f"{name} {index}", "response": f"{text}\n\n{text} {index}", "suits_parallel": label}
        for index in range(40)
        for name, text, label in (("Ask", "You can rest. You may read.", 1), ("Tell", "I was there and we walked.", 0))
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    fit_independence.main([str(tmp_path / "in.jsonl"), "--out", str(tmp_path / "out.json")])
    fitted = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert fitted["balanced_accuracy"] == 1.0 and fitted["weights"]["words_you"] > 0 > fitted["weights"]["words_person"]
    assert json.loads(capsys.readouterr().out) == fitted
