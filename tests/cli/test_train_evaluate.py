"""`train` and `evaluate` hand over to the script and the measurement."""

import sys

import pytest

from planned_diffusion.loading import locate


def test_train_help_is_that_of_the_script(run, capsys):
    pytest.importorskip("trl")
    with pytest.raises(SystemExit) as end:
        run("train", "--help")
    shown = capsys.readouterr().out
    assert end.value.code == 0
    assert "usage: planned-diffusion train" in shown and "--train_file" in shown and "--learning_rate" in shown


def test_train_passes_all_arguments_and_the_status_on(run, monkeypatch):
    sft = pytest.importorskip("planned_diffusion.training.sft")
    seen = []
    monkeypatch.setattr(sft, "main", lambda argv: seen.append(argv) or 130)
    monkeypatch.setattr(sys, "argv", ["planned-diffusion"])
    arguments = ["--config", "recipe.yaml", "--debug", "underflow_overflow", "-x", "--seed=3"]
    assert run("train", *arguments).status == 130
    assert seen == [arguments]


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
def test_train_errors_are_one_line(run, tmp_path):
    pytest.importorskip("trl")
    (tmp_path / "train.jsonl").touch()
    arguments = ["--train_file", tmp_path / "train.jsonl", "--output_dir", tmp_path, "--bf16", "false"]
    ran = run("train", *arguments)
    assert ran.status == 2 and "Give either model" in ran.err and ran.err.count("\n") == 1


