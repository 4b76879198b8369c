"""Loading what a user names: a planned-diffusion checkpoint, or an adapter on top of one, from a folder or the Hub."""

import json
from pathlib import Path

from transformers import AutoConfig, AutoTokenizer
from transformers.utils import find_adapter_config_file, is_peft_available

from ..configuration_planned_diffusion import PlannedDiffusionConfig
from ..modeling_planned_diffusion import PlannedDiffusionForCausalLM


def load(source: str, dtype: str = "auto", merge: bool = False) -> tuple[PlannedDiffusionForCausalLM, object]:
    """Model and tokenizer; code that a checkpoint brings along is not run.

    Args:
        source: folder or Hub repository of a checkpoint, or of an adapter, which is loaded on its base.
        dtype: "auto" (that of the file), "float32" or "bfloat16".
        merge: an adapter becomes part of the weights.

    Raises:
        ValueError: nothing there that can be loaded, another kind of model, or missing weights.
    """
    try:
        base = base_of(source)
        config = AutoConfig.from_pretrained(base or source, trust_remote_code=False)
        if not isinstance(config, PlannedDiffusionConfig):
            raise ValueError(
                f"it is a model of type {config.model_type}, which cannot plan (planned-diffusion convert makes one)"
            )
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        model, info = PlannedDiffusionForCausalLM.from_pretrained(
            base or source, dtype=dtype, output_loading_info=True
        )
        if base is not None:
            model = with_adapter(model, source, merge)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{source} cannot be loaded: {_first_line(error)}; give the folder or Hub repository of a "
            "planned-diffusion checkpoint with its tokenizer."
        ) from error
    if info["missing_keys"]:
        raise ValueError(
            f"{source} lacks {len(info['missing_keys'])} weights, such as {sorted(info['missing_keys'])[0]}; save the "
            "checkpoint again, or fetch it anew."
        )
    return model, tokenizer


def with_adapter(model: PlannedDiffusionForCausalLM, source: str, merge: bool) -> PlannedDiffusionForCausalLM:
    """The model with an adapter in its layers, or merged into its weights."""
    from peft import PeftModel

    adapted = PeftModel.from_pretrained(model, source)  # transformers 5.17's own way would lose the control tokens
    return adapted.merge_and_unload() if merge else adapted.get_base_model()


def base_of(source: str) -> str | None:
    """The checkpoint that an adapter (LoRA) was trained on; None for a whole checkpoint.

    Raises:
        ValueError: an adapter, but PEFT is not installed.
    """
    file = find_adapter_config_file(source)
    if file is None:
        return None
    if not is_peft_available():
        raise ValueError("it is an adapter, which needs PEFT (pip install peft)")
    return json.loads(Path(file).read_text(encoding="utf-8"))["base_model_name_or_path"]


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".:;")
