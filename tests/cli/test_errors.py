"""Bad use: exit status 2 and one line that says what to do; failures: 1; Ctrl-C: 130."""

import json
import os
import re
import subprocess
import sys

import pytest

from planned_diffusion import __version__
from planned_diffusion.cli.field_options import given_fields
from planned_diffusion.cli.main import main
from planned_diffusion.inference import answer as answer_module
from planned_diffusion.loading import locate


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--steps-ratio", "0"], r"steps_ratio is 0.0; give a number above 0"),
        (["--steps-ratio", "many"], r"'--steps-ratio'.*See planned-diffusion --help"),
        (["--confidence-threshold", "1.5"], r"confidence_threshold is 1.5.*at most 1"),
        (["--temperature", "-1"], r"temperature is -1.0; give a number of at least 0"),
        (["--max-new-tokens", "0"], r"max_new_tokens is 0; give a whole number of at least 1"),
        (["--decoding", "telepathic"], r"decoding is 'telepathic'; choose one of planned"),
        (["--unmasking", "luck"], r"unmasking is 'luck'; choose one of entropy"),
        (["--span-attention", "none"], r"span_attention is 'none'; choose one of sparse, dense"),
        (["--decoding", "autoregressive", "--steps-ratio", "0.5"], r"has no use for steps_ratio"),
        (["--seed", "-3"], r"seed is -3"),
        (["--set", "block_size"], r"--set got 'block_size'; give FIELD=VALUE"),
        (["--set", "block_sizes=4"], r"block_sizes is no generation field"),
        (["--set", "seed=1", "--seed", "2"], r"seed is given twice"),
        (["--set", "block_size=0"], r"block_size is 0; give a whole number"),
        (["--set", "block_size=8"], r"decoding='planned' has no use for block_size.*block_diffusion"),
        (["--set", "num_return_sequences=2"], r"--set num_return_sequences means nothing on the command line"),
        (["--set", "decoding=[1]"], r"decoding is \[1\]; choose one of planned"),
        (["--dtype", "int1"], r"'--dtype'"),
        (["--device", "abacus"], r"device 'abacus' cannot be used.*choose cpu"),
        (["--polite"], r"No such option: --polite"),
    ],
)
def test_a_bad_value_is_one_line_and_status_2(run, checkpoint, arguments, says):
    ran = run("generate", "What?", "--model", checkpoint[1], *arguments)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith("error: ") and ran.err.count("\n") == 1
    assert re.search(says, ran.err)


def test_a_field_that_is_set_to_nothing_is_set_and_a_temperature_samples():
    options = {"max_new_tokens": None, "others": ["confidence_threshold=null"]}
    assert given_fields(options) == {"confidence_threshold": None}
    assert given_fields({"others": ["temperature=0.9"]}) == {"temperature": 0.9, "do_sample": True}
    assert given_fields({"temperature": 0.7, "others": ["do_sample=false"]}) == {"temperature": 0.7, "do_sample": False}
    assert given_fields({"temperature": 0.7, "do_sample": False}) == {"temperature": 0.7, "do_sample": False}
    assert given_fields({"temperature": 0, "keep_plan": True, "others": None}) == {
        "temperature": 0, "do_sample": False, "keep_plan": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("stdin", "says"), [("", "prompt is empty"), (" \n", "prompt is empty"), (b"\xff", "not UTF-8 text")]
)
def test_a_prompt_that_is_none_is_refused(run, checkpoint, stdin, says):
    ran = run("generate", "--model", checkpoint[1], stdin=stdin)
    assert ran.status == 2 and says in ran.err and ran.err.count("\n") == 1


@pytest.mark.parametrize("words", [[], ["-"]])
def test_a_closed_standard_input_is_no_prompt(words, checkpoint, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["generate", *words, "--model", str(checkpoint[1])]) == 2
    assert "There is no prompt; give one as an argument" in capsys.readouterr().err


