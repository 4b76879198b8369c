"""Load the model and tokenizer that a run starts from: a checkpoint, or a configuration file and random weights."""

from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils.peft_utils import find_adapter_config_file
from trl.trainer.sft_config import SFTConfig

from ..configuration_planned_diffusion import PlannedDiffusionConfig
from ..loading.adapter_base import is_adapter
from ..loading.load import load
from ..loading.locate import locate
from ..loading.stored_quantisation import stored_quantisation
from ..loading.tokenizer_origin import without_origin
from ..loading.weights import load_weights, naming, stored_config
from ..modeling_planned_diffusion import PlannedDiffusionForCausalLM
from ..records.checks import first_line
from ..records.vocabulary import check_agreement, control_token_ids
from .adapters import AdapterArguments
from .model_options import ModelOptions
from .quantised_base import check_quantisation, quantised_while_loading
from .recipe import read_fields
from .script_arguments import ScriptArguments


def check_source(script: ScriptArguments, adapter: AdapterArguments, options: ModelOptions | None = None) -> None:
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
    if script.tokenizer is not None:
        locate(script.tokenizer, "tokenizer")
    if script.model is not None:
        script.model = locate(script.model, "model")
        place = {} if options is None else options.place
        if find_adapter_config_file(script.model, **place) is None:
            _check_model(script.model, place)
        else:
            _check_adapter_below(script.model, script, adapter, options)


def _check_model(model: str, place: dict[str, Any]) -> None:
    """Raise ValueError where the model cannot plan."""
    kind = stored_config(model, **place).get("model_type")
    if kind is None:
        raise ValueError(f"{model} holds no config.json of a model; give the folder of a planned-diffusion checkpoint.")
    if kind != PlannedDiffusionConfig.model_type:
        raise ValueError(
            f"{model} is a model of type {kind}, which cannot plan; convert it first "
            f"(planned-diffusion convert {model} converted, then model: converted)."
        )


def frozen_quantisation(script: ScriptArguments, adapter: AdapterArguments, options: ModelOptions) -> str | None:
    """Return the quantisation of the weights below the adapter; None where they are ordinary numbers.

    Raises:
        ValueError: one on which nothing can be trained; see `check_quantisation`.
    """
    if script.model is None:
        return None
    stored = stored_quantisation(stored_config(script.model, **options.place))
    return check_quantisation(script.model, stored, adapter, options.quantization_config)


def _check_adapter_below(
    model: str, script: ScriptArguments, adapter: AdapterArguments, options: ModelOptions | None
) -> None:
    """Raise ValueError where the model is an adapter, unless a drafter is trained beside it: it is merged for that."""
    merging = f"merge it first (planned-diffusion export {model} merged, then model: merged)"
    if not adapter.lora_gated:
        raise ValueError(
            f"{model} is an adapter, and training on top of it would lose it; {merging}, or train from its base."
        )
    kwargs = options is not None and (options.more or options.quantization_config or options.dtype)
    if script.tokenizer is not None or adapter.is_quantised or kwargs:
        raise ValueError(
            f"{model} is an adapter, which is loaded with its own tokenizer, unquantised and without "
            f"model_init_kwargs; leave those out, or {merging}."
        )


def load_starting_point(
    script: ScriptArguments, args: SFTConfig, adapter: AdapterArguments, options: ModelOptions
) -> tuple[PlannedDiffusionForCausalLM, PreTrainedTokenizerBase]:
    """Return the model, loaded or new, and its tokenizer, checked against each other.

    Weights that train are float32 (mixed precision computes in bfloat16); frozen ones, under an adapter, have the
    precision in which they are used. `model_init_kwargs` may ask for another one.

    Raises:
        ValueError: files that are not there, weights that do not fit the model, or ids that disagree.
    """
    if script.model is not None and is_adapter(script.model):
        return _merged_adapter(script.model, args, options)
    source = script.tokenizer or script.model
    assert source is not None  # check_source
    place = options.place if script.tokenizer is None else {}
    with naming(source):
        trusted = options.trust_remote_code
        tokenizer = without_origin(AutoTokenizer.from_pretrained(source, trust_remote_code=trusted, **place))
    if script.from_scratch is not None:
        model = new_model(script.from_scratch, tokenizer, options.attn_implementation)
        if isinstance(options.dtype, torch.dtype):
            cast(nn.Module, model).to(options.dtype)
        return model, tokenizer
    assert script.model is not None
    model = _trained_model(script.model, args, adapter, options)
    check_agreement(tokenizer, model.config)
    return _named(model, script.model), tokenizer


def _named(model: PlannedDiffusionForCausalLM, source: str) -> PlannedDiffusionForCausalLM:
    """Return the model under the name that PEFT writes into adapters, which may lie anywhere."""
    model.name_or_path = str(Path(source).resolve()) if Path(source).is_dir() else source
    return model


def _merged_adapter(
    source: str, args: SFTConfig, options: ModelOptions
) -> tuple[PlannedDiffusionForCausalLM, PreTrainedTokenizerBase]:
    """Return an adapter merged into its base, beside which a drafter is trained, and its tokenizer."""
    model, tokenizer = load(source, "bfloat16" if args.bf16 else "float32", merge=True)
    model.set_attn_implementation(options.attn_implementation)
    model.config.use_cache = False
    return _named(model, source), tokenizer


def _trained_model(
    source: str, args: SFTConfig, adapter: AdapterArguments, options: ModelOptions
) -> PlannedDiffusionForCausalLM:
    """Return the model of a checkpoint, with `options` where they say more than the fields of the script."""
    frozen_dtype = torch.bfloat16 if args.bf16 else torch.float32
    dtype = options.dtype or (frozen_dtype if adapter.use_peft else torch.float32)
    config, more = stored_config(source, **options.place), dict(options.more)
    if stored_quantisation(config) is None:
        compute_dtype = dtype if isinstance(dtype, torch.dtype) else frozen_dtype
        quantised = quantised_while_loading(adapter, options.quantization_config, compute_dtype)
        more |= {} if quantised is None else {"quantization_config": quantised}
    try:
        return load_weights(
            AutoModelForCausalLM.from_pretrained,
            source,
            config,
            attn_implementation=options.attn_implementation,
            trust_remote_code=options.trust_remote_code,
            dtype=dtype,
            **more,
        )
    except TypeError as error:
        if not options.more:
            raise
        raise ValueError(
            f"model_init_kwargs holds {', '.join(options.more)}, which cannot all be used ({first_line(error)}); leave "
            "out what neither from_pretrained nor the model's configuration knows."
        ) from error


def new_model(path: str, tokenizer: PreTrainedTokenizerBase, attn_implementation: str) -> PlannedDiffusionForCausalLM:
    """Return a randomly initialised model of a YAML or JSON configuration file; ids come from the tokenizer.

    The vocabulary is as large as the tokenizer's, unless the file gives a larger one.

    Raises:
        ValueError: no such file, or no mapping with a `backbone_config` in it.
    """
    fields = read_fields(path)
    backbone = fields.get("backbone_config")
    if not isinstance(backbone, dict) or "model_type" not in backbone:
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
