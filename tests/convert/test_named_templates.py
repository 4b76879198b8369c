"""Checkpoints with several chat templates go through convert, export, push, the command line and training."""

import json

import pytest
import yaml
from transformers import AutoTokenizer

from planned_diffusion.cli.main import main
from planned_diffusion.hub.convert.convert import convert
from planned_diffusion.hub.export import export
from planned_diffusion.hub.proposal import adapter_files, wanted_files
from planned_diffusion.records.escaping import without_escapes

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MARKED = CHATML.replace("{% endfor %}", "{% generation %}{% endgeneration %}{% endfor %}")
SOURCES = {
    "a default and a tool": {"default": CHATML, "tool_use": MARKED},
    "an only one": {"chat": CHATML},
    "no default": {"rag": MARKED, "tool_use": CHATML},
}
CHAT = [{"role": "user", "content": "Hello"}]
TAGGED = "<promise>-<topic>a 1</topic><promise>-<topic>b 1</topic><async>sun</async><async> sky</async>"


@pytest.fixture(params=[(name, older) for name in SOURCES for older in (False, True)], ids=str)
def source(request, native_folder, bytes_of_others, tmp_path):
    """(names, folder of a native checkpoint whose tokenizer has templates, saved today's way or as the older list)."""
    name, older = request.param
    tokenizer = bytes_of_others(CHATML)
    tokenizer.chat_template = SOURCES[name]
    native_folder(tmp_path / "source", tokenizer=tokenizer)
    if older:
        for file in tmp_path.glob("source/**/*.jinja"):
            file.unlink()
        tokenizer.save_pretrained(tmp_path / "source", save_jinja_files=False)
        stored = json.loads((tmp_path / "source/tokenizer_config.json").read_text())["chat_template"]
        assert [one["name"] for one in stored] == list(SOURCES[name])
    return name, tmp_path / "source"


@pytest.mark.slow
def test_every_door(source, tmp_path, capsys):
    name, folder = source
    out, exported = tmp_path / "out", tmp_path / "exported"
    report = convert(folder, out)
    notes = export(str(out), exported).notes
    tokenizer = AutoTokenizer.from_pretrained(exported)
    assert tokenizer.eos_token == "<|im_end|>", "the end of a turn, whichever template says so"
    answered = main(["generate", "Hello", "--model", str(exported), "--max-new-tokens", "3"])
    sent = {file for file in wanted_files(exported) if file.endswith(".jinja")}
    if name == "no default":
        assert all("None of the chat templates rag, tool_use is" in note for note in (report.notes[-1], *notes))
        assert answered == 2 and "none of them is the default; name one 'default'" in capsys.readouterr().err
        assert sent == {"additional_chat_templates/rag.jinja", "additional_chat_templates/tool_use.jinja"}
        return
    assert answered == 0 and "has no {% generation %} marks" in report.notes[-1] and "generation %} marks" in notes[0]
    assert tokenizer.apply_chat_template(CHAT, tokenize=False) == "<|im_start|>user\nHello<|im_end|>\n"
    more = {"additional_chat_templates/tool_use.jinja"} if name == "a default and a tool" else set()
    assert sent == {"chat_template.jinja", *more}
    if more:
        assert without_escapes(tokenizer.get_chat_template("tool_use")) == MARKED


def test_an_adapter_is_pushed_with_its_templates(tmp_path, bytes_of_others):
    tokenizer = bytes_of_others(CHATML)
    tokenizer.chat_template = SOURCES["a default and a tool"]
    tokenizer.save_pretrained(tmp_path / "adapter")
    (tmp_path / "adapter/adapter_config.json").write_text("{}")
    (tmp_path / "adapter/adapter_model.safetensors").touch()
    copied = adapter_files(tmp_path / "adapter", "a/b", tmp_path)
    assert AutoTokenizer.from_pretrained(copied, config=None).chat_template == tokenizer.chat_template


def test_templates_that_a_later_export_has_not_are_gone(native_folder, bytes_of_others, tmp_path):
    tokenizer = bytes_of_others(CHATML)
    tokenizer.chat_template = SOURCES["a default and a tool"]
    native_folder(tmp_path / "source", tokenizer=tokenizer)
    convert(tmp_path / "source", tmp_path / "out")
    export(str(tmp_path / "out"), tmp_path / "exported")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    tokenizer.chat_template = CHATML
    for file in tmp_path.glob("out/**/*.jinja"):
        file.unlink()
    tokenizer.save_pretrained(tmp_path / "out")
    export(str(tmp_path / "out"), tmp_path / "exported")
    assert without_escapes(AutoTokenizer.from_pretrained(tmp_path / "exported").chat_template) == CHATML


def test_training(native_folder, bytes_of_others, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tokenizer = bytes_of_others(CHATML)
    tokenizer.chat_template = SOURCES["a default and a tool"]
    native_folder(tmp_path / "source", tokenizer=tokenizer)
    convert(tmp_path / "source", tmp_path / "out")
    record = {"messages": [*CHAT, {"role": "assistant", "content": TAGGED}]}
    (tmp_path / "train.jsonl").write_text(json.dumps(record) + "\n")
    recipe = {
        "model": "out", "train_file": "train.jsonl", "output_dir": "run", "max_steps": 1, "bf16": False,
        "use_cpu": True, "gradient_checkpointing": False, "report_to": "none", "save_strategy": "no",
    }  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert main(["train", "--config", "recipe.yaml"]) == 0
    trained = AutoTokenizer.from_pretrained(tmp_path / "run").chat_template
    assert {name: without_escapes(template) for name, template in trained.items()} == tokenizer.chat_template
