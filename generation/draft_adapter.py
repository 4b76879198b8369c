"""How a gated adapter (draft_gate.py) is written down: PEFT's files, under a type of its own in adapter_config.json.

PEFT refuses a type that it does not know, so nobody loads such an adapter without its gate, which would change the
text: `PeftModel.from_pretrained` raises a KeyError that names the type. `load_adapter` of the models here, and with it
`AutoModelForCausalLM.from_pretrained`, know it.

PEFT is not imported here: transformers asks everybody who loads exported code for the libraries that it imports. It is
there where settings are made or read, since only PEFT puts adapters into a model.
"""

import functools
import sys
from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedConfig
from transformers.utils.peft_utils import find_adapter_config_file

KIND, PLAIN_KIND = "DRAFT_ROWS_LORA", "LORA"  # peft_type in adapter_config.json, and to PEFT
# Fields of LoraConfig that would train something which acts on all rows, or another variant of LoRA.
REFUSED = ("trainable_token_indices", "modules_to_save", "use_dora", "alora_invocation_tokens")


@functools.cache
def settings_class() -> type[Any]:
    """Return the class of a gated adapter's settings: PEFT's LoraConfig, which is saved under another type."""
    plain: type[Any] = sys.modules["peft"].LoraConfig

    class DraftLoraConfig(plain):
        """Settings of LoRA on draft rows."""

        def to_dict(self) -> dict[str, Any]:
            """Return what is saved."""
            return {**super().to_dict(), "peft_type": KIND}

    return DraftLoraConfig


def new_settings(**fields: Any) -> Any:
    """Return the settings of a gated adapter; PEFT must have been imported.

    Args:
        fields: of LoraConfig; without those that concern rows other than drafts.

    Raises:
        ValueError: such a field.
    """
    named = [name for name in REFUSED if fields.get(name)]
    if fields.get("bias", "none") != "none":
        named.append("bias")
    if named:
        raise ValueError(f"A gated adapter trains LoRA on draft rows alone, and {named[0]} is set; leave it out.")
    return settings_class()(**fields)


def are_gated(settings: object) -> bool:
    """Return whether the settings of an adapter, as a model holds them, are those of a gated one."""
    return any(kind.__name__ == "DraftLoraConfig" for kind in type(settings).__mro__)


def is_gated(source: str, place: Mapping[str, Any] | None = None) -> bool:
    """Return whether a folder or Hub repository holds a gated adapter.

    Args:
        place: where on the Hub it lies (revision, token, ...).
    """
    return _stored(source, place).get("peft_type") == KIND


def stored_settings(source: str, place: Mapping[str, Any] | None = None) -> Any:
    """Return the settings of a stored gated adapter; PEFT must have been imported.

    Args:
        place: as in `is_gated`.

    Raises:
        ValueError: settings that this version of PEFT does not know, or that concern rows other than drafts.
    """
    try:
        return new_settings(**{**_stored(source, place), "peft_type": PLAIN_KIND})
    except TypeError as error:
        raise ValueError(
            f"The adapter_config.json of {source} was written for another version of PEFT ({error}); run pip install "
            "-U peft."
        ) from error


def _stored(source: str, place: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the content of an adapter's adapter_config.json; nothing where there is none."""
    file = find_adapter_config_file(source, **(place or {}))
    stored = {} if file is None else PreTrainedConfig.get_config_dict(file)[0]
    return {name: value for name, value in stored.items() if name != "_commit_hash"}  # transformers 5.17 puts it there
