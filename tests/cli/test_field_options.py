"""Every field of `generate` is an option of `generate` and `batch`, those of plug-ins included."""

import json
from dataclasses import replace

import pytest

from planned_diffusion.cli.field_options import FIRST_FIELDS, field_options
from planned_diffusion.cli.options import Loading, Output
from planned_diffusion.cli.signatures import as_command
from planned_diffusion.generation.decoders.table import DECODERS
from planned_diffusion.generation.field_checks import Number, Switch, TokenIds
from planned_diffusion.generation.fields import FIELDS, SHARED_FIELDS, Field
from planned_diffusion.inference import answer as answer_module
from planned_diffusion.inference.batch.tasks import field_names

BOTH = FIELDS | SHARED_FIELDS


@pytest.fixture
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")


@pytest.fixture
def seen(monkeypatch):
    """The fields that reach `ask`, call by call; nothing is answered."""
    seen = []

    def ask(checkpoint, prompt, fields, listeners):
        seen.append(fields)
        raise ValueError("enough")

    monkeypatch.setattr(answer_module, "ask", ask)
    return seen


@pytest.mark.parametrize("command", ["generate", "batch"])
def test_every_field_that_is_no_json_has_an_option_with_its_meaning(command, run, wide):
    shown = run(command, "--help").out
    text = " ".join(shown.replace("│", " ").split())
    for name, field in BOTH.items():
        has_option = field.in_cli and field.check.kind is not None
        assert (f"--{name.replace('_', '-')} " in shown) == has_option, name
        if has_option:
            assert field.meaning.split(";")[0] in text
        elif field.in_cli:
            assert name in text.partition("Fields without an option:")[2].partition(".")[0]
    assert "--keep-plan" in shown and "--no-keep-plan" in shown and "default: (off)" in shown


def test_the_first_panel_holds_the_decoder_and_the_sampling():
    assert set(FIRST_FIELDS) <= set(BOTH)
    assert [option.name for option in field_options()][: len(FIRST_FIELDS)] == list(FIRST_FIELDS)


def test_all_options_arrive_and_none_is_what_was_not_given(run, checkpoint, seen):
    options = (
        "--no-keep-plan --no-close-padding --max-spans 3 --max-rounds 2 --refine-share 0.5 --plan-lookahead 2 "
        '--unmasking-rule factor --confidence-factor 2.5 --max-time 60 --no-do-sample --set stop_strings=["x"]'
    )
    run("generate", "What?", "--model", checkpoint[1], *options.split())
    run("generate", "What?", "--model", checkpoint[1])
    assert seen == [
        {
            "keep_plan": False, "close_padding": False, "max_spans": 3, "max_rounds": 2, "refine_share": 0.5,
            "plan_lookahead": 2, "unmasking_rule": "factor", "confidence_factor": 2.5, "max_time": 60.0,
            "do_sample": False, "stop_strings": ["x"],
        },
        {},
    ]  # fmt: skip


def test_no_keep_plan_overrides_the_checkpoints_own(run, checkpoint, tmp_path):
    model, folder = checkpoint
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    path = tmp_path / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"keep_plan": True}))
    assert run("generate", "What?", "--model", tmp_path).out.startswith("<promise>")
    prose = run("generate", "What?", "--model", folder).out
    assert run("generate", "What?", "--model", tmp_path, "--no-keep-plan").out == prose


def test_a_plug_ins_decoder_and_its_fields_are_options(run, checkpoint, monkeypatch, wide, tmp_path):
    """The tables are read when the command line is built, so a line that a module adds before is enough."""
    monkeypatch.setitem(FIELDS, "sharpness", Field(1.5, Number("of [ours]", above=0), "Sharpness [of ours]."))
    monkeypatch.setitem(FIELDS, "is_loud", Field(False, Switch(), "Write loudly."))
    monkeypatch.setitem(FIELDS, "loud_ids", Field(None, TokenIds("[] for none"), "Token ids that are loud."))
    monkeypatch.setitem(FIELDS, "hidden", Field(None, Number("", above=0, optional=True), "For Python.", in_cli=False))
    ran, base = [], DECODERS["autoregressive"]

    def decode(request):
        ran.append((request.settings.sharpness, request.settings.is_loud, request.settings.loud_ids))
        return base.run(request)

    reads = ("sharpness", "is_loud", "loud_ids", "hidden")
    monkeypatch.setitem(DECODERS, "mine", replace(base, run=decode, reads=reads))
    shown = run("generate", "--help").out
    assert "--sharpness " in shown and "Sharpness [of ours]." in shown and "(1.5)" in shown
    assert "--no-is-loud" in shown and "--hidden" not in shown
    command = ["generate", "What?", "--model", checkpoint[1], "--decoding", "mine", "--max-new-tokens", "20"]
    assert run(*command).status == 0
    assert run(*command, "--sharpness", "2.5", "--is-loud", "--set", "loud_ids=[1]").status == 0
    assert ran == [(1.5, False, None), (2.5, True, [1])]
    refused = run(*command, "--sharpness", "0")
    assert refused.status == 2 and "sharpness is 0.0; give a number above 0" in refused.err
    assert "--set hidden means nothing on the command line" in run(*command, "--set", "hidden=1").err
    assert "is_loud" in field_names() and "hidden" not in field_names()
    file, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    file.write_text('{"prompt": "What?"}\n{"prompt": "Why?", "sharpness": 4}\n')
    options = ["--model", checkpoint[1], "--decoding", "mine", "--sharpness", "3", "--max-new-tokens", "20"]
    assert run("batch", file, out, *options).status == 0
    assert ran[2:] == [(3.0, False, None), (4, False, None)]


def test_groups_of_options_arrive_as_one_object_each():
    def command(name: str, loading: Loading, output: Output) -> tuple:
        return name, loading, output

    given = {"name": "a", "model": "b", "dtype": "nf4", "device": "cpu", "as_json": True, "debug": False}
    assert as_command(command)(**given) == ("a", Loading("b", "nf4", "cpu"), Output(as_json=True))


def test_the_help_of_decoding_names_all_decoders(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    for command in ("generate", "batch"):
        text = " ".join(run(command, "--help").out.replace("│", " ").split())
        assert all(f"'{name}'" in text.split("--decoding ")[1].split("--max-new-tokens")[0] for name in DECODERS)
