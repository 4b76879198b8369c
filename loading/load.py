"""Loading what a user names: a planned-diffusion checkpoint, or an adapter on top of one, from a folder or the Hub."""

import json
from pathlib import Path

import torch
from transformers import AutoConfig, AutoTokenizer
from transformers.utils import find_adapter_config_file, is_accelerate_available, is_peft_available

from ..configuration_planned_diffusion import PlannedDiffusionConfig
from ..modeling_planned_diffusion import PlannedDiffusionForCausalLM
from .quantise import QUANTISED_DTYPES, quantization_config


def load(
    source: str, dtype: str = "auto", merge: bool = False, device: torch.device | str = "cpu"
) -> tuple[PlannedDiffusionForCausalLM, object]:
    """Model and tokenizer; code that a checkpoint brings along is not run.

    Args:
        source: folder or Hub repository of a checkpoint, or of an adapter, which is loaded on its base.
        dtype: "auto" (that of the file), "float32", "bfloat16", or "nf4" or "int8": the linear layers of the backbone
            quantised by bitsandbytes, the rest in bfloat16.
        merge: an adapter becomes part of the weights.
        device: where the model is put.

    Raises:
        ValueError: nothing there that can be loaded, another kind of model, missing weights, or no bitsandbytes.
    """
    options = weights_as(dtype, device)
    try:
        base = base_of(source)
        config = AutoConfig.from_pretrained(base or source, trust_remote_code=False)
        if not isinstance(config, PlannedDiffusionConfig):
            raise ValueError(
                f"it is a model of type {config.model_type}, which cannot plan (planned-diffusion convert makes one)"
            )
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        model, info = PlannedDiffusionForCausalLM.from_pretrained(base or source, output_loading_info=True, **options)
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
    return (model if dtype in QUANTISED_DTYPES else model.to(device)), tokenizer


def weights_as(dtype: str, device: torch.device | str) -> dict:
    """What `from_pretrained` is told about weights: their type, and how and where they are quantised."""
    if dtype not in QUANTISED_DTYPES:
        return {"dtype": dtype}
    if not is_accelerate_available():
        raise ValueError(f"{dtype} weights need accelerate; run pip install 'planned-diffusion[int4]'.")
    config = quantization_config(dtype)
    return {"dtype": torch.bfloat16, "quantization_config": config, "device_map": {"": torch.device(device)}}


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
