"""The command line of the benchmarks, and the table of targets."""

import json

import pytest
import run
from targets import TARGETS, distance, precision_rows, report_lines, target_rows
from targets import Reading as R

from planned_diffusion.loading.embedded import EMBEDDED

FILL = {"fill": {"rows": [{"step": "planning", "outside ms": 0.4, "x ideal": 1.3},
                          {"step": "denoising", "outside ms": 0.7, "x ideal": 1.2}]}}  # fmt: skip


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--shape", "13b"], "--shape: invalid choice"),
        (["--cases", "fil"], "--cases: invalid choice"),
        (["--cases", "batching", "--shape", "tiny"], "batching needs a trained model; choose --shape embedded"),
        (["--repeats", "0"], "--repeats is 0; give a number above 0"),
        (["--point-seconds", "-1"], "--point-seconds is -1.0; give a number above 0"),
        (["--device", "tpu"], "--device is 'tpu'; choose cpu or cuda"),
        (["--threads", "many"], "--threads: invalid int value"),
    ],
)
def test_bad_flags_get_one_sentence(flags, message, capsys):
    with pytest.raises(SystemExit) as end:
        run.main(flags)
    said = capsys.readouterr().err
    assert end.value.code == 2 and message in said and said.count("\n") == 1


def test_a_device_that_is_not_there(monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit):
        run.main(["--device", "cuda"])
    assert "torch finds no GPU here; choose cpu" in capsys.readouterr().err


def test_a_shape_that_memory_cannot_hold(monkeypatch, capsys):
    monkeypatch.setattr(run, "memory_bytes", lambda device: 16e9)
    with pytest.raises(SystemExit):
        run.main(["--device", "cpu", "--shape", "7B"])
    assert "--shape 7b needs 15 GB for its weights, and cpu has 16 GB" in capsys.readouterr().err


def test_a_run_writes_results_a_picture_and_the_targets(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("machine.SECONDS", 0.01)
    flags = ["--device", "cpu", "--shape", "tiny", "--cases", "tokens", "--largest", "64", "--repeats", "1"]
    run.main([*flags, "--dtype", "float32", "--out", str(tmp_path / "cpu-tiny.json")])
    printed = capsys.readouterr().out
    assert "unmeasured (needs a GPU)" in printed and "GB/s" in printed
    assert len(json.loads((tmp_path / "cpu-tiny.json").read_text())["cases"]["tokens"]["rows"]) == 2
    assert (tmp_path / "cpu-tiny.png").read_bytes().startswith(b"\x89PNG")


def test_the_targets_of_measured_and_unmeasured_rows(tmp_path):
    (tmp_path / "cpu-630m.json").write_text(json.dumps({"cases": FILL}))
    (tmp_path / "cpu-embedded.json").write_text(json.dumps({"cases": FILL}))
    rows = target_rows(tmp_path)
    assert rows[0] | {"what": ""} == {
        "what": "", "target": "<= 1.10", "measured": "1.2", "limit": "1", "from the limit": "1.2 x", "reached": "no",
    }  # fmt: skip
    assert rows[1]["measured"] == "0.4 ms planning, 0.7 ms denoising 252 tokens"
    assert (rows[1]["from the limit"], rows[1]["reached"]) == ("+ 0.7", "yes")
    assert rows[2]["measured"] == "unmeasured (needs a GPU)" and rows[3]["measured"] == "unmeasured (make bench)"


def test_every_target_of_a_gpu_reads_results_of_that_form():
    """A made-up 7B run in which every number is known."""
    step = {"x limit": 1.2, "limit ms": 4.0}
    rates = {"limit: autoregressive tokens/s": 250.0, "limit: planned tokens/s": 500.0}
    cases = FILL | {
        "kinds": {"rows": [{"step": "planning", "tokens": 1, **step}]},
        "tokens": {"rows": [{"tokens": count, "x limit": 1.1} for count in (64, 130, 250)]},
        "paper": {"rows": [{"request": "planned", "gain over autoregressive": 2.2, "limit ms": 100.0},
                           {"request": "autoregressive", "limit ms": 237.0}]},
        "batch": {"rows": [{"batch": 1, "autoregressive tokens/s": 200.0, "planned tokens/s": 400.0, **rates},
                           {"batch": 32, "autoregressive tokens/s": 2600.0, "planned tokens/s": 500.0,
                            **{name: 12 * value for name, value in rates.items()}}]},
        "precision": {"rows": [{"precision": "nf4", "context": 2048, "peak GB": 6.5, "weights GB": 5.5}]},
    }  # fmt: skip
    readings = [target.read(cases) for target in TARGETS if target.results == "cuda-7b"]
    assert [(reading.measured, reading.limit) for reading in readings] == [
        (0.7, 0.0), (1.2, 1.0), (2.2, 2.37), (13.0, 12.0), (0.0, 0.0), (6.5, 5.5),
    ]  # fmt: skip
    assert readings[4].text == "left to right overtakes at batch 32; by the roofline above 32"


def test_the_distance_from_the_limit():
    assert distance(R(1.5, 1.0)) == "1.5 x"
    assert distance(R(2.0, 8.0)) == "4 x"
    assert distance(R(0.25, 0.0)) == "+ 0.25"


def test_the_report_has_targets_and_a_stamp_per_results_file(tmp_path):
    environment = {"date": "2026-01-01", "commit": "abc", "device": "one", "cores": 2, "threads": 1, "load": 0.5,
                   "dtype": "bfloat16", "versions": "torch"}  # fmt: skip
    machine = {"bytes_per_s": 12e9, "flops_per_s": 3e11, "block_bytes": 1}
    case = {**FILL["fill"], "stamp": environment, "machine": machine}
    (tmp_path / "cpu-630m.json").write_text(json.dumps({"cases": {"fill": case}}))
    (tmp_path / "other.json").write_text(json.dumps({"rows": []}))
    text = "\n".join(report_lines(tmp_path))
    assert text.count("copies 12 GB/s, multiplies 0.3 TFLOP/s") == 1 and "| <= 1.10 | 1.2 | 1 |" in text


def test_the_table_of_precisions_by_hand():
    rows = [{"precision": precision, "tokens": tokens, "ms": ms, "weights GB": gb, "peak GB": gb + tokens}
            for precision, gb, times in (("bf16", 2.0, (10.0, 40.0)), ("nf4", 0.5, (5.0, 50.0)))
            for tokens, ms in zip((1, 64), times, strict=True)]  # fmt: skip
    rows.append({"precision": "int8", "note": "not run"})
    assert precision_rows({"precision": {"rows": rows}}) == [
        {"precision": "bf16", "ms at 1 tokens": "10 (1 x)", "ms at 64 tokens": "40 (1 x)", "weights, GB": "2",
         "peak, GB": "66"},
        {"precision": "nf4", "ms at 1 tokens": "5 (0.5 x)", "ms at 64 tokens": "50 (1.25 x)", "weights, GB": "0.5",
         "peak, GB": "64.5"},
    ]  # fmt: skip


def test_the_embedded_model_is_there():
    assert (EMBEDDED / "model.safetensors").exists()
