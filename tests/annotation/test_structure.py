"""Exact plans of a few answers."""

from planned_diffusion.annotation.independence import PARALLEL, PLAIN, STEPS
from planned_diffusion.annotation.structure import Annotation, annotate_by_structure


def topics(plan):
    return [[topic for topic, _ in spans] for spans in plan.rounds]


def text(plan):
    return "".join(text for spans in plan.rounds for _, text in spans)


def test_a_preamble_shares_the_round_of_the_passages_and_a_conclusion_sees_them(tips):
    plan = annotate_by_structure("Give me three tips for the evening.", tips)
    assert plan.kind == PARALLEL and text(plan) == tips
    assert topics(plan) == [["introduction", "light", "air", "drink"], ["closing"]]
    assert plan.rounds[0][0][1] == "Here are three tips for a calm evening at home:"
    assert plan.rounds[1][0][1] == "\n\nBy following these tips you will sleep better."


def test_what_refers_to_nothing_shares_the_round_of_the_passages(tips):
    lines = tips.splitlines()
    answer = "\n".join(["Evenings can be loud and bright.", *lines[1:4], "", "Sincerely yours, your old friend Ann"])
    plan = annotate_by_structure("Give me three tips for the evening.", answer)
    assert topics(plan) == [["light", "air", "drink"]] and text(plan) == answer  # too short for spans of their own
    wide = answer.replace("Evenings", "Evenings in a town by the sea, in summer,").replace(
        "Ann", "Ann of the blue house"
    )
    assert topics(annotate_by_structure("Give me three tips for the evening.", wide)) == [
        ["introduction", "light", "air", "drink", "closing"]
    ]


def test_a_preamble_beside_one_group_of_passages_is_no_plan():
    answer = "Here is a short list of small birds of the woods:\n- Blue tit\n- Blackbird\n- Jackdaw"
    assert annotate_by_structure("List three birds.", answer) == Annotation(PLAIN, reason="too short")


def test_days_are_written_side_by_side_where_a_plan_of_days_was_asked_for():
    days = "\n".join(f"**Day {day}:** See {what} and rest by the sea in the evening." for day, what in DAYS)
    plan = annotate_by_structure("Plan a three-day trip to the coast.", days)
    assert (plan.kind, plan.reason) == (PARALLEL, "days") and topics(plan) == [["Day 1", "Day 2", "Day 3"]]
    assert annotate_by_structure("How did the siege end?", days).reason != "days"


DAYS = ((1, "the old harbour"), (2, "the new museum"), (3, "the long beach"))


def test_directions_behind_a_list_see_its_items():
    things = "\n".join(f"- {name}, washed and cut into small pieces" for name in ("leeks", "carrots", "potatoes"))
    answer = f"{things}\n\nInstructions:\n1. Boil everything.\n2. Serve everything with bread."
    plan = annotate_by_structure("What goes into a soup?", answer)
    assert plan.kind == PARALLEL and [len(spans) for spans in plan.rounds] == [3, 1] and text(plan) == answer
    assert plan.rounds[1][0][1].startswith("\n\nInstructions:")


def test_small_items_are_grouped_and_tiny_lists_stay_plain():
    animals = [
        f"{number}. {name} of the deep forest" for number, name in enumerate(("Bear", "Wolf", "Lynx", "Deer"), 1)
    ]
    plan = annotate_by_structure("List four animals.", "\n".join(animals))
    assert topics(plan) == [["Bear", "Lynx"]] and text(plan) == "\n".join(animals)
    assert annotate_by_structure("List four animals.", "- Bear\n- Wolf\n- Lynx\n- Deer") == Annotation(
        PLAIN, reason="too short"
    )


def test_small_ends_join_their_neighbours(tips):
    answer = "Tips:\n" + "\n".join(tips.splitlines()[1:4]) + "\n\nEnjoy!"
    plan = annotate_by_structure("Give me three tips.", answer)
    assert len(plan.rounds) == 1 and len(plan.rounds[0]) == 3
    assert plan.rounds[0][0][1].startswith("Tips:\n1. Quiet") and plan.rounds[0][2][1].endswith("\n\nEnjoy!")


def test_steps_get_one_round_each_and_nothing_parallel():
    steps = [f"Step {number}: {'work with great care and patience ' * 6}" for number in range(1, 5)]
    plan = annotate_by_structure("Build a boat.", "\n".join(steps))
    assert plan.kind == STEPS and [len(spans) for spans in plan.rounds] == [1, 1, 1, 1]
    assert text(plan) == "\n".join(steps)
    assert (
        annotate_by_structure("Build a boat.", "Step 1: Saw.\nStep 2: Glue.").kind == PLAIN
    )  # one round would be left


def test_spans_of_a_round_are_capped():
    items = [f"- {'a word or two about this thing ' * 8}" for _ in range(30)]
    for most in (4, 9):
        plan = annotate_by_structure("List many things.", "\n".join(items), most)
        assert 2 <= len(plan.rounds[0]) <= most


def test_the_same_answer_gets_the_same_plan(tips):
    assert annotate_by_structure("Three tips", tips) == annotate_by_structure("Three tips", tips)
