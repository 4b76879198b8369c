"""The first lines of a run say what trains on what; libraries' messages for each other are kept out of them."""

import logging
import re
import sys
import warnings

import pytest
from transformers.utils import logging as transformers_logging

from planned_diffusion.training import sft
from planned_diffusion.training.opening import quiet_libraries


@pytest.fixture
def options(workspace):
    """The options of a run of one step on a trained checkpoint, whose training is not looked at."""
    assert sft.main(["--config", "recipe.yaml", "--max_steps", "1", "--output_dir", "base"]) == 0
    recipe = (workspace / "recipe.yaml").read_text()
    recipe = recipe.replace("from_scratch: scratch.yaml\n", "").replace("tokenizer: tokenizer\n", "")
    (workspace / "tune.yaml").write_text(recipe)
    return ["--config", "tune.yaml", "--model", "base", "--max_steps", "1"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "what"),
    [
        ([], r"all 38,560 parameters of base on 8 records of train.jsonl for 1 step"),
        (["--use_peft", "true"], r"16,832 of 55,392 parameters of base on 8 records of train.jsonl for 1 step"),
        (["--max_steps", "-1", "--num_train_epochs", "2"], "all .* on 8 records of train.jsonl for 2 epochs"),
    ],
)
def test_a_run_opens_with_what_it_trains(more, what, options, capsys):
    capsys.readouterr()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert sft.main([*options, *more]) == 0
    assert not [warning for warning in told if issubclass(warning.category, (FutureWarning, DeprecationWarning))]
    out, err = capsys.readouterr()
    assert re.fullmatch(f"Training {what}; results go to out.", out.splitlines()[0])
    assert "Loading weights" not in err and "eprecated" not in err


def warned(module):
    """The warnings that are shown of one in a module of this name."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with quiet_libraries():
            for category in (FutureWarning, DeprecationWarning, UserWarning):
                warnings.warn_explicit("old", category, "file.py", 1, module=module, registry={})
    return [warning.category for warning in told]


def test_deprecations_are_hidden_inside_of_libraries_only(monkeypatch):
    assert warned("transformers.trainer") == warned("trl.trainer.sft_trainer") == [UserWarning]
    assert warned("planned_diffusion.training.sft") == [FutureWarning, DeprecationWarning, UserWarning]
    monkeypatch.setattr(sys, "warnoptions", ["default"])
    assert warned("transformers.trainer") == [FutureWarning, DeprecationWarning, UserWarning]


def test_what_was_set_before_is_set_again():
    logger = logging.getLogger("bitsandbytes")
    before = (logger.level, transformers_logging.is_progress_bar_enabled(), list(warnings.filters))
    with pytest.raises(ValueError, match="a fault"), quiet_libraries():
        assert logger.level == logging.ERROR
        raise ValueError("a fault")
    assert (logger.level, transformers_logging.is_progress_bar_enabled(), list(warnings.filters)) == before
