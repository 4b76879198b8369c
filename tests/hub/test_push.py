"""Pushing to a Hub on loopback: what is said, what is sent, what a second push changes, and what is refused."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from planned_diffusion.checkpoint_planned_diffusion import TRANSITION
from planned_diffusion.cli.main import main
from planned_diffusion.generation.draft_adapter import KIND
from planned_diffusion.generation.draft_transition import DraftTransition
from planned_diffusion.hub import card
from planned_diffusion.hub.card import About
from planned_diffusion.hub.export import export
from planned_diffusion.hub.flat import AUTO_MAP, flat_code
from planned_diffusion.hub.proposal import Choices
from planned_diffusion.hub.push import push

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")
APACHE = About(license="apache-2.0")
REPOSITORIES = ("user/base", "user/drafter")


@pytest.fixture
def send(hub, tmp_path_factory):
    """send(folder, repo, about=APACHE, **) pushes without running the card; returns commit and what was said."""
    hub.uploads_left = None

    def run(folder: Path, repo: str, about: About = APACHE, **options):
        said = []
        confirmed = options.pop("confirmed", True)
        choices = Choices(**{"run_card": False, **options})
        return push(str(folder), repo, about, choices, confirmed, said.append), "\n".join(said)

    return run


@pytest.fixture
def trained(tiny) -> Path:
    """A training run's output: a checkpoint with the leavings of a trainer beside."""
    for name in ("training_args.bin", "optimizer.pt", "trainer_state.json", "notes.txt", "events.py"):
        (tiny / name).write_text("private")
    (tiny / "checkpoint-10").mkdir()
    return tiny


def metadata(hub, repo: str) -> dict:
    return yaml.safe_load(hub.files(repo)["README.md"].decode().split("---")[1])


# Transformers' own way


@pytest.mark.parametrize("times", [1, 2])
def test_push_to_hub_of_a_model_uploads_its_code(hub, build_model, tmp_path, times):
    """Also where the folder holds the current code, which is not written again; and its transition of drafts."""
    model = build_model()
    model.draft_transition = DraftTransition(*torch.ones(2, 3, model.config.hidden_size))
    for time in range(times):
        repo = f"user/own-{times}-{time}"
        model.save_pretrained(tmp_path / "saved", push_to_hub=True, repo_id=repo)
        files = hub.files(repo)
        assert {name: files[name] for name in flat_code()} == flat_code()
        assert (
            json.loads(files["config.json"])["auto_map"] == AUTO_MAP
            and {"model.safetensors", TRANSITION} <= files.keys()
        )
    model.push_to_hub(f"user/own-{times}")
    assert TRANSITION in hub.files(f"user/own-{times}")
    assert flat_code().items() <= hub.files(f"user/own-{times}").items()


def test_the_included_checkpoint_is_pushed_as_others_load_it(hub, embedded, send):
    send(embedded, "user/included")
    files = hub.files("user/included")
    assert json.loads(files["config.json"])["auto_map"] == AUTO_MAP
    assert {name for name in files if name.endswith(".py")} == set(flat_code())


# What is sent


def test_without_confirmation_nothing_is_sent(hub, trained, send):
    before = len(hub.requests)
    commit, said = send(trained, "user/dry", confirmed=False)
    assert commit is None and "user/dry" not in hub.repos
    assert {method for method, _ in hub.requests[before:]} == {"GET"}
    assert "user/dry: a new private repository" in said and "send    model.safetensors" in said
    assert said.endswith("Nothing was sent. Give --yes to push.")


def test_a_checkpoint_is_exported_and_only_its_own_files_are_sent(hub, trained, send):
    commit, said = send(trained, "user/trained", tag="v1")
    files = hub.files("user/trained")
    own = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert set(files) == {*own, "README.md", ".gitattributes", *flat_code()}
    assert {name: files[name] for name in flat_code()} == flat_code()
    assert json.loads(files["generation_config.json"])["do_sample"] is False
    repo = hub.repos["user/trained"]
    assert repo.private and repo.tags == {"v1": commit} and f"is at commit {commit}" in said
    assert "note: The tokenizer has no chat template" in said


