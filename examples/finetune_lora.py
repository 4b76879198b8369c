"""Fine-tune the included model by LoRA for a few steps: annotate, train, generate with the adapter.

One sees a tagged training record, the loss of every step, and an answer of the adapted model. (Three steps teach it
nothing; training/recipes/elements.yaml is the same in 40 minutes and learns the chemical elements.)
Needs `pip install -e '.[train,annotate]'`.
"""

import json
import tempfile
from pathlib import Path

import planned_diffusion
from planned_diffusion.cli.main import main as command
from planned_diffusion.loading.embedded import EMBEDDED

RECIPES = Path(planned_diffusion.__file__).parent / "training" / "recipes"

with tempfile.TemporaryDirectory() as folder:
    answers, annotated, run = (Path(folder) / name for name in ("answers.jsonl", "annotated.jsonl", "run"))
    lines = (RECIPES / "elements.jsonl").read_text(encoding="utf-8").splitlines()
    answers.write_text("\n".join(lines[:8]) + "\n", encoding="utf-8")

    # 1. Find the independent parts of every answer. The same as `planned-diffusion annotate answers annotated
    #    --min-gain none`: these answers are shorter than their plans, and shall be planned nevertheless.
    assert command(["annotate", str(answers), str(annotated), "--min-gain", "none"]) == 0
    first = json.loads(annotated.read_text(encoding="utf-8").splitlines()[0])
    print(first["messages"][-1]["content"])

    # 2. Train. Every field of the recipe may be given on the command line, which wins.
    recipe = ["--config", str(RECIPES / "smoke.yaml"), "--model", str(EMBEDDED), "--train_file", str(annotated)]
    brief = ["--max_steps", "3", "--per_device_train_batch_size", "2", "--bf16", "false", "--logging_steps", "1"]
    assert command(["train", *recipe, *brief, "--output_dir", str(run)]) == 0

    # 3. Generate: a name that leads to an adapter loads its base as well.
    assert command(["generate", "Which symbol does the element iron have?", "--model", str(run)]) == 0