def test_train_without_trl_says_what_to_install(run, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("planned_diffusion.training")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(sys.modules["planned_diffusion"], "training", raising=False)
    for name in ["trl", *(name for name in sys.modules if name.startswith("trl."))]:
        monkeypatch.setitem(sys.modules, name, None)
    ran = run("train", "--help")
    assert ran.status == 1 and "pip install 'planned-diffusion[train]'" in ran.err and ran.err.count("\n") == 1


def test_evaluate_passes_its_options_on(run, checkpoint, monkeypatch):
    from planned_diffusion.evaluation import systems
    from planned_diffusion.evaluation.measure import Evaluation

    seen = []
    monkeypatch.setattr(systems, "evaluate_systems", lambda *given: seen.append(given))
    folder = str(checkpoint[1])
    assert run("evaluate", "--model", folder).status == 0
    options = ["--count", "9", "--batch-size", "2", "--decoding", "autoregressive", "--json"]
    assert run("evaluate", "--model", folder, *options).status == 0
    assert seen == [
        (Evaluation(folder, count=500, batch_size=8, as_json=False), None),
        (Evaluation(folder, count=9, batch_size=2, as_json=True), "autoregressive"),
    ]


def test_evaluate_all_passes_its_options_on(run, checkpoint, monkeypatch, tmp_path):
    from planned_diffusion.evaluation import frontier
    from planned_diffusion.evaluation.measure import Evaluation

    seen = []
    monkeypatch.setattr(frontier, "evaluate_variants", lambda *given: seen.append(given))
    folder, plot, keep = str(checkpoint[1]), tmp_path / "frontier.svg", tmp_path / "rows.jsonl"
    assert run("evaluate", "--model", folder, "--all").status == 0
    options = ["--all", "--count", "9", "--batch-size", "2", "--decoding", "diffusion", "--json", "--plot", str(plot)]
    assert run("evaluate", "--model", folder, *options, "--keep", keep).status == 0
    assert seen == [
        (Evaluation(folder, 500, 8, as_json=False), None, None, None),
        (Evaluation(folder, 9, 2, as_json=True), "diffusion", plot, keep),
    ]


def test_a_plot_needs_all_and_a_place(run, checkpoint, tmp_path):
    ran = run("evaluate", "--model", checkpoint[1], "--plot", tmp_path / "frontier.svg")
    assert ran.status == 2 and "--plot needs --all; give both" in ran.err
    ran = run("evaluate", "--model", checkpoint[1], "--keep", tmp_path / "rows.jsonl")
    assert ran.status == 2 and "--keep needs --all; give both" in ran.err
    ran = run("evaluate", "--model", checkpoint[1], "--all", "--plot", tmp_path / "no" / "frontier.svg")
    assert ran.status == 2 and "give --plot another place" in ran.err and ran.err.count("\n") == 1


def test_evaluate_passes_the_options_of_the_text_task_on(run, checkpoint, monkeypatch, tmp_path):
    from planned_diffusion.evaluation import text_task
    from planned_diffusion.evaluation.text_settings import TextEvaluation

    seen = []
    monkeypatch.setattr(text_task, "evaluate_text", lambda *given: seen.append(given))
    folder, plot, keep, prompts = str(checkpoint[1]), tmp_path / "a.svg", tmp_path / "a.jsonl", tmp_path / "p.jsonl"
    text = ["evaluate", "--model", folder, "--task", "text", "--prompts", prompts]
    ran = run(*text)
    assert ran.status == 0
    assert ran.err.splitlines() == [
        "note: no base is known, so likelihoods are left out; name one with --base.",
        "note: answers are not kept; --keep FILE writes them, and continues after an interruption.",
    ]
    options = ["--count", "9", "--batch-size", "2", "--decoding", "planned", "--json", "--plot", plot, "--keep", keep]
    ran = run(*text, *options, "--base", folder, "--max-new-tokens", "40", "--temperature", "0.7", "--all")
    assert ran.status == 0 and ran.err == ""
    assert seen == [
        (TextEvaluation(folder, prompts), None, None),
        (TextEvaluation(folder, prompts, folder, 9, 2, 40, 100, 0.7, True, "planned", True), plot, keep),
    ]


def test_evaluate_passes_the_options_of_the_likelihood_task_on(run, checkpoint, monkeypatch, tmp_path):
    from planned_diffusion.evaluation import likelihood_task
    from planned_diffusion.evaluation.likelihood_task import LikelihoodEvaluation

    seen = []
    monkeypatch.setattr(likelihood_task, "evaluate_likelihood", lambda *given: seen.append(given))
    folder, keep, prompts = str(checkpoint[1]), tmp_path / "a.jsonl", tmp_path / "p.jsonl"
    task = ["evaluate", "--model", folder, "--task", "likelihood", "--prompts", prompts]
    assert run(*task).status == run(*task, "--count", "9", "--samples", "8", "--json", "--keep", keep).status == 0
    assert seen == [
        (LikelihoodEvaluation(folder, prompts), None),
        (LikelihoodEvaluation(folder, prompts, 9, 8, as_json=True), keep),
    ]


def test_evaluate_passes_the_options_of_the_standard_tasks_on(run, checkpoint, monkeypatch, tmp_path):
    from planned_diffusion.evaluation import alpaca_eval_task, standard_tasks
    from planned_diffusion.evaluation.alpaca_eval_task import JudgedOutputs
    from planned_diffusion.evaluation.text_settings import TextEvaluation

    seen = []
    monkeypatch.setattr(standard_tasks, "evaluate_standard", lambda *given: seen.append(given))
    monkeypatch.setattr(
        alpaca_eval_task, "evaluate_alpaca_eval", lambda *given: seen.append(given) or {"planned": tmp_path / "a.json"}
    )
    folder, keep, prompts = str(checkpoint[1]), tmp_path / "a.jsonl", tmp_path / "p.jsonl"
    task = ["evaluate", "--model", folder, "--prompts", prompts, "--task"]
    assert run(*task, "gsm8k").status == run(*task, "ifeval", "--max-new-tokens", "9", "--keep", keep).status == 0
    options = ["--temperature", "0.7", "--all", "--json", "--decoding", "planned", "--outputs", tmp_path / "out"]
    ran = run(*task, "alpaca_eval", *options)
    assert ran.status == 0 and ran.err == f"note: the answers of planned are in {tmp_path / 'a.json'}.\n"
    everything = TextEvaluation(
        folder, prompts, max_new_tokens=512, temperature=0.7, everything=True, decoding="planned", as_json=True
    )
    assert seen == [
        ("gsm8k", TextEvaluation(folder, prompts, max_new_tokens=320), None),
        ("ifeval", TextEvaluation(folder, prompts, max_new_tokens=9), keep),
        (everything, JudgedOutputs(tmp_path / "out"), None),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--prompts", "p.jsonl"], "--prompts needs --task text, likelihood, gsm8k, ifeval or alpaca_eval; give both"),
        (["--base", "a/b"], "--base needs --task text; give both"),
        (["--max-new-tokens", "9"], "--max-new-tokens needs --task text, gsm8k, ifeval or alpaca_eval; give both"),
        (["--temperature", "0"], "--temperature needs --task text, gsm8k, ifeval or alpaca_eval; give both"),
        (["--task", "text"], "--task text needs --prompts FILE; give a file with a prompt per line"),
        (["--task", "text", "--prompts", "no.jsonl"], "There is no file no.jsonl; give --prompts a file"),
        (["--task", "text", "--prompts", "no.jsonl", "--count", "0"], "count is 0; give 1 or more"),
        (["--task", "text", "--prompts", "no.jsonl", "--base", "no/such/base"], "There is no folder no/such/base"),
        (["--task", "text", "--prompts", "no.jsonl", "--plot", "no/a.svg"], "give --plot another place"),
        (["--task", "text", "--prompts", "no.jsonl", "--keep", "no/a.jsonl"], "give --keep another place"),
        (["--task", "poems"], "'poems' is not one of 'facts', 'text', 'likelihood', 'gsm8k', 'ifeval', 'alpaca_eval'"),
        (["--task", "gsm8k"], "--task gsm8k needs --prompts FILE; give a file with its rows, JSONL"),
        (["--task", "gsm8k", "--prompts", "no.jsonl"], "There is no file no.jsonl; give --prompts a JSONL file"),
        (["--task", "gsm8k", "--prompts", "no.jsonl", "--plot", "a.svg"], "--plot means nothing with --task gsm8k"),
        (["--task", "gsm8k", "--prompts", "no.jsonl", "--judge"], "--judge needs --task alpaca_eval; give both"),
        (["--task", "alpaca_eval", "--prompts", "no.jsonl", "--judge"], "give --outputs FOLDER as well"),
        (["--samples", "9"], "--samples needs --task likelihood; give both"),
        (
            ["--task", "likelihood"],
            "--task likelihood needs --prompts FILE; give a file with prompts with their answers",
        ),
        (["--task", "likelihood", "--prompts", "no.jsonl", "--all"], "--all means nothing with --task likelihood"),
        (["--task", "likelihood", "--prompts", "no.jsonl", "--samples", "1"], "samples is 1; give an even number"),
    ],
)
def test_evaluate_refuses_options_that_do_not_fit(run, checkpoint, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    ran = run("evaluate", "--model", checkpoint[1], *options)
    errors = [line for line in ran.err.splitlines() if not line.startswith("note: ")]
    assert ran.status == 2 and len(errors) == 1 and message in errors[0], ran.err


def test_evaluate_refuses_what_generate_refuses(run, checkpoint, monkeypatch, tmp_path):
    ran = run("evaluate", "--model", checkpoint[1], "--decoding", "telepathic")
    assert ran.status == 2 and "choose one of planned, autoregressive" in ran.err and ran.err.count("\n") == 1
    monkeypatch.setattr(locate, "EMBEDDED", tmp_path)
    ran = run("evaluate")
    assert ran.status == 2 and "make checkpoint" in ran.err and ran.err.count("\n") == 1