def test_pushing_twice_changes_nothing(hub, trained, send):
    first, _ = send(trained, "user/twice", tag="v1")
    before = len(hub.requests)
    second, said = send(trained, "user/twice", tag="v1")
    assert second == first and len(hub.repos["user/twice"].commits) == 2  # the empty one and ours
    assert "send " not in said and "files are there already" in said
    assert not [path for _, path in hub.requests[before:] if "commit" in path or "upload" in path or "lfs" in path]


def test_files_that_no_longer_belong_are_removed_and_others_stay(hub, trained, send, tmp_path):
    send(export(str(trained), tmp_path / "out", max_shard_size="100KB").folder, "user/shrinks")
    files = hub.files("user/shrinks")
    hub.repos["user/shrinks"].add({**files, "generation_of_old.py": b"", "paper.pdf": b"%PDF"})
    _, said = send(export(str(trained), tmp_path / "out").folder, "user/shrinks")
    left = hub.files("user/shrinks")
    assert [name for name in left if "safetensors" in name] == ["model.safetensors"]
    assert "generation_of_old.py" not in left and left["paper.pdf"] == b"%PDF"
    assert "remove  model.safetensors.index.json" in said


def test_visibility_is_chosen_once(hub, trained, send):
    send(trained, "user/open", private=False)
    assert hub.repos["user/open"].private is False
    _, said = send(trained, "user/open", private=True)
    assert hub.repos["user/open"].private is False and "note: user/open is public and stays so" in said


def test_an_upload_that_breaks_off_is_repeated(hub, trained, send, tmp_path):
    folder = export(str(trained), tmp_path / "out", max_shard_size="100KB").folder
    shards = len(list(folder.glob("*.safetensors")))
    hub.large.clear()
    hub.uploads_left = 2
    with pytest.raises(RuntimeError, match=r"(?s)Error while uploading 'model-.*shows nothing of it; push again"):
        send(folder, "user/broken")
    assert len(hub.repos["user/broken"].commits) == 1 and len(hub.large) == 2 < shards
    hub.uploads_left = None
    before = len(hub.requests)
    send(folder, "user/broken")
    assert sum(method == "PUT" for method, _ in hub.requests[before:]) == shards - 2
    assert hub.files("user/broken")["config.json"] == (folder / "config.json").read_bytes()


@pytest.mark.slow
def test_an_adapter_names_a_base_that_others_can_load(hub, tiny, embedded, adapter, send, tmp_path):
    send(embedded, "user/base")
    with pytest.raises(ValueError, match=r"The adapter's base model is the folder .* give --base-model owner/name"):
        send(adapter, "user/adapter")
    shutil.copytree(adapter, tmp_path / "adapter")
    for name in ("config.json", "model.safetensors"):  # trainers leave the base's beside
        shutil.copy(tiny / name, tmp_path / "adapter" / name)
    about = About(license="mit", base_model="user/base")
    send(tmp_path / "adapter", "user/adapter", about, run_card=True, tag="v1")
    files = hub.files("user/adapter")
    assert set(files) == {".gitattributes", "README.md", "adapter_config.json", "adapter_model.safetensors"}
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == "user/base"
    said, text = metadata(hub, "user/adapter"), files["README.md"].decode()
    assert (said["library_name"], said["base_model"], said["base_model_relation"]) == ("peft", "user/base", "adapter")
    assert said["license"] == "mit" and {"lora", "custom_code"} <= set(said["tags"])
    assert "[More Information Needed]" not in text
    assert 'from_pretrained("user/base", trust_remote_code=True)' in text and "It prints:" in text


