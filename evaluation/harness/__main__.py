"""Run lm-eval's own command line with the model class `planned_diffusion`, and the local tasks by name.

    python -m planned_diffusion.evaluation.harness --model planned_diffusion --model_args pretrained=facts \
        --tasks planned_diffusion_facts --metadata facts_count=100 --batch_size 8 --apply_chat_template

All arguments are lm-eval's. Versions of lm-eval that read entry points (after 0.4.13) find the class by themselves.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

TASKS = Path(__file__).parent / "tasks"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; without `--include_path` the local tasks are on it.

    Raises:
        RuntimeError: lm-eval is missing.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        from lm_eval.__main__ import cli_evaluate  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise RuntimeError(f"lm-eval needs {error.name}; run pip install 'planned-diffusion[lm-eval]'.") from error
    from . import lm_eval_model  # noqa: F401  # it registers the class

    local = [] if "--include_path" in given or not given else ["--include_path", str(TASKS)]
    sys.argv = ["lm-eval", *given, *local]
    cli_evaluate()


if __name__ == "__main__":
    main()
