"""The local tasks, by lm-eval's own evaluation: the same in any batch, killed and resumed, and in two processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("lm_eval.api.model", reason="lm-eval is not installed: pip install 'planned-diffusion[lm-eval]'")
from planned_diffusion.evaluation.harness import local_tasks
from planned_diffusion.loading.embedded import EMBEDDED

TASKS = Path(local_tasks.__file__).parent / "tasks"
FACTS = str(EMBEDDED)
COUNT = 6
ROWS = {
    "gsm8k": [
        {"question": "What is 2 + 2?", "answer": "2 + 2 = 4\n#### 4"},
        {"question": "What is 1,000 + 1?", "answer": "#### 1,001"},
    ],
    "ifeval": [
        {
            "key": 1,
            "prompt": "What are the capital and the currency of Kenya?",
            "instruction_id_list": ["punctuation:no_comma", "change_case:english_lowercase"],
            "kwargs": [{}, {}],
        },
        {
            "key": 2,
            "prompt": "What are the capital and the currency of Kenya?",
            "instruction_id_list": ["keywords:existence"],
            "kwargs": [{"keywords": ["Nairobi"]}],
        },
    ],
    "alpaca_eval": [{"dataset": "helpful_base", "instruction": "What is the capital of Peru?"}],
}
DATA = {"gsm8k": "gsm8k_data", "ifeval": "ifeval_data", "alpaca_eval": "alpaca_data"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Files of data, as metadata."""
    folder, found = tmp_path_factory.mktemp("data"), {"facts_count": COUNT}
    for name, rows in ROWS.items():
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        found[DATA[name]] = str(path)
    return found


@pytest.fixture
def evaluated(build, data):
    """evaluated(lm, *tasks, **of simple_evaluate) -> lm-eval's results, with samples."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks._yaml_loader import load_yaml

    def run(lm, *names, **more):
        tasks = [load_yaml(TASKS / f"{name}.yaml", resolve_func=True) for name in names]
        manager = TaskManager(include_defaults=False, metadata=data)
        return simple_evaluate(lm, tasks=tasks, task_manager=manager, bootstrap_iters=0, **more)

    return run


def answers(results):
    return {name: [one["resps"] for one in samples] for name, samples in results["samples"].items()}


def test_all_tasks_in_batches_of_1_and_8(build, evaluated):
    pytest.importorskip("lm_eval.tasks.ifeval.instructions_registry", reason="pip install 'lm-eval[ifeval]'")
    names = ("facts", *ROWS)
    one, eight = (evaluated(build(batch_size=size), *names, apply_chat_template=True) for size in (1, 8))
    assert answers(one) == answers(eight) and one["results"] == eight["results"]
    found = {name.removeprefix("planned_diffusion_"): result for name, result in one["results"].items()}
    assert found["facts"]["facts_right,none"] > 0.85 and found["facts"]["answers_right,none"] > 0.5
    assert found["gsm8k"]["exact_match,none"] == 0
    assert found["ifeval"]["inst_level_strict_acc,none"] == pytest.approx(1 / 3)
    assert found["ifeval"]["prompt_level_strict_acc,none"] == 0.5
    assert found["alpaca_eval"]["with_text,none"] == 1
    assert one["samples"]["planned_diffusion_alpaca_eval"][0]["doc"]["dataset"] == "helpful_base"


def test_a_run_that_was_killed_goes_on_from_lm_evals_cache(build, evaluated, tmp_path):
    lm = build(batch_size=2)
    whole = evaluated(lm, "facts", apply_chat_template=True)
    run, done, cache = lm.checkpoint.model.run_requests, [], str(tmp_path / "cache")

    def stopped(requests):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(len(requests))
        return run(requests)

    lm.checkpoint.model.run_requests = stopped
    with pytest.raises(KeyboardInterrupt):
        evaluated(lm, "facts", apply_chat_template=True, use_cache=cache)
    del lm.checkpoint.model.run_requests
    again = build(batch_size=2)
    run = again.checkpoint.model.run_requests
    again.checkpoint.model.run_requests = lambda requests: done.append(len(requests)) or run(requests)
    resumed = evaluated(again, "facts", apply_chat_template=True, use_cache=cache)
    assert done == [2, 2, 2] and answers(resumed) == answers(whole) and resumed["results"] == whole["results"]


def start(launcher: list[str], model: list[str], out: Path):
    """lm-eval's own command line, in processes of its own."""
    arguments = [
        "--model", *model, "--tasks", TASKS / "facts.yaml", "--metadata", f"facts_count={COUNT}", "--batch_size", "4",
        "--apply_chat_template", "--output_path", out, "--log_samples", "--device", "cpu",
    ]  # fmt: skip
    package = str(Path(local_tasks.__file__).parents[3])
    environment = os.environ | {"PYTHONPATH": package, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=out.parent, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    [results], [samples] = out.rglob("results_*.json"), out.rglob("samples_*.jsonl")
    lines = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
    return json.loads(results.read_text(encoding="utf-8")), {one["doc_id"]: one["resps"] for one in lines}


@pytest.mark.slow
def test_the_command_line_of_lm_eval_in_one_process_in_two_and_with_its_stock_class(tmp_path):
    ours = ["planned_diffusion", "--model_args", f"pretrained={FACTS},dtype=float32"]
    one, alone = start(["-m", "lm_eval"], ours, tmp_path / "one")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "lm_eval"]
    two, together = start(launcher, ours, tmp_path / "two")
    stock = ["hf", "--model_args", f"pretrained={FACTS},trust_remote_code=True,dtype=float32,add_bos_token=False"]
    _, by_stock = start(["-m", "lm_eval"], stock, tmp_path / "stock")
    assert by_stock == alone
    assert alone == together and len(alone) == COUNT
    assert one["results"] == two["results"] and one["results"]["planned_diffusion_facts"]["facts_right,none"] > 0.85
    assert one["config"]["checkpoint_hash"] == two["config"]["checkpoint_hash"] is not None


@pytest.mark.parametrize("name", sorted(DATA))
def test_data_that_are_missing_or_other(name, tmp_path):
    documents = getattr(local_tasks, f"{name}_documents")
    with pytest.raises(ValueError, match=f"which is not downloaded; add --metadata {DATA[name]}=FILE"):
        documents(pretrained="facts")
    with pytest.raises(ValueError, match=f"There is no file .*; give {DATA[name]} a JSONL file"):
        documents(**{DATA[name]: str(tmp_path / "no.jsonl")})
    path = tmp_path / "other.jsonl"
    path.write_text("{}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="line 1: it has no (question|prompt|instruction); give rows of"):
        documents(**{DATA[name]: str(path)})
    path.write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match="holds no rows; write one JSON object per line"):
        documents(**{DATA[name]: str(path)})