@pytest.mark.slow
def test_a_gated_adapter_is_sent_with_its_type_and_loads_with_the_code_of_its_base(hub, embedded, own_adapter, send):
    """The card's program runs where the package is not: what it prints is the base's own answer."""
    send(embedded, "user/base", run_card=True)
    settings = json.loads((own_adapter / "adapter_config.json").read_text())
    (own_adapter / "adapter_config.json").write_text(json.dumps({**settings, "peft_type": KIND}))
    send(own_adapter, "user/drafter", About(license="mit", base_model="user/base"), run_card=True)
    assert json.loads(hub.files("user/drafter")["adapter_config.json"])["peft_type"] == KIND
    assert metadata(hub, "user/drafter")["library_name"] == "transformers"
    printed = [hub.files(repo)["README.md"].decode().split("It prints:")[1] for repo in REPOSITORIES]
    answers = [text.split("[[")[0] for text in printed]
    forwards = [re.search(r"(\d+) forwards", text) for text in printed]
    assert answers[0] == answers[1] and forwards[0] and forwards[1]
    assert int(forwards[0][1]) <= int(forwards[1][1]), "random matrices guess the plan worse than the base"


# The card


@pytest.mark.slow
def test_the_card_of_the_embedded_model(hub, embedded, send):
    """Run as it stands in the card; results, code and metadata complete; what its owner wrote is kept."""
    about = About(datasets=("user/facts-data",), base_model="user/earlier", prompt="What is the capital of Kenya?")
    send(embedded, "user/facts", about, run_card=True, tag="v1")
    text = hub.files("user/facts")["README.md"].decode()
    said = metadata(hub, "user/facts")
    assert said["license"] == "apache-2.0"
    assert (said["pipeline_tag"], said["library_name"]) == ("text-generation", "transformers")
    assert {"custom_code", "diffusion"} <= set(said["tags"]) and said["datasets"] == ["user/facts-data"]
    assert (said["base_model"], said["base_model_relation"], said["language"]) == ("user/earlier", "finetune", "en")
    measured = json.loads((embedded / "results.json").read_text())["results"]
    metrics = {metric["name"]: metric["value"] for metric in said["model-index"][0]["results"][0]["metrics"]}
    assert metrics[f"answers right ({measured[0]['system']})"] == round(measured[0]["answers_right"], 4)
    own = (embedded / "README.md").read_text().split("---", 2)[2].strip()
    assert own in text
    quick_start = r"## Quick start\n\n```python\n(.*?)```\n\nIt prints:\n\n```\n(.*?)\n```"
    program, printed = re.search(quick_start, text, re.DOTALL).groups()
    assert 'repo = "user/facts"' in program and 'revision="v1"' in program and "Nairobi" in printed
    listed = dict(reversed(line.split("  ")) for line in text.split("## Code")[1].split("```")[1].strip().splitlines())
    assert listed == {name: hashlib.sha256(content).hexdigest() for name, content in flat_code().items()}
    assert "| `confidence_threshold` | 0.9 |" in text and "| bfloat16 | 9.6 MB |" in text and "512 positions" in text


def test_the_written_section_is_replaced_and_the_owners_text_kept(hub, trained, send, tmp_path):
    folder = export(str(trained), tmp_path / "out").folder
    (folder / "README.md").write_text(
        "---\nlicense: mit\ntags: [mine]\nlanguage: fr\n---\n# Mine\n\nBefore.\n\n"
        f"{card.START}\nold\n{card.END}\n\nAfter.\n"
    )
    send(folder, "user/mine", About())
    text = hub.files("user/mine")["README.md"].decode()
    assert "# Mine\n\nBefore.\n" in text and text.endswith("After.\n") and "\nold\n" not in text
    said = metadata(hub, "user/mine")
    assert said["license"] == "mit" and said["language"] == "fr" and "mine" in said["tags"]
    (folder / "README.md").write_text(text)
    commit, _ = send(folder, "user/mine", About())
    assert len(hub.repos["user/mine"].commits) == 2, "a card that was pushed and pulled is a fixed point"


def test_a_card_whose_program_fails_is_not_pushed(hub, tiny, send, monkeypatch):
    monkeypatch.setattr(card, "QUICK_START", "print('so far')\nraise ValueError('There is no room.')\n")
    with pytest.raises(ValueError, match="The quick start of the card fails on .*: ValueError: There is no room"):
        send(tiny, "user/fails", run_card=True)
    assert "user/fails" not in hub.repos


# Refusals


