"""Read the configuration of a foreign checkpoint as that of a backbone, or refuse it with a reason."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

NATIVE = ("llama", "qwen2", "qwen3", "smollm3")
# Dream is Qwen2 with a mask token: same modules, same names. The original's model_type is "Dream", that of checkpoints
# that were fine-tuned with the published planned-diffusion code "dream".
DREAM = "dream"
DREAM_FIELDS = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "max_position_embeddings", "rms_norm_eps", "rope_theta",
)  # fmt: skip
DREAM_OPTIONAL_FIELDS = (
    "hidden_act", "initializer_range", "attention_dropout", "rope_scaling", "rope_parameters", "tie_word_embeddings",
)  # fmt: skip
DREAM_SWITCHES = ("use_mrope", "use_sliding_window")  # off in every published checkpoint


@dataclass(frozen=True)
class ForeignConfig:
    """The config.json of a foreign checkpoint.

    Attributes:
        model_type: as stored.
        backbone: the decoder's own configuration.
        mask_token_id: the mask of its training, or None.
        span_attention: "dense" where the published code trained without block sparsity, else "sparse".
    """

    model_type: str
    backbone: PreTrainedConfig
    mask_token_id: int | None
    span_attention: str

    @property
    def is_dream(self) -> bool:
        """Return whether the checkpoint is Dream, or fine-tuned from it."""
        return self.model_type.lower() == DREAM


def read_config(folder: Path) -> ForeignConfig:
    """Read the configuration of a checkpoint as that of a backbone.

    Raises:
        ValueError: no configuration, a broken one, or one of a kind of model that cannot become a backbone.
    """
    stored = _stored_fields(folder)
    model_type = str(stored.get("model_type"))
    refuse(stored, model_type)
    fields = _dream_as_qwen2(stored) if model_type.lower() == DREAM else None
    try:
        if fields:
            backbone = AutoConfig.for_model("qwen2", **fields)
        else:
            backbone = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # each kind of configuration checks itself and raises its own errors
        reason = " ".join(str(error).split()).rstrip(".")
        raise ValueError(f"The config.json is none of a {model_type} model: {reason}; fetch it anew.") from error
    backbone.architectures, backbone.name_or_path = None, ""
    if hasattr(backbone, "auto_map"):
        delattr(backbone, "auto_map")  # the source's code is not converted
    return ForeignConfig(
        model_type=model_type,
        backbone=backbone,
        mask_token_id=stored.get("mask_token_id"),
        span_attention="dense" if stored.get("disable_block_sparsity") else "sparse",
    )


def _stored_fields(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    if (folder / "adapter_config.json").is_file() and not file.is_file():
        raise ValueError(
            f"{folder} holds an adapter and no model; merge it into its base (merge_and_unload of PEFT), then convert."
        )
    if not file.is_file():
        raise ValueError(f"The folder {folder} holds no config.json; name the folder of a checkpoint.")
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not JSON ({error}); fetch the checkpoint anew.") from error
    if not isinstance(stored, dict) or not stored.get("model_type"):
        raise ValueError(f"{file} names no model_type, so the kind of model is unknown; fetch the checkpoint anew.")
    return stored


def refuse(stored: dict[str, Any], model_type: str) -> None:
    """Raise ValueError for kinds of models that are known not to convert, and for unknown ones."""
    if model_type == "planned_diffusion":
        raise ValueError("This is a planned-diffusion checkpoint already; export, push or train it as it is.")
    if stored.get("quantization_config"):
        method = stored["quantization_config"].get("quant_method", "an unknown method")
        raise ValueError(
            f"This checkpoint is quantised ({method}); convert the original one and quantise the result on loading."
        )
    if any(name in stored for name in ("text_config", "vision_config", "audio_config")):
        raise ValueError(f"This is a multimodal model ({model_type}); only models of text alone can be converted.")
    if model_type not in NATIVE and model_type.lower() != DREAM:
        raise ValueError(f"The model_type {model_type!r} is unknown here; known are {', '.join(NATIVE)} and Dream.")


def _dream_as_qwen2(stored: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of the Qwen2 configuration that computes the same."""
    missing = [name for name in DREAM_FIELDS if stored.get(name) is None and name != "rope_theta"]
    if stored.get("rope_theta") is None and not stored.get("rope_parameters"):
        missing.append("rope_theta")
    if missing:
        raise ValueError(f"The Dream configuration lacks {', '.join(missing)}; fetch its config.json anew.")
    switched_on = [name for name in DREAM_SWITCHES if stored.get(name)]
    if switched_on:
        raise ValueError(f"The Dream configuration has {switched_on[0]} on, which no known Dream model has.")
    names = (*DREAM_FIELDS, *DREAM_OPTIONAL_FIELDS)
    fields = {name: stored[name] for name in names if stored.get(name) is not None}
    dtype = stored.get("dtype") or stored.get("torch_dtype")
    ids = {f"{name}_token_id": stored.get(f"{name}_token_id") for name in ("bos", "eos", "pad")}
    # Dream's default of tie_word_embeddings is not Qwen2's; use_cache, off in many files, is for Dream's own decoding.
    return {"tie_word_embeddings": False, **fields, **ids, "dtype": dtype}
