"""Load the model and tokenizer that a run starts from: a checkpoint, or a configuration file and random weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)
from transformers.utils.peft_utils import find_adapter_config_file
from trl.trainer.sft_config import SFTConfig

from ..configuration_planned_diffusion import PlannedDiffusionConfig
from ..loading.bases import base_named
from ..loading.locate import locate
from ..loading.quantise import quantization_config
from ..loading.tokenizer_origin import without_origin
from ..modeling_planned_diffusion import PlannedDiffusionForCausalLM
from ..records.checks import first_line
from ..records.vocabulary import check_agreement, control_token_ids
from .adapters import AdapterArguments
from .recipe import read_fields
from .script_arguments import ScriptArguments

Loaded = TypeVar("Loaded")


def check_source(script: ScriptArguments, adapter: AdapterArguments) -> None:
    """Reject models that cannot be trained, before anything is loaded; a base by name becomes its folder.

    Raises:
        ValueError: not exactly one source, no tokenizer, an adapter on a new model, or a model that is not there, is
            an adapter or was not converted.
    """
    if (script.model is None) == (script.from_scratch is None):
        raise ValueError(
            "Give either model (a checkpoint to fine-tune) or from_scratch (a configuration file), not both."
        )
    if (script.tokenizer or script.model) is None:
        raise ValueError("from_scratch needs a tokenizer that has the control tokens; give its path as tokenizer.")
    if script.from_scratch is not None and adapter.use_peft:
        raise ValueError("An adapter needs a trained model below it; give model instead of from_scratch.")
    if script.model is not None:
        if base_named(script.model) is not None:
            script.model = locate(script.model, "model")
        _check_model(script.model)


def _check_model(model: str) -> None:
    """Raise ValueError where the model is not there, is an adapter or was not converted."""
    locate(model, "model")
    _refuse_adapter(model)
    config, _ = _from_source(PreTrainedConfig.get_config_dict, model)
    kind = config.get("model_type")
    if kind is None:
        raise ValueError(f"{model} holds no config.json of a model; give the folder of a planned-diffusion checkpoint.")
    if kind != PlannedDiffusionConfig.model_type:
        raise ValueError(
            f"{model} is a model of type {kind}, which cannot plan; convert it first "
            f"(planned-diffusion convert {model} converted, then model: converted)."
        )


def _refuse_adapter(model: str) -> None:
    """Raise ValueError where the model is an adapter."""
    file = find_adapter_config_file(model)
    if file is not None:
        base = json.loads(Path(file).read_text(encoding="utf-8")).get("base_model_name_or_path")
        raise ValueError(
            f"{model} is an adapter of {base}, and training on top of it would lose it; merge it first "
            f"(planned-diffusion export {model} merged, then model: merged), or train from its base."
        )


def _from_source(load: Callable[..., Loaded], source: str, **options: Any) -> Loaded:
    """Return `load(source, **options)`; files that are missing there become an error of the arguments."""
    try:
        return load(source, **options)
    except OSError as error:
        raise ValueError(
            f"{source} cannot be loaded: {first_line(error)}; give the folder or Hub repository of a planned-diffusion "
            "checkpoint."
        ) from error


def load_starting_point(
    script: ScriptArguments, args: SFTConfig, adapter: AdapterArguments
) -> tuple[PlannedDiffusionForCausalLM, PreTrainedTokenizerBase]:
    """Return the model, loaded with `args.model_init_kwargs` or new, and its tokenizer, checked against each other.

    Weights that train are float32 (mixed precision computes in bfloat16); frozen ones, under an adapter, have the
    precision in which they are used.

    Raises:
        ValueError: files that are not there, or ids that disagree.
    """
    source = script.tokenizer or script.model
    assert source is not None  # check_source
    load_tokenizer = AutoTokenizer.from_pretrained
    tokenizer = without_origin(_from_source(load_tokenizer, source, trust_remote_code=args.trust_remote_code))
    if script.from_scratch is not None:
        return new_model(script.from_scratch, tokenizer, script.attn_implementation), tokenizer
    assert script.model is not None
    frozen_dtype = torch.bfloat16 if args.bf16 else torch.float32
    more = args.model_init_kwargs or {}
    assert isinstance(more, dict)  # SFTConfig parses a string
    model = _from_source(
        AutoModelForCausalLM.from_pretrained,
        script.model,
        attn_implementation=script.attn_implementation,
        trust_remote_code=args.trust_remote_code,
        dtype=frozen_dtype if adapter.use_peft else torch.float32,
        quantization_config=_quantization(adapter, frozen_dtype),
        **more,
    )
    check_agreement(tokenizer, model.config)
    return cast(PlannedDiffusionForCausalLM, model), tokenizer


def _quantization(adapter: AdapterArguments, compute_dtype: torch.dtype) -> BitsAndBytesConfig | None:
    """Return how the frozen weights are quantised; None if they are not."""
    if not adapter.is_quantised:
        return None
    dtype = "int8" if adapter.load_in_8bit else "nf4"
    return quantization_config(dtype, compute_dtype, nested=adapter.use_bnb_nested_quant)


def new_model(path: str, tokenizer: PreTrainedTokenizerBase, attn_implementation: str) -> PlannedDiffusionForCausalLM:
    """Return a randomly initialised model of a YAML or JSON configuration file; ids come from the tokenizer.

    The vocabulary is as large as the tokenizer's, unless the file gives a larger one.

    Raises:
        ValueError: no such file, or no mapping with a `backbone_config` in it.
    """
    fields = read_fields(path)
    if "model_type" not in (fields.get("backbone_config") or {}):
        raise ValueError(f"{path} needs a mapping backbone_config with a model_type, such as qwen2, and its sizes.")
    sizes = {"vocab_size": len(tokenizer), **fields.pop("backbone_config")}
    if sizes["vocab_size"] < len(tokenizer):
        raise ValueError(
            f"{path}: vocab_size is {sizes['vocab_size']}, the tokenizer has {len(tokenizer)} tokens; leave it out."
        )
    ids = control_token_ids(tokenizer)
    sizes = {
        **sizes,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": ids["eos_token_id"],
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = PlannedDiffusionConfig(backbone_config=sizes, **ids, **fields)
    config._attn_implementation = attn_implementation
    return PlannedDiffusionForCausalLM(config)
