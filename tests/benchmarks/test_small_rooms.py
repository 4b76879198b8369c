"""The table of answers with little room: what it counts, on answers made up, and two lines of the real one."""

import pytest
import small_rooms
import torch
from small_rooms import Answer
from transformers import AutoTokenizer

from planned_diffusion import PlannedDiffusionForCausalLM
from planned_diffusion.facts.generator import held_out_questions
from planned_diffusion.loading.embedded import EMBEDDED

WHOLE = Answer("A. B.", "eos", ["a", "b"], 40)
PLAIN = Answer("A, and B.", "eos", [], 10)


@pytest.mark.parametrize(
    "room, answer, garbage, wrong",
    [
        (40, WHOLE, 0, 0),
        (40, Answer("A. B.", "length", ["a", "b"], 40), 0, 1),
        (30, Answer("A.", "length", ["a"], 20), 0, 0),
        (30, Answer("A.", "eos", ["a"], 20), 0, 1),
        (30, Answer("A.", "length", ["a"], 31), 0, 1),
        (30, Answer("x", "length", ["language 2 use is"], 30), 1, 0),
        (10, PLAIN, 0, 0),
        (9, Answer("A, and B.", "length", [], 9), 0, 0),  # its EOS is missing
        (9, Answer("A, and B.", "eos", [], 9), 0, 1),
        (5, Answer("A, and", "length", [], 5), 0, 0),
    ],
)
def test_what_is_counted(room, answer, garbage, wrong):
    line = small_rooms.row(room, [answer], [WHOLE], [PLAIN])
    assert (line["garbage topics"], line["ended wrong"]) == (garbage, wrong)
    assert line["with a plan"] + line["plain text"] == line['ended "eos"'] + line['ended "length"'] == 1


def test_the_included_model_has_no_faults():
    model = PlannedDiffusionForCausalLM.from_pretrained(EMBEDDED, dtype=torch.float32).eval()
    prompts = [example.prompt for example in held_out_questions(6, small_rooms.SEED)]
    lines = small_rooms.table(model, AutoTokenizer.from_pretrained(EMBEDDED), prompts, (75, 14, 1))
    assert [line["max_new_tokens"] for line in lines] == [1, 14, 75]
    assert all(line["garbage topics"] == line["ended wrong"] == 0 for line in lines)
    assert lines[0]["plain text"] == 6 and lines[-1]["with a plan"] > 0
