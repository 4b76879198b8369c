"""Write 100 list prompts, 100 stories and 100 sums of the project's own forms, for `planned-diffusion pays`.

python benchmarks/three_kinds.py runs/kinds
"""

import argparse
import json
from pathlib import Path

from planned_diffusion.distillation.prompt_set import Prompt, prompts

KINDS = {"list": "lists", "story": "stories", "sum": "sums"}  # kind of prompt -> name of its file
SEED = 2026  # not that of the training prompts, which have the same forms
DRAWN = 3000  # of all kinds, among which there are enough of each


def three_kinds(count: int) -> dict[str, list[Prompt]]:
    """Return the first `count` prompts of each kind."""
    drawn = prompts(DRAWN, SEED)
    found = {kind: [one for one in drawn if one.kind == kind][:count] for kind in KINDS}
    short = [kind for kind, chosen in found.items() if len(chosen) < count]
    if short:
        raise ValueError(f"count is {count}, and fewer prompts of kind {short[0]} were drawn; give a smaller one.")
    return found


def write_kinds(folder: Path, count: int) -> list[Path]:
    """Write a file of prompts per kind into a folder; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for kind, chosen in three_kinds(count).items():
        files.append(folder / f"{KINDS[kind]}.jsonl")
        rows = [{"prompt": one.prompt, "kind": one.kind, "parts": one.parts} for one in chosen]
        files[-1].write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return files


def main() -> None:
    """Read the command line and write the files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for lists.jsonl, stories.jsonl and sums.jsonl")
    parser.add_argument("--count", type=int, default=100, help="prompts of each kind (%(default)s)")
    given = parser.parse_args()
    for file in write_kinds(given.out, given.count):
        print(file)


if __name__ == "__main__":
    main()
