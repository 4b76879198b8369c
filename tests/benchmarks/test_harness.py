"""The arithmetic of the benchmarks, by hand."""

import json
import time

import pytest
import torch
from harness import interleaved, inverted, ratio, ratio_text, report, shown, spread, stamp, timing
from machine import Machine, best_of, measure_machine
from roofline import Work, forward_work, stored_bytes, trunk_weights


def test_median_and_spread_by_hand():
    seconds = [0.004, 0.001, 0.002, 0.003, 0.010]  # quartiles 0.002, 0.003, 0.004
    assert timing(seconds) == {"ms": pytest.approx(3.0), "spread %": pytest.approx(200 / 3), "repeats": 5}
    assert spread([0.5]) == 0.0


def test_a_ratio_is_the_median_of_pairs():
    assert ratio([1.0, 4.0, 9.0], [1.0, 2.0, 3.0]) == 2.0
    assert ratio([3.0, 30.0], [1.0, 10.0]) == 3.0  # a machine that became ten times slower


def test_competitors_take_turns_and_the_first_round_does_not_count():
    order = []
    seconds = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, repeats=2)
    assert order == ["a", "b"] * 3
    assert {name: len(values) for name, values in seconds.items()} == {"a": 2, "b": 2}


def test_a_limit_in_seconds_leaves_at_least_one_round():
    assert len(interleaved({"a": lambda: time.sleep(0.02)}, repeats=50, limit_s=0.0)["a"]) == 1


@pytest.mark.parametrize(
    "work, seconds, bound",
    [(Work(2e9, 1e9), 2.0, "memory"), (Work(1e9, 3e10), 3.0, "arithmetic"), (Work(1e9, 1e10), 1.0, "memory")],
)
def test_the_limit_is_the_slower_of_memory_and_arithmetic(work, seconds, bound):
    machine = Machine(bytes_per_s=1e9, flops_per_s=1e10, block_bytes=1)
    assert (machine.limit_s(work), machine.bound(work)) == (seconds, bound)


def test_work_adds_up():
    assert Work(1, 2) + Work(10, 20).times(3) == Work(31, 62)


def test_the_work_of_a_forward_by_hand(bench):
    """Two layers of width 64, inner 128, heads 4 x 16 of which 2 with keys; vocabulary 512; float32."""
    layer = 64 * 64 + 2 * 64 * 32 + 64 * 64 + 3 * 64 * 128
    others = (64 + 32 + 32) + 2 * 64  # biases of q, k, v; norms
    head = 512 * 64
    assert trunk_weights(bench.model) == 2 * layer
    weights = 4 * (2 * (layer + others) + 64)
    assert stored_bytes(bench.model) == weights + 2 * 4 * head
    work = forward_work(bench.model, tokens=3, slots=10, pairs=25, wanted=2)
    slots = 10 * 2 * 2 * 2 * 16 * 4  # layers, keys and values, heads, head size, bytes
    assert work.bytes == weights + 3 * 64 * 4 + slots + 4 * head + 2 * 512 * 4
    assert work.flops == 2 * 3 * 2 * layer + 4 * 25 * 4 * 16 * 2 + 2 * 2 * head
    assert forward_work(bench.model, 3, 10, 25, wanted=0).bytes == weights + 3 * 64 * 4 + slots


def test_a_machine_is_measured(monkeypatch):
    monkeypatch.setattr("machine.SECONDS", 0.01)
    monkeypatch.setattr("machine.PRODUCTS", {"cpu": ((8, 64, 64),)})
    machine = measure_machine("cpu", torch.float32, weight_bytes=10_000)
    assert machine.bytes_per_s > 0 and machine.flops_per_s > 0 and machine.block_bytes == 10_000


def test_a_rate_is_the_best_that_was_seen():
    assert best_of(Machine(1.0, 20.0, 3), Machine(10.0, 2.0, 3)) == Machine(10.0, 20.0, 3)


def test_a_report_is_a_table_and_json(tmp_path, capsys):
    out = tmp_path / "new" / "report.json"
    report("Title", [{"case": "a", "ms": 1.2345}, {"case": "b", "note": "not run"}], stamp(seed=3), out)
    printed = capsys.readouterr().out
    assert "1.23" in printed and "not run" in printed
    content = json.loads(out.read_text())
    assert content["rows"][0]["ms"] == 1.2345
    expected = {"date", "commit", "device", "cores", "threads", "load", "versions", "command", "seed"}
    assert expected <= set(content["stamp"])


def test_numbers_are_shown_with_three_digits():
    assert [shown(value) for value in (1234.5, 0.012345, 7, "x")] == ["1,234", "0.0123", "7", "x"]


def test_ratios_as_text_by_hand():
    assert ratio_text([2.0, 4.0, 9.0], [2.0, 2.0, 3.0]) == "2.00 (1.50 to 2.50)"  # 1, 2, 3
    assert ratio_text([3.0], [2.0]) == "1.50"
    assert inverted("0.50 (0.40 to 0.80)") == "2.00 (1.25 to 2.50)"
    assert inverted("0.50") == "2.00"
