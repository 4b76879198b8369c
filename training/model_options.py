"""How the model of a run is loaded: arguments of `from_pretrained`, the script's own and those of `model_init_kwargs`.

TRL's `model_init_kwargs` is obeyed. Where a field of the script says otherwise, the field wins, with a warning.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from trl.trainer.sft_config import SFTConfig

from .adapters import AdapterArguments
from .script_arguments import ScriptArguments

ATTENTION = "sdpa"
DTYPES = ("auto", "float32", "bfloat16", "float16")
# Arguments that say where a checkpoint lies: they find its configuration and tokenizer, too.
PLACE = ("revision", "cache_dir", "token", "local_files_only", "force_download", "proxies", "subfolder")
# Arguments that would load other weights than those of the checkpoint.
REFUSED = ("config", "state_dict", "gguf_file", "ignore_mismatched_sizes", "key_mapping")
# Arguments with one right value: weights without code in them, nothing left out silently, no cache while training.
FIXED = {"use_safetensors": True, "output_loading_info": True, "use_cache": False}
NEW_MODEL = ("attn_implementation", "dtype")  # what means something where nothing is loaded


@dataclass(frozen=True)
class ModelOptions:
    """The arguments of `from_pretrained` that the fields of a run and its `model_init_kwargs` come to.

    Attributes:
        attn_implementation: how attention is computed.
        trust_remote_code: run the code of the checkpoint.
        dtype: data type of the weights; "auto" that of the file; None where nobody asked for one.
        quantization_config: from `model_init_kwargs`, None where there is none or the script's own fields say how.
        more: the other arguments.
    """

    attn_implementation: str
    trust_remote_code: bool
    dtype: torch.dtype | str | None
    quantization_config: Mapping[str, Any] | None
    more: dict[str, Any]

    @property
    def place(self) -> dict[str, Any]:
        """The arguments that say where the checkpoint lies."""
        return {name: value for name, value in self.more.items() if name in PLACE}


def model_options(script: ScriptArguments, args: SFTConfig, adapter: AdapterArguments) -> ModelOptions:
    """Return how the model is loaded; warn of `model_init_kwargs` that fields of the script overrule.

    Raises:
        ValueError: `model_init_kwargs` that is no mapping, or holds something that a training run cannot obey.
    """
    given = _given(args)
    _check(given, script.from_scratch)
    ours: dict[str, Any] = dict(FIXED)
    if script.attn_implementation is not None:
        ours["attn_implementation"] = script.attn_implementation
    if args.trust_remote_code:
        ours["trust_remote_code"] = True
    if adapter.is_quantised:
        ours["quantization_config"] = "load_in_8bit" if adapter.load_in_8bit else "load_in_4bit"
    for name in sorted(ours.keys() & given.keys()):
        if given[name] != ours[name] and args.process_index == 0:
            print(
                f"warning: model_init_kwargs sets {name} to {given[name]!r}, and this run uses {ours[name]!r}.",
                file=sys.stderr,
            )
    free = {name: value for name, value in given.items() if name not in ours}
    return ModelOptions(
        attn_implementation=ours.get("attn_implementation") or free.pop("attn_implementation", None) or ATTENTION,
        trust_remote_code=bool(ours.get("trust_remote_code") or free.pop("trust_remote_code", False)),
        dtype=_dtype(free.pop("dtype", None)),
        quantization_config=free.pop("quantization_config", None),
        more=free,
    )


def _given(args: SFTConfig) -> dict[str, Any]:
    """Return a copy of `model_init_kwargs`, with the new name of an old argument."""
    given = args.model_init_kwargs
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise ValueError(f"model_init_kwargs is {given!r}; give a mapping of arguments, such as {{dtype: bfloat16}}.")
    given = dict(given)
    if "torch_dtype" in given:
        given.setdefault("dtype", given.pop("torch_dtype"))
    return given


def _check(given: Mapping[str, Any], from_scratch: str | None) -> None:
    """Raise ValueError where `model_init_kwargs` holds something that a training run cannot obey."""
    refused = [name for name in REFUSED if given.get(name)]
    if refused:
        raise ValueError(
            f"model_init_kwargs holds {refused[0]}, which would change the weights that are loaded; leave it out, and "
            "give model the checkpoint to train."
        )
    if from_scratch is not None and given.keys() - set(NEW_MODEL):
        name = min(given.keys() - set(NEW_MODEL))
        raise ValueError(
            f"model_init_kwargs holds {name}, which says how a checkpoint is loaded, and from_scratch loads none; "
            f"leave it out, or set it in {from_scratch}."
        )
    quantised = given.get("quantization_config")
    if quantised is not None and not isinstance(quantised, Mapping):
        raise ValueError(
            f"model_init_kwargs sets quantization_config to {quantised!r}; give a mapping such as {{load_in_4bit: "
            "true, bnb_4bit_quant_type: nf4}, or leave it out and set load_in_4bit."
        )


def _dtype(given: object) -> torch.dtype | str | None:
    """Return the data type that `model_init_kwargs` names."""
    if given is None or isinstance(given, torch.dtype):
        return given
    if not isinstance(given, str) or given not in DTYPES:
        raise ValueError(f"model_init_kwargs sets dtype to {given!r}; give one of {', '.join(DTYPES)}.")
    return given if given == "auto" else getattr(torch, given)
