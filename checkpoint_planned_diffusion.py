"""Load a checkpoint only if it is whole: every weight is there, is the model's, and has its shape."""

import sys
from collections.abc import Callable, Mapping
from os import PathLike
from typing import Any, TypeVar

import torch
from torch import nn
from transformers.modeling_utils import load_state_dict
from transformers.utils.hub import cached_file

from .generation.draft_transition import DraftTransition

# Errors of libraries that mean broken files; they are raised in words that name no file.
BROKEN = (ArithmeticError, AssertionError, AttributeError, IndexError, KeyError, TypeError)
BY_NAME = ("SafetensorError", "JSONDecodeError")  # the same, of libraries that exported code does not import
ADAPTER, OLD_ADAPTER = "adapter_model.safetensors", "adapter_model.bin"
TRANSITION = "draft_transition.safetensors"
ROWS = "trainable_tokens_delta"
PREFIX = "base_model.model."  # which PEFT puts before the names of a model
PLACES = ("cache_dir", "revision", "subfolder", "token")
SAVE_ADAPTER = "save the adapter again with model.save_pretrained of PEFT"
AGAIN = "save the checkpoint again, or download it again"
Source = str | PathLike[str]
T = TypeVar("T")


class CheckpointError(ValueError):
    """A checkpoint whose files are broken or do not belong together; the message is complete."""


