"""`planned-diffusion convert`: what it prints, and that its result answers."""

import json

import pytest
from transformers import AutoConfig, AutoModelForCausalLM


@pytest.fixture
def native(checkpoint, tmp_path):
    """The tiny checkpoint's backbone as a native one; its tokenizer has the tags already."""
    model, folder = checkpoint
    native = AutoModelForCausalLM.from_config(model.config.backbone_config)
    native.load_state_dict(model.state_dict())
    native.save_pretrained(tmp_path / "native")
    for file in folder.glob("*token*"):
        (tmp_path / "native" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "native" / "chat_template.jinja").write_bytes((folder / "chat_template.jinja").read_bytes())
    return tmp_path / "native"


def test_the_result_answers_as_the_original(run, checkpoint, native, tmp_path):
    ran = run("convert", native, tmp_path / "out", "--tokens-per-length-unit", "4")
    assert (ran.status, ran.err) == (0, "")
    assert "llama -> planned_diffusion" in ran.out and "not resized; 0 initialised" in ran.out and "4 tokens" in ran.out
    answers = [
        json.loads(run("generate", "What?", "--model", folder, "--json", "--max-new-tokens", "90").out)
        for folder in (checkpoint[1], tmp_path / "out")
    ]
    assert answers[0]["text"] == answers[1]["text"] and answers[0]["plans"] == answers[1]["plans"] != []


def test_json(run, native, tmp_path):
    options = ("--span-attention", "dense", "--span-separator", " ", "--json")
    report = json.loads(run("convert", native, tmp_path / "out", *options).out)
    config = AutoConfig.from_pretrained(tmp_path / "out")
    assert report["span_attention"] == config.span_attention == "dense"
    assert report["tokens"]["<sync/>"] == config.sync_token_id and report["added"] == []


def test_refusals_are_one_line(run, native, tmp_path):
    ran = run("convert", native, native)
    assert (ran.status, ran.out) == (2, "") and "is not empty" in ran.err and ran.err.count("\n") == 1
    ran = run("convert", "nowhere", tmp_path / "out")
    assert ran.status == 2 and "There is no folder nowhere" in ran.err and ran.err.count("\n") == 1
