"""First contact: completion in the shell, the defaults that hold, and prompts that the included model cannot answer."""

import json

import pytest

from planned_diffusion.cli.included_model import names_country
from planned_diffusion.cli.main import COMPLETE, main
from planned_diffusion.loading.embedded import EMBEDDED


@pytest.mark.parametrize(
    ("words", "offers"),
    [("gen", "generate"), ("", "annotate"), ("generate --dec", "--decoding"), ("batch --work", "--workers")],
)
def test_a_shell_is_told_what_may_follow(words, offers, monkeypatch, capsys):
    line = f"planned-diffusion {words}"
    monkeypatch.setenv(COMPLETE, "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 0 and offers in capsys.readouterr().out.split()


def test_completion_can_be_installed(run):
    shown = run("--help").out
    assert "--install-completion" in shown and "--show-completion" in shown


@pytest.mark.parametrize(
    ("prompt", "names"),
    [
        ("Hello", False),
        ("Who are you?", False),
        ("romance, chadwick, omanhene", False),  # parts of words
        ("What is the capital of Kenya?", True),
        ("kenya's currency", True),
        ("What do the Kenyan people speak?", True),
        ("the united states", True),
    ],
)
def test_names_of_countries_are_found(prompt, names):
    assert names_country(prompt) is names


@pytest.mark.parametrize(("prompt", "noted"), [("Hello", True), ("What is the capital of Kenya?", False)])
def test_the_included_model_says_what_it_can_answer(prompt, noted, run):
    ran = run("generate", prompt, "--max-new-tokens", 30)
    note = "note: the included model knows facts of 161 countries and nothing else"
    assert ran.status == 0 and ran.err.startswith(note) is noted and ran.err.count("\n") == noted


def test_other_models_are_not_spoken_for(run, checkpoint):
    assert run("generate", "Hello", "--model", checkpoint[1], "--max-new-tokens", 20).err == ""


def test_help_readme_and_docs_name_the_defaults_of_the_included_model(run):
    chosen = json.loads((EMBEDDED / "generation_config.json").read_text())
    root = EMBEDDED.parents[1]
    shown = " ".join(run("generate", "--help").out.replace("│", " ").split())
    readme = " ".join((root / "README.md").read_text().split())
    fields = (root / "docs" / "fields.md").read_text().splitlines()
    for name in ("confidence_threshold", "plan_lookahead", "max_new_tokens"):
        assert f"included model: {chosen[name]}" in shown and f"`{name}` {chosen[name]}" in readme
        [row] = [line for line in fields if line.startswith(f"| `{name}` ") and "`" in line.rsplit("|", 2)[1]]
        assert row.endswith(f"| `{chosen[name]}` |")
