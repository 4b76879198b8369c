"""Load a planned-diffusion checkpoint, or an adapter on top of one, from a folder or the Hub."""

from pathlib import Path
from typing import TypedDict, cast

import torch
from transformers import AutoConfig, AutoTokenizer, BitsAndBytesConfig, PreTrainedTokenizerBase
from transformers.tokenization_utils_base import TOKENIZER_CONFIG_FILE
from transformers.utils.hub import cached_file
from transformers.utils.import_utils import is_accelerate_available

from ..checkpoint_planned_diffusion import CheckpointError, check_adapter, trained_rows, with_transition
from ..configuration_planned_diffusion import PlannedDiffusionConfig
from ..generation.draft_adapter import is_gated, stored_settings
from ..generation.draft_gate import NO_MERGE, gate_adapter
from ..generation.stored_defaults import stored_defaults
from ..modeling_planned_diffusion import PlannedDiffusionForCausalLM
from ..records.checks import first_line
from ..records.vocabulary import check_agreement
from .adapter_base import base_of, check_base, is_adapter
from .eight_bits import EIGHT_BITS, check_eight_bits, round_model
from .kernel_caches import bound_kernel_caches
from .precision import FASTEST, resolved_dtype
from .quantise import QUANTISED_DTYPES, quantization_config
from .stored_dtypes import check_dtypes
from .stored_quantisation import check_dtype, check_known, stored_quantisation
from .tokenizer_origin import without_origin
from .weights import load_weights, naming, stored_config


class WeightOptions(TypedDict, total=False):
    """The arguments of `from_pretrained` that say in which type and where weights are loaded."""

    dtype: str | torch.dtype
    quantization_config: BitsAndBytesConfig
    device_map: dict[str, torch.device]


def load(
    source: str, dtype: str = "auto", merge: bool = False, device: torch.device | str = "cpu"
) -> tuple[PlannedDiffusionForCausalLM, PreTrainedTokenizerBase]:
    """Load a model and its tokenizer; code in the checkpoint's folder is not run.

    Args:
        source: folder or Hub repository of a checkpoint, or of an adapter, which is loaded on its base; its own
            generation_config.json and tokenizer, if there are any, take the place of the base's. The base may be an
            adapter too, such as the planner of a drafter, and is merged then.
        dtype: "auto" (that of the file, quantised or not), "fastest" (the same, or see `resolved_dtype`), "float32",
            "bfloat16", or "nf4" or "int8": the linear layers of the backbone quantised by bitsandbytes, the rest in
            bfloat16; or, on a CPU, "w8a16": their weights in 8 bits, or "w8a8": their activations, too, the rest as
            "fastest" (eight_bits.py).
        merge: merge an adapter into the weights, which makes narrow forwards faster; quantised weights keep it beside
            them. A gated adapter has no merged form.
        device: where the model is put.

    Raises:
        ValueError: no checkpoint that can be loaded, another kind of model, weights that do not fit it or are stored in
            another quantisation, no bitsandbytes, "w8a16" or "w8a8" on a GPU, "w8a8" on a CPU without such products, a
            gated adapter that is to be merged, or an adapter of an adapter whose base is quantised.
    """
    if dtype in EIGHT_BITS:
        check_eight_bits(dtype, device)
    bound_kernel_caches()
    with naming(source):
        base = base_of(source)
    if merge and not has_merged_form(source):
        raise CheckpointError(f"{source} cannot be merged: {NO_MERGE}.")
    if base is not None and is_adapter(base):
        return _load_above_adapter(source, base, dtype, merge, device)
    fields = stored_config(base or source)
    check_known(base or source, fields)
    with naming(source):
        config = AutoConfig.from_pretrained(base or source, trust_remote_code=False)
        if not isinstance(config, PlannedDiffusionConfig):
            raise ValueError(
                f"it is a model of type {config.model_type}, which cannot plan (planned-diffusion convert makes one)"
            )
        tokenizer = load_tokenizer(source if base is None or has_tokenizer(source) else base)
        if config.mask_token_id is not None:  # or it has no tags yet
            check_agreement(tokenizer, config)
    stored = stored_quantisation(fields)
    check_dtypes(Path(base or source))
    check_dtype(base or source, stored, "auto" if dtype == FASTEST else dtype)
    chosen = "auto" if stored else resolved_dtype(FASTEST if dtype in EIGHT_BITS else dtype, config, device)
    options = weight_options(chosen, device, is_stored=stored is not None)
    model = load_weights(PlannedDiffusionForCausalLM.from_pretrained, base or source, fields, **options)
    if base is not None:
        model = _beside(model, source, base, merge and stored is None and chosen not in QUANTISED_DTYPES)
    if "device_map" not in options:
        cast(torch.nn.Module, model).to(device)  # the type of `to` in transformers' models is lost by their decorator
    if dtype in EIGHT_BITS:
        round_model(model, dtype)
    return model, tokenizer


