"""A decoder and a field are one line each: a module that adds them reaches them through every door."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

from planned_diffusion.cli.main import main
from planned_diffusion.generation.decoders.table import DECODERS
from planned_diffusion.generation.fields import FIELDS, Field

ROOT = Path(__file__).resolve().parents[2]
PLUG_IN = """
from planned_diffusion.generation.decoders.canvas import Canvas
from planned_diffusion.generation.decoders.decoder import Decoder
from planned_diffusion.generation.decoders.table import DECODERS
from planned_diffusion.generation.events import TokensWritten
from planned_diffusion.generation.field_checks import Whole
from planned_diffusion.generation.fields import FIELDS, Field


def echo(request):
    canvas = Canvas(request)
    for _ in range(request.settings.echoes):
        (position,) = canvas.append([request.prompt_ids[0]], is_text=True)
        yield TokensWritten(canvas.round, (position,), (canvas.ids[position],), (0.0,))
        yield from canvas.prose.new_text()
    yield canvas.prose.ended("length")


FIELDS["echoes"] = Field(2, Whole(), "Times that the prompt's first token is written again.")
DECODERS["echo"] = Decoder(echo, "the prompt's first token again and again", "a test", reads=("echoes",))
"""


@pytest.fixture
def plug_in(tmp_path, monkeypatch):
    """The module above, imported; both tables are as before afterwards."""
    fields, decoders = dict(FIELDS), dict(DECODERS)
    (tmp_path / "echoing.py").write_text(PLUG_IN)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("echoing")
    sys.modules.pop("echoing")
    for table, before in ((FIELDS, fields), (DECODERS, decoders)):
        table.clear()
        table.update(before)


def test_through_generate(plug_in, model):
    ids = torch.tensor([[5, 6, 7], [8, 9, 10]])
    assert model.generate(ids, decoding="echo").tolist() == [[5, 6, 7, 5, 5], [8, 9, 10, 8, 8]]
    out = model.generate(ids, decoding="echo", echoes=3, return_dict_in_generate=True)
    assert out.sequences[:, 3:].tolist() == [[5, 5, 5], [8, 8, 8]] and out.ended == ["length", "length"]
    with pytest.raises(ValueError, match="echoes is 0; give a whole number of at least 1"):
        model.generate(ids, decoding="echo", echoes=0)
    with pytest.raises(ValueError, match="decoding='planned' has no use for echoes; leave it out, or choose .*'echo'"):
        model.generate(ids, echoes=3)
    with pytest.raises(ValueError, match="decoding='echo' has no use for block_size"):
        model.generate(ids, decoding="echo", block_size=3)


def test_through_the_command_line(plug_in, capsys):
    assert main(["generate", "Kenya Kenya", "--decoding", "echo", "--echoes", "3", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["decoding"], answer["counts"]["tokens"], answer["ended"]) == ("echo", 3, "length")
    assert main(["generate", "Kenya", "--decoding", "echo", "--echoes", "0"]) == 2
    assert "echoes is 0; give a whole number of at least 1" in capsys.readouterr().err
    assert main(["generate", "--help"]) == 0
    assert "--echoes" in capsys.readouterr().out


def test_through_batch(plug_in, tmp_path):
    requests = [
        {"prompt": "Kenya", "echoes": 4},
        {"prompt": "Kenya"},
        {"prompt": "Kenya", "decoding": "autoregressive"},
    ]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in requests))
    out = tmp_path / "out.jsonl"
    given = ["--decoding", "echo", "--max-new-tokens", "6"]
    assert main(["batch", str(tmp_path / "in.jsonl"), str(out), *given]) == 0
    answers = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["decoding"], row["counts"]["tokens"]) for row in answers[:2]] == [("echo", 4), ("echo", 2)]
    assert answers[2]["decoding"] == "autoregressive"


def test_through_the_tables_of_the_docs(plug_in):
    spec = importlib.util.spec_from_file_location("tables", ROOT / "docs" / "tables.py")
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    assert any(line.startswith("| `echoes` | `2` | Times that the prompt's") for line in tables.fields(shared=False))
    assert any(line.startswith('| `"echo"` | the prompt\'s first token') for line in tables.decoders())
    assert any(line.startswith("| `echoes` ") and line.count("| x |") == 1 for line in tables.decoder_fields())


def test_without_the_module_nothing_of_it_is_left():
    assert "echoes" not in FIELDS and "echo" not in DECODERS and all(isinstance(one, Field) for one in FIELDS.values())