@pytest.mark.parametrize(
    ("repo", "says"), [("facts", "'facts' has no owner; give owner/name"), ("a/b/c", "no name of a repository"),
                       ("a/..", "no name of a repository")],
)  # fmt: skip
def test_names_are_checked_first(send, repo, says):
    with pytest.raises(ValueError, match=says):
        send(Path("nowhere"), repo)


def test_what_cannot_be_pushed_is_refused(hub, trained, adapter, send, tmp_path):
    with pytest.raises(ValueError, match="There is no folder .*nowhere"):
        send(tmp_path / "nowhere", "user/x")
    with pytest.raises(ValueError, match="No license is known; give --license"):
        send(trained, "user/x", About())
    shutil.copytree(adapter, tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_model.safetensors").unlink()
    with pytest.raises(ValueError, match="holds no adapter_model.safetensors"):
        send(tmp_path / "adapter", "user/x", About(license="mit", base_model="user/base"))
    assert "user/x" not in hub.repos


def test_a_tag_is_not_moved(hub, trained, send):
    first, _ = send(trained, "user/tagged", tag="v1")
    (trained / "README.md").write_text("# Changed")
    with pytest.raises(ValueError, match=f"The tag v1 stands on commit {first} of user/tagged.*Give --tag another"):
        send(trained, "user/tagged", tag="v1")
    assert hub.repos["user/tagged"].tags == {"v1": first}


def test_without_a_token_or_a_hub_one_sentence_says_so(hub, trained, send, monkeypatch, tmp_path):
    import huggingface_hub

    monkeypatch.setenv("HF_TOKEN", "hf_somebody_else")
    with pytest.raises(RuntimeError, match=r"The Hub refuses \(401\)"):
        send(trained, "user/hidden")
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "no_token"))
    with pytest.raises(RuntimeError, match="no user/hidden to strangers, and there is no token; run hf auth login"):
        send(trained, "user/hidden")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(RuntimeError, match="The Hub cannot be reached"):
        send(trained, "user/hidden")


def test_an_export_is_pushed_with_the_card_of_its_source(hub, embedded, own_adapter, tmp_path, capsys):
    """The two commands of the README, from a folder, from the Hub and from an adapter, with nothing between them."""
    sources = {"folder": embedded, "hub": "user/folder", "adapter": own_adapter}
    for name, source in sources.items():
        out = tmp_path / name
        assert main(["export", str(source), str(out)]) == 0, capsys.readouterr().err
        assert main(["push", str(out), f"user/{name}", "--yes", "--no-run"]) == 0, capsys.readouterr().err
        said = metadata(hub, f"user/{name}")
        assert (said["license"], said["language"], said["library_name"]) == ("apache-2.0", "en", "transformers")
        assert ("model-index" in said) == (name != "adapter"), "results are those of the model that was measured"
        assert "lora" not in said["tags"]
    own = (embedded / "README.md").read_text().split("---", 2)[2].strip()
    assert all(own in hub.files(f"user/{name}")["README.md"].decode() for name in ("folder", "hub"))


def test_the_command_line(hub, trained, capsys, tmp_path):
    out = tmp_path / "out"
    assert main(["export", str(trained), str(out), "--max-shard-size", "100KB"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{out}: ") and "note: The tokenizer has no chat template" in captured.err
    assert main(["push", str(out), "user/cli", "--license", "mit", "--no-run"]) == 0
    assert "Give --yes to push." in capsys.readouterr().out and "user/cli" not in hub.repos
    arguments = ["--yes", "--public", "--license", "mit", "--no-run", "--dataset", "user/a", "--dataset", "user/b"]
    assert main(["push", str(out), "user/cli", *arguments, "--base-model", "user/base", "--relation", "merge"]) == 0
    said = metadata(hub, "user/cli")
    assert said["datasets"] == ["user/a", "user/b"] and said["base_model_relation"] == "merge"
    assert not hub.repos["user/cli"].private
    capsys.readouterr()
    assert main(["push", str(out), "nobody"]) == 2
    assert capsys.readouterr().err == "error: 'nobody' has no owner; give owner/name.\n"