def _load_above_adapter(
    source: str, base: str, dtype: str, merge: bool, device: torch.device | str
) -> tuple[PlannedDiffusionForCausalLM, PreTrainedTokenizerBase]:
    """Load an adapter whose base is an adapter; see `load`."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    model, tokenizer = load(base, FASTEST if dtype in EIGHT_BITS else dtype, merge=True, device=device)
    if any(isinstance(layer, BaseTunerLayer) for layer in cast(torch.nn.Module, model).modules()):
        raise CheckpointError(
            f"{source} is an adapter of the adapter {base}, which cannot be merged into quantised weights; load it in "
            "bfloat16 or float32."
        )
    if has_tokenizer(source):
        with naming(source):
            tokenizer = load_tokenizer(source)
            check_agreement(tokenizer, model.config)
    model = _beside(model, source, base, merge)
    cast(torch.nn.Module, model).to(device)
    if dtype in EIGHT_BITS:
        round_model(model, dtype)
    return model, tokenizer


def _beside(model: PlannedDiffusionForCausalLM, source: str, base: str, merge: bool) -> PlannedDiffusionForCausalLM:
    """Return the base's model with the adapter that was trained on it and that adapter's own decoding defaults."""
    check_base(source, base)
    with naming(source):
        model = with_transition(with_adapter(model, source, merge), source, {})
        model.generation_config = stored_defaults(source) or model.generation_config
    return model


def has_merged_form(source: str) -> bool:
    """Return whether an adapter can be merged into its base: a gated one cannot. True for a whole checkpoint.

    Raises:
        ValueError: files that are not there or broken.
    """
    with naming(source):
        return base_of(source) is None or not is_gated(source)


def has_tokenizer(adapter: str) -> bool:
    """Return whether an adapter's folder or Hub repository holds a tokenizer of its own."""
    return cached_file(adapter, TOKENIZER_CONFIG_FILE, _raise_exceptions_for_missing_entries=False) is not None


def load_tokenizer(source: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a checkpoint; code beside it is not run.

    Raises:
        OSError, ValueError: no tokenizer, or one whose files are broken.
    """
    try:
        tokenizer = without_origin(AutoTokenizer.from_pretrained(source, trust_remote_code=False))
        if not isinstance(tokenizer.model_max_length, (int, float)):
            raise TypeError(f"its model_max_length is {tokenizer.model_max_length!r}")
        return tokenizer
    except OSError:
        raise
    except Exception as error:  # transformers and tokenizers raise anything here
        raise ValueError(f"its tokenizer files are broken ({first_line(error)})") from error


def weight_options(dtype: str, device: torch.device | str, is_stored: bool = False) -> WeightOptions:
    """Return the arguments with which `from_pretrained` loads weights as `dtype`, quantised ones onto `device`.

    Args:
        is_stored: the weights are stored quantised; the checkpoint says how.
    """
    if dtype not in QUANTISED_DTYPES and not is_stored:
        return {"dtype": dtype}
    if not is_accelerate_available():
        raise ValueError("Quantised weights need accelerate; run pip install 'planned-diffusion[int4]'.")
    place = {"": torch.device(device)}
    if is_stored:
        return {"dtype": dtype, "device_map": place}
    return {"dtype": torch.bfloat16, "quantization_config": quantization_config(dtype), "device_map": place}


def with_adapter(model: PlannedDiffusionForCausalLM, source: str, merge: bool) -> PlannedDiffusionForCausalLM:
    """Return the model with an adapter in its layers, or merged into its weights; a gated one with its gate.

    Raises:
        ValueError: an adapter that trains a prompt, which lies outside the layers, or one of another model.
    """
    from peft import PeftConfig, PeftModel, PeftType

    try:
        gated = stored_settings(source) if is_gated(source) else None
        if gated is None:
            trained_rows(source, PeftConfig.from_pretrained(source), {})  # or refuse a file that lacks them
        # PEFT makes 16-bit adapters float32 for training; a gated one would then convert the inputs of all rows.
        adapted = PeftModel.from_pretrained(model, source, config=gated, autocast_adapter_dtype=gated is None)
    except RuntimeError as error:
        raise ValueError(f"the adapter's weights do not fit its base ({first_line(error)})") from error
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(
            f"its adapter_config.json is broken or of another version of PEFT ({type(error).__name__}: "
            f"{first_line(error)})"
        ) from error
    check_adapter(adapted, source, "default", {})
    if gated is not None:
        gate_adapter(adapted)
    kind = adapted.active_peft_config
    if kind.is_prompt_learning:
        raise ValueError(
            f"it trains a prompt ({PeftType(kind.peft_type).value}), which generate would leave out; train LoRA or "
            "another adapter that changes layers"
        )
    return cast(PlannedDiffusionForCausalLM, adapted.merge_and_unload() if merge else adapted.get_base_model())
