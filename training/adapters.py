"""LoRA and QLoRA: the modules that get adapters, the control tokens learnt beside them, settings that are refused.

Fields have TRL's names (`ModelConfig`). The backbone stays frozen, in bfloat16 or quantised. LoRA (arXiv 2106.09685)
trains on linear layers, and with it the embedding rows of the control tokens, in the head too where it is untied.
With `lora_gated` it acts on the rows of drafts alone (generation/draft_gate.py), and no embedding row trains: those are
read in all rows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import nn
from transformers import PreTrainedModel

from ..generation.draft_adapter import new_settings
from ..generation.tokens import ControlTokens

if TYPE_CHECKING:
    from peft import LoraConfig

# Names of the linear layers in Llama-shaped decoders (Llama, Qwen2, Qwen3, Mistral, SmolLM).
TARGETS = {
    "attention": ["q_proj", "k_proj", "v_proj", "o_proj"],
    "mlp": ["gate_proj", "up_proj", "down_proj"],
}
CASTS = "cast_input_dtype_enabled"  # PEFT's attribute of a layer that makes its input float32 for its adapter
ALL_LINEAR = "all-linear"  # PEFT's word for every linear layer but the head


@dataclass
class AdapterArguments:
    """Fields of the script that concern adapters; without `use_peft` all weights train."""

    use_peft: bool = field(default=False, metadata={"help": "Train LoRA adapters instead of all weights."})
    lora_r: int = field(default=16, metadata={"help": "Rank of the LoRA adapters."})
    lora_alpha: int = field(
        default=32, metadata={"help": "Scale of the adapters: their updates are multiplied by lora_alpha / lora_r."}
    )
    lora_dropout: float = field(default=0.0, metadata={"help": "Dropout probability in front of the adapters."})
    lora_target_modules: list[str] = field(
        default_factory=lambda: [ALL_LINEAR],
        metadata={"help": "Layers that get adapters: 'all-linear', 'attention', 'mlp', or names of linear layers."},
    )
    train_control_tokens: bool = field(
        default=True,
        metadata={"help": "Train the embedding rows of mask, tags and [PAD] beside adapters without a gate."},
    )
    # The base keeps every token that it writes; what trains is a drafter beside it.
    lora_gated: bool = field(
        default=False,
        metadata={
            "help": "Let the adapters act on the blanks of drafts alone, and train nothing but drafts: text, plans and "
            "embedding rows stay those of the model."
        },
    )
    load_in_4bit: bool = field(
        default=False, metadata={"help": "Quantise the frozen weights to nf4 (QLoRA; bitsandbytes)."}
    )
    load_in_8bit: bool = field(default=False, metadata={"help": "Quantise the frozen weights to int8 (bitsandbytes)."})
    use_bnb_nested_quant: bool = field(
        default=True, metadata={"help": "Quantise the constants of nf4 too, which saves 0.4 bit per weight."}
    )

    @property
    def is_quantised(self) -> bool:
        """Whether the frozen weights are quantised."""
        return self.load_in_4bit or self.load_in_8bit


def check_adapter(adapter: AdapterArguments, evaluates: bool, on_cpu: bool) -> None:
    """Reject combinations that cannot train, before anything is loaded.

    Raises:
        ValueError: quantised full fine-tuning, gated adapters without adapters, both quantisations, a rank below 1, or
            evaluation between nf4 steps on a CPU.
    """
    if adapter.lora_gated and not adapter.use_peft:
        raise ValueError("lora_gated is set, and there are no adapters to gate; add use_peft: true, or leave it out.")
    if adapter.is_quantised and not adapter.use_peft:
        raise ValueError(
            "Quantised weights cannot be trained themselves; add use_peft: true (QLoRA), or leave load_in_4bit and "
            "load_in_8bit out."
        )
    if adapter.load_in_4bit and adapter.load_in_8bit:
        raise ValueError("load_in_4bit and load_in_8bit are both set; choose one.")
    if adapter.use_peft and adapter.lora_r < 1:
        raise ValueError(f"lora_r is {adapter.lora_r}; give a rank of at least 1.")
    check_evaluation("nf4" if adapter.load_in_4bit else None, evaluates, on_cpu)


def check_evaluation(quantisation: str | None, evaluates: bool, on_cpu: bool) -> None:
    """Reject evaluation between training steps where it would spoil the frozen weights.

    Raises:
        ValueError: weights in 4 bits, and evaluation on a CPU.
    """
    if quantisation in ("nf4", "fp4") and on_cpu and evaluates:
        raise ValueError(
            f"On a CPU bitsandbytes repacks {quantisation} weights when it evaluates, and gradients are wrong from "
            "then on; set eval_strategy: no and evaluate the saved adapter afterwards, or train on a GPU."
        )


def lora_config(adapter: AdapterArguments, model: PreTrainedModel) -> "LoraConfig | None":
    """Return the `LoraConfig` for this model, or None when all weights train.

    Raises:
        ValueError: a target that names no linear layer of the model.
    """
    if not adapter.use_peft:
        return None
    from peft import LoraConfig

    trains_rows = adapter.train_control_tokens and not adapter.lora_gated
    make = new_settings if adapter.lora_gated else LoraConfig
    return make(
        task_type="CAUSAL_LM",
        r=adapter.lora_r,
        lora_alpha=adapter.lora_alpha,
        lora_dropout=adapter.lora_dropout,
        target_modules=target_modules(adapter.lora_target_modules, model),
        trainable_token_indices=_control_rows(model) if trains_rows else None,
    )


def target_modules(wanted: list[str], model: PreTrainedModel) -> str | list[str]:
    """Return PEFT's `target_modules`: "all-linear", or the names of layers that this model has.

    Raises:
        ValueError: a name that no linear layer of the model has.
    """
    if wanted == [ALL_LINEAR]:
        return ALL_LINEAR
    names = [name for word in wanted for name in TARGETS.get(word, [word])]
    head = model.get_output_embeddings()
    linear = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not head
    }
    absent = [name for name in names if name not in linear]
    if absent or not names:
        raise ValueError(
            f"lora_target_modules names {', '.join(absent) or 'nothing'}; choose 'all-linear', 'attention', 'mlp', or "
            f"from this model's linear layers {', '.join(sorted(linear))}."
        )
    return names


@contextmanager
def without_needless_casts(model: nn.Module, mixed_precision: str) -> Iterator[None]:
    """Keep PEFT from making the inputs of adapters float32 where autocast rounds them again right away.

    Nothing changes but the time: bfloat16 to float32 and back is exact.

    Args:
        model: the model inside wrappers; one without adapters is left alone.
        mixed_precision: as accelerate calls it; "no" where the forward runs without autocast.
    """
    # PEFT's own `disable_input_dtype_casting` stumbles over layers of trained tokens, which lack the attribute.
    casting = [] if mixed_precision == "no" else [layer for layer in model.modules() if getattr(layer, CASTS, False)]
    for layer in casting:
        setattr(layer, CASTS, False)
    try:
        yield
    finally:
        for layer in casting:
            setattr(layer, CASTS, True)


def _control_rows(model: PreTrainedModel) -> dict[str, list[int]]:
    """Return the embedding rows of mask, tags and [PAD], and those of the head where it has a matrix of its own."""
    ids = sorted(ControlTokens.from_config(model.config).tags)
    rows = {"embed_tokens": ids}
    head = model.get_output_embeddings()
    assert head is not None
    if head.weight is not model.get_input_embeddings().weight:
        rows["lm_head"] = ids
    return rows