def test_no_command_shows_the_help_and_an_unknown_one_points_to_it(run):
    bare = run()
    assert (bare.status, bare.err) == (0, "") and bare.out == run("--help").out and "generate" in bare.out
    ran = run("genrate")
    assert ran.status == 2 and ran.err.count("\n") == 1 and "planned-diffusion --help" in ran.err


def test_a_prompt_that_does_not_fit_is_refused(run, checkpoint):
    ran = run("generate", "long " * 200, "--model", checkpoint[1])
    assert ran.status == 2 and "512 positions" in ran.err and ran.err.count("\n") == 1


def test_a_missing_model_is_refused(run, tmp_path):
    no_folder = "There is no folder"
    for model, says in ((tmp_path / "none", no_folder), ("none", no_folder), (tmp_path, "holds no config.json")):
        ran = run("generate", "What?", "--model", model)
        assert ran.status == 2 and says in ran.err and "--model" in ran.err and ran.err.count("\n") == 1


def test_a_missing_embedded_checkpoint_says_how_to_make_it(run, tmp_path, monkeypatch):
    monkeypatch.setattr(locate, "EMBEDDED", tmp_path / "facts")
    ran = run("generate", "What?")
    assert ran.status == 2 and "make checkpoint" in ran.err and ran.err.count("\n") == 1


def test_folders_that_are_no_whole_checkpoint_are_refused(run, checkpoint, tokenizer, tmp_path):
    model, _ = checkpoint
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    ran = run("generate", "What?", "--model", folder)
    assert ran.status == 2 and "type gpt2, which cannot plan" in ran.err and ran.err.count("\n") == 1
    model.config.save_pretrained(folder)
    ran = run("generate", "What?", "--model", folder)
    assert ran.status == 2 and "cannot be loaded" in ran.err and ran.err.count("\n") == 1
    weights = model.state_dict()
    weights.pop("model.layers.1.mlp.up_proj.weight")
    model.save_pretrained(folder, state_dict=weights)
    tokenizer.save_pretrained(folder)
    ran = run("generate", "What?", "--model", folder)
    assert ran.status == 2 and "lacks 1 weights, such as model.layers.1.mlp" in ran.err and ran.err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (FloatingPointError("The logits\nare NaN."), 1, "error: The logits are NaN.\n"),
        (KeyError("lost"), 1, "error: KeyError: 'lost'\n"),
        (ValueError("No."), 2, "error: No.\n"),
        (KeyboardInterrupt(), 130, "Interrupted.\n"),
    ],
)
def test_failures_are_one_line(run, checkpoint, monkeypatch, error, status, line):
    def fail(*arguments):
        raise error

    monkeypatch.setattr(answer_module, "ask", fail)
    ran = run("generate", "What?", "--model", checkpoint[1])
    assert (ran.status, ran.err) == (status, line)


def test_debug_raises_the_error_itself(run, checkpoint):
    with pytest.raises(ValueError, match="steps_ratio"):
        run("generate", "What?", "--model", checkpoint[1], "--steps-ratio", "0", "--debug")


def test_a_reader_that_leaves_is_no_traceback(checkpoint, start_command):
    reader, writer = os.pipe()
    os.close(reader)
    process, errors = start_command("generate", "What?", "--json", "--model", checkpoint[1], out=writer)
    os.close(writer)
    process.join()
    assert (errors.read_text(), process.exitcode) == ("", 1)


def test_help_and_version_come_without_torch():
    code = (
        "import sys; from planned_diffusion.cli.main import main; "
        "status = [main(['--help']), main(['generate', '--help']), main(['--version'])]; "
        "heavy = {'torch', 'transformers', 'numpy', 'trl'} & set(sys.modules); "
        "sys.exit(f'{status} {heavy}' if heavy or any(status) else 0)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "generate" in ran.stdout and "--steps-ratio" in ran.stdout and __version__ in ran.stdout
