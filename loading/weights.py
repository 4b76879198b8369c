"""Load the weights of a checkpoint and refuse what does not fit: nothing is left out, made up or misread silently."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, cast

from transformers import PreTrainedConfig

from ..checkpoint_planned_diffusion import CheckpointError, check_weights
from ..modeling_planned_diffusion import PlannedDiffusionForCausalLM
from ..records.checks import first_line
from .stored_quantisation import stored_quantisation

# What transformers and the libraries of quantisation raise where one cannot be loaded here.
QUANTISATION_FAULTS = (ImportError, RuntimeError, TypeError, AttributeError, KeyError, ValueError)

Loader = Callable[..., Any]  # a from_pretrained of PlannedDiffusionForCausalLM or of AutoModelForCausalLM


@contextmanager
def naming(source: str) -> Iterator[None]:
    """Turn errors of loading into a ValueError that names the checkpoint and says what to give.

    Raises:
        ValueError: whatever OSError or ValueError comes from inside.
    """
    try:
        yield
    except CheckpointError:  # its message is complete
        raise
    except ValueError as error:
        raise ValueError(f"{source} cannot be loaded: {first_line(error)}.") from error
    except OSError as error:
        raise ValueError(
            f"{source} cannot be loaded: {first_line(error)}; give the folder or Hub repository of a "
            "planned-diffusion checkpoint with its tokenizer."
        ) from error


def stored_config(source: str, **place: str | bool) -> dict[str, Any]:
    """Return the contents of a checkpoint's config.json; `place` says where on the Hub it lies (revision, ...)."""
    config: object = None
    with naming(source), suppress(TypeError, AttributeError):  # older versions of transformers take it for an object
        config, _ = PreTrainedConfig.get_config_dict(source, **place)
    if not isinstance(config, dict):
        raise ValueError(f"The config.json of {source} holds no JSON object; save the checkpoint again.")
    return config


def load_weights(
    from_pretrained: Loader, source: str, config: Mapping[str, Any], **options: Any
) -> PlannedDiffusionForCausalLM:
    """Return the model of a checkpoint with all its weights.

    Args:
        config: the contents of its config.json.
        options: further arguments of `from_pretrained`.

    Raises:
        ValueError: weights that are missing, have no place in the model or other shapes (`CheckpointError`), a
            quantisation that cannot be loaded here, or no weights at all.
    """
    stored = stored_quantisation(config)
    with naming(source), _explaining(source, stored):
        model, info = from_pretrained(source, output_loading_info=True, **options)
        check_weights(source, info)
    return cast(PlannedDiffusionForCausalLM, model)


@contextmanager
def _explaining(source: str, stored: str | None) -> Iterator[None]:
    """Turn errors of loading weights that are stored quantised into a ValueError that says so."""
    try:
        yield
    except QUANTISATION_FAULTS as error:
        if stored is None:
            raise
        raise ValueError(
            f"its weights are stored quantised as {stored}, which does not load here ({first_line(error)})"
        ) from error