def load_whole(load: Callable[..., Any], source: Source | None, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
    """Return what `from_pretrained` of transformers returns, or refuse a checkpoint that is not whole.

    With `output_loading_info=True` differing names and shapes are the caller's business and are not refused.

    Raises:
        CheckpointError: broken files, or weights that are missing, left over or of other shapes.
    """
    asked = {name: bool(kwargs.pop(name, False)) for name in ("output_loading_info", "ignore_mismatched_sizes")}
    try:
        model, info = load(source, *args, **kwargs, output_loading_info=True, ignore_mismatched_sizes=True)
    except BROKEN as error:
        if "unexpected keyword argument" in str(error):  # the caller's mistake
            raise
        raise CheckpointError(f"{source} cannot be loaded ({_reason(error)}); {AGAIN}.") from error
    except Exception as error:
        if type(error).__name__ not in BY_NAME:
            raise
        raise CheckpointError(f"{source} has a broken file of weights ({_reason(error)}); {AGAIN}.") from error
    if not asked["output_loading_info"]:
        check_weights(source, info, may_differ=asked["ignore_mismatched_sizes"])
    return (model, info) if asked["output_loading_info"] else model


def check_weights(source: Source | None, info: dict[str, Any], may_differ: bool = False) -> None:
    """Refuse weights that are missing, left over, or of other shapes, as `from_pretrained` reports them.

    Raises:
        CheckpointError: names the first of them.
    """
    mismatched = sorted(info["mismatched_keys"], key=str)
    if mismatched and not may_differ:
        name, stored, expected = mismatched[0]
        raise CheckpointError(
            f"{source} stores {_first([name] * len(mismatched))} with shape {list(stored)}, and its config.json says "
            f"{list(expected)}; take the config.json that belongs to these weights."
        )
    missing, left_over = sorted(info["missing_keys"]), sorted(info["unexpected_keys"])
    if missing and not may_differ:
        raise CheckpointError(f"{source} lacks {len(missing)} weights, such as {missing[0]}; {AGAIN}.")
    if left_over:
        raise CheckpointError(
            f"{source} stores {_first(left_over)}, which its config.json has no place for; take the config.json that "
            "belongs to these weights (output_loading_info=True loads the others)."
        )


def load_trained_rows(model: nn.Module, adapter: Source, name: str, place: Mapping[str, Any]) -> None:
    """Give a model with an adapter the adapter's trained rows of tokens (`trainable_token_indices` of PEFT).

    transformers 5.17 does not find them in the adapter's file, and later versions miss those of a tied head.

    Args:
        name: name of the adapter in the model.
        place: where on the Hub the adapter lies (revision, token, ...).

    Raises:
        CheckpointError: the file lacks rows that the adapter's config names, or has another number of them.
    """
    settings: Any = getattr(model, "peft_config", {}).get(name)
    for path, rows in trained_rows(adapter, settings, place).items():
        module: Any = model.get_submodule(path)
        expected = module.trainable_tokens_delta[name]
        if rows.shape != expected.shape:
            raise CheckpointError(
                f"{adapter} stores {list(rows.shape)} trained rows of {path}, and its adapter_config.json says "
                f"{list(expected.shape)}; {SAVE_ADAPTER}."
            )
        with torch.no_grad():
            expected.copy_(rows)


def trained_rows(adapter: Source, settings: Any, place: Mapping[str, Any]) -> dict[str, torch.Tensor]:  # noqa: ANN401
    """Return the trained rows in an adapter's file by the module whose they are; none where it is no safetensors file.

    Args:
        settings: the adapter's config (`PeftConfig`).
        place: as for `load_trained_rows`.

    Raises:
        CheckpointError: the file lacks rows that the config names.
    """
    stored = adapter_weights(adapter, place)
    if not stored:
        return {}
    found = {key.removesuffix(f".{ROWS}"): rows for key, rows in stored.items() if key.endswith(f".{ROWS}")}
    named = getattr(settings, "trainable_token_indices", None) or ()
    wanted = named if isinstance(named, dict) else ("embed_tokens",) if named else ()
    missing = [module for module in wanted if not any(module in path.split(".") for path in found)]
    if missing:
        raise CheckpointError(
            f"{adapter} lacks the trained rows of {' and '.join(missing)}, which its adapter_config.json names "
            f"(trainable_token_indices); {SAVE_ADAPTER}, or take those indices out to go without them."
        )
    return found


def adapter_weights(adapter: Source, place: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Return the tensors of an adapter's file by their names in the model; none where it is no safetensors file.

    Args:
        place: as for `load_trained_rows`.

    Raises:
        CheckpointError: no file, a broken one, or one that holds no tensors, or integers.
    """
    options = {key: place[key] for key in PLACES if place.get(key) is not None}
    file = cached_file(str(adapter), ADAPTER, **options, _raise_exceptions_for_missing_entries=False)
    if file is None:
        if cached_file(str(adapter), OLD_ADAPTER, **options, _raise_exceptions_for_missing_entries=False) is None:
            raise CheckpointError(f"{adapter} lacks {ADAPTER}, the adapter's weights; {SAVE_ADAPTER}.")
        return {}
    try:
        stored = {key.removeprefix(PREFIX): tensor for key, tensor in load_state_dict(file).items()}
    except Exception as error:
        if type(error).__name__ not in BY_NAME:
            raise
        raise CheckpointError(f"{adapter} has a broken file of weights ({_reason(error)}); {SAVE_ADAPTER}.") from error
    odd = [key for key, tensor in stored.items() if not tensor.is_floating_point()]
    if odd or not stored:
        holds = f"stores {_first(odd)} as {stored[odd[0]].dtype}" if odd else f"stores no tensors in {ADAPTER}"
        raise CheckpointError(f"{adapter} {holds}, which no adapter can use; {SAVE_ADAPTER}.")
    return stored


def check_adapter(model: nn.Module, adapter: Source, name: str, place: Mapping[str, Any]) -> None:
    """Refuse an adapter whose file lacks some of its weights or holds some that have no place in it.

    PEFT and transformers load what fits and leave the rest as it is: in the end, the base alone would answer. Trained
    rows of tokens are the business of `load_trained_rows`, and rows of the vocabulary may come along.

    Args:
        model: it has the adapter in its layers; PEFT has been imported.
        name, place: as for `load_trained_rows`.

    Raises:
        CheckpointError: names the first of them.
    """
    stored = {key for key in adapter_weights(adapter, place) if ROWS not in key}
    if not stored:
        return
    saved = sys.modules["peft"].get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    wanted = {key.removeprefix(PREFIX) for key in saved if ROWS not in key}
    of_base = {key.removeprefix(PREFIX).replace(".base_layer.", ".") for key, _ in model.named_parameters()}
    missing, left_over = sorted(wanted - stored), sorted(stored - wanted - of_base)
    if missing or left_over:
        odd = f"lacks {_first(missing)}, which" if missing else f"stores {_first(left_over)}, and"
        says = "names" if missing else "names no such weights"
        raise CheckpointError(f"{adapter} {odd} its adapter_config.json {says}; {SAVE_ADAPTER}.")


def without_trained_rows(info: Any) -> Any:  # noqa: ANN401
    """Return what transformers says of an adapter's loading, without the rows that `load_trained_rows` loads."""
    for keys in ("missing_keys", "unexpected_keys"):
        found = getattr(info, keys, None)
        if found:
            setattr(info, keys, {key for key in found if ROWS not in key})
    return info


def with_transition(loaded: T, source: Source | None, place: Mapping[str, Any], replace: bool = True) -> T:
    """Give a model, or one with what was said of its loading, the transition that lies where its weights do, if any.

    Args:
        place: as for `load_trained_rows`.
        replace: also where it has one already, such as that of its adapter.

    Raises:
        CheckpointError: a broken file, or one of another model.
    """
    model: Any = loaded[0] if isinstance(loaded, tuple) else loaded
    if model.draft_transition is not None and not replace:
        return loaded
    options = {key: place[key] for key in (*PLACES, "local_files_only") if place.get(key) is not None}
    absent = {f"_raise_exceptions_for_{cause}": False for cause in ("missing_entries", "connection_errors")}
    file = None if source is None else cached_file(str(source), TRANSITION, **options, **absent)
    if file is None:
        return loaded
    without = "or delete it: guesses are then worse, and no token is another"
    try:
        stored = load_state_dict(file)
        before, after = stored["before"].float(), stored["after"].float()
    except Exception as error:
        if not isinstance(error, BROKEN) and type(error).__name__ not in BY_NAME:
            raise
        broken = f"{source} has a broken {TRANSITION} ({_reason(error)}); download it again, {without}."
        raise CheckpointError(broken) from error
    width = model.config.hidden_size
    if before.shape != after.shape or before.dim() != 2 or before.shape[1] != width:
        raise CheckpointError(
            f"{source} has a {TRANSITION} of shapes {list(before.shape)} and {list(after.shape)}, and its model is "
            f"{width} wide; take the file that belongs to these weights, {without}."
        )
    model.draft_transition = DraftTransition(before, after)
    return loaded


def save_transition(transition: DraftTransition | None, folder: Source) -> None:
    """Write a model's transition, if it has one, beside its weights, in bfloat16."""
    if transition is not None:
        tensors = {"before": transition.before, "after": transition.after}
        stored = {name: tensor.detach().to("cpu", torch.bfloat16).contiguous() for name, tensor in tensors.items()}
        # Of a library that transformers imports.
        sys.modules["safetensors.torch"].save_file(stored, f"{folder}/{TRANSITION}", metadata={"format": "pt"})


def _first(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} (and {len(names) - 1} more)"


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".:;")
