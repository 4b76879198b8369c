"""The model: any decoder backbone, a language-model head, and `generate`, which plans an answer and fills its spans."""

import sys
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.utils.generic import can_return_tuple
from transformers.utils.hub import TRANSFORMERS_DYNAMIC_MODULE_NAME

from .checkpoint_planned_diffusion import (
    TRANSITION,
    adapter_weights,
    check_adapter,
    load_trained_rows,
    load_whole,
    save_transition,
    with_transition,
    without_trained_rows,
)
from .configuration_planned_diffusion import PlannedDiffusionConfig
from .generation.cache_names import OUTPUT_FIELD, cache_argument
from .generation.config import PlannedDiffusionGenerationConfig
from .generation.draft_adapter import is_gated, stored_settings
from .generation.draft_gate import gate_adapter
from .generation.draft_transition import DraftTransition
from .generation.mixin import PlannedDiffusionGenerationMixin
from .generation.visibility import additive_mask

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask
    from transformers import Cache, PreTrainedConfig

# Config fields by which some native models rescale logits; unsupported here unless None or 1.
LOGIT_SCALING_FIELDS = (
    "final_logit_softcapping", "logits_soft_cap", "logit_scale", "logits_scaling", "lm_head_multiplier",
)  # fmt: skip


class PlannedDiffusionPreTrainedModel(PreTrainedModel):
    """The base class: how checkpoints are loaded and saved.

    The capabilities below are upper bounds; `PlannedDiffusionForCausalLM` takes those of its backbone.
    """

    config_class = PlannedDiffusionConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True
    draft_transition: DraftTransition | None = None  # no parameter: it moves guesses, which decide no token

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | PathLike[str] | None, *args: Any, **kwargs: Any
    ) -> Self:
        """Load as inherited, from safetensors only: other formats of weights can hold code.

        Raises:
            ValueError: broken files, or weights that are missing, left over or of other shapes; with
                `output_loading_info=True` such names are returned instead.
        """
        load = super().from_pretrained
        loaded = load_whole(load, pretrained_model_name_or_path, *args, **{**kwargs, "use_safetensors": True})
        return with_transition(loaded, pretrained_model_name_or_path, kwargs, replace=False)

    def load_adapter(self, peft_model_id: str | None = None, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Load an adapter as inherited, with its trained rows of tokens, which transformers may lose.

        Raises:
            CheckpointError: a broken file of weights, or one that does not fit adapter_config.json.
        """
        name = kwargs.get("adapter_name") or (args[0] if args else None) or "default"
        place = kwargs.get("adapter_kwargs") or {}
        load = super().load_adapter
        if peft_model_id is None:
            return without_trained_rows(load(peft_model_id, *args, **kwargs))
        adapter_weights(peft_model_id, place)  # or refuse a broken file
        try:
            info = load(peft_model_id, *args, **kwargs)
        except (KeyError, ValueError):  # PEFT does not know the type of a gated adapter
            if not is_gated(peft_model_id, place):
                raise
            info = load(peft_model_id, *args, **kwargs, peft_config=stored_settings(peft_model_id, place))
            gate_adapter(self, name)  # it acts on the rows of drafts alone
        else:
            load_trained_rows(self, peft_model_id, name, place)
        check_adapter(self, peft_model_id, name, place)
        with_transition(self, peft_model_id, place)
        return without_trained_rows(info)

    def save_pretrained(
        self, save_directory: str | PathLike[str], is_main_process: bool = True, *args: Any, **kwargs: Any
    ) -> None:
        """Save as inherited, with the code beside the weights, so that `trust_remote_code=True` loads them.

        The installed package writes it; of a class that came with a checkpoint, transformers copies its own. Adapters
        are saved without a config, so they get no code.
        """
        write_flat_code = getattr(sys.modules.get(str(__package__)), "write_flat_code", None)
        if write_flat_code is not None and is_main_process and not getattr(self, "_hf_peft_config_loaded", False):
            self.config.auto_map = write_flat_code(save_directory)
            save_transition(self.draft_transition, save_directory)  # into a folder that is there, before an upload
        super().save_pretrained(save_directory, is_main_process, *args, **kwargs)
        save_transition(self.draft_transition if is_main_process else None, save_directory)

    def _get_files_timestamps(self, working_dir: str | PathLike[str]) -> dict[str, float]:
        """Return times of all files but those that `save_pretrained` wrote before: an upload takes them as new."""
        found = super()._get_files_timestamps(working_dir)
        return {name: changed for name, changed in found.items() if not name.endswith((".py", TRANSITION))}


class PlannedDiffusionForCausalLM(PlannedDiffusionPreTrainedModel, PlannedDiffusionGenerationMixin):
    """A causal language model on any decoder of transformers, with the native model's parameter names and logits.

    `config.backbone_config` configures the decoder. `forward` is that of an ordinary causal language model; `generate`
    (see `PlannedDiffusionGenerationMixin`) plans an answer and fills its spans.

    Raises:
        ValueError: a backbone whose native model names its parameters otherwise, or rescales its logits.
    """

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}
    _tp_plan = {"lm_head": "colwise_gather_output"}
    _pp_plan = {"lm_head": (["hidden_states"], ["logits"])}  # pyright: ignore[reportAssignmentType]  # as theirs
    # On the final class: PreTrainedModel defines the attribute too and would shadow a mixin's.
    generation_config_class = PlannedDiffusionGenerationConfig

    def __init__(self, config: PlannedDiffusionConfig) -> None:
        super().__init__(config)
        self.model = AutoModel.from_config(config.backbone_config)
        self._check_backbone(config.backbone_config)
        self._no_split_modules = self.model._no_split_modules
        self._cache_argument = cache_argument(self.model)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def _check_backbone(self, backbone: "PreTrainedConfig") -> None:
        """Refuse a backbone whose checkpoints would load wrongly or whose native logits differ."""
        changes = [name for name in LOGIT_SCALING_FIELDS if getattr(backbone, name, None) not in (None, 1)]
        if changes:
            raise ValueError(
                f"{backbone.model_type} rescales its logits ({changes[0]}={getattr(backbone, changes[0])}), which this "
                "model does not; choose another backbone."
            )
        if not hasattr(self.model, "embed_tokens"):
            raise ValueError(
                f"{backbone.model_type} keeps its embedding elsewhere than in embed_tokens, so its weights are not "
                "found; choose a backbone that is built like Llama."
            )

    def get_input_embeddings(self) -> nn.Module:
        """Return the backbone's embedding."""
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the backbone's embedding."""
        self.model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Linear:
        """Return the language-model head."""
        return self.lm_head

    def set_output_embeddings(self, value: nn.Linear) -> None:
        """Replace the language-model head."""
        self.lm_head = value

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: "torch.Tensor | BlockMask | None" = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values: "Cache | None" = None,
        inputs_embeds: torch.FloatTensor | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        cache: "Cache | None" = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Compute next-token logits, as any causal language model does; a 4-D mask or a BlockMask limits attention.

        Args:
            input_ids: int64 [B, N].
            attention_mask: None, [B, N] (1 = token, 0 = padding), bool or additive float [B, 1, N, S] (True = visible),
                or a FlexAttention `BlockMask`. A bool mask is made additive for eager attention.
            position_ids: int64 [B, N]; counted from the cache's length when omitted.
            past_key_values: the keys and values of earlier tokens; `cache` is its name from transformers 5.24 on.
            labels: int64 [B, N], the ids themselves (shifted inside); -100 is ignored.
            logits_to_keep: rows that get logits: the last k (0: all), or their indices, int64 [K].

        Returns:
            `CausalLMOutputWithPast` with logits [B, K, V] and, with labels, the mean next-token loss.
        """
        if isinstance(attention_mask, torch.Tensor) and attention_mask.dim() == 4:
            attention_mask = self._expressible(attention_mask)
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **{self._cache_argument: past_key_values if cache is None else cache},
            **kwargs,
        )
        hidden_states = outputs.last_hidden_state  # [B, N, H]
        rows = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(hidden_states[:, rows])  # [B, K, V]
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            **{OUTPUT_FIELD: getattr(outputs, OUTPUT_FIELD)},
        )

    def _expressible(self, mask: torch.Tensor) -> torch.Tensor:
        """Return a 4-D mask in the form that the attention implementation reads.

        Raises:
            ValueError: flex_attention, which would read it wrongly without an error.
        """
        implementation = self.model.config._attn_implementation
        if implementation == "flex_attention":
            raise ValueError(
                "flex_attention reads a BlockMask, not a 4-D tensor; build one with flex_mask of generation.visibility"
                ', or call model.set_attn_implementation("sdpa").'
            )
        if mask.dtype == torch.bool and implementation == "eager":
            return additive_mask(mask, self.dtype)
        return mask


# Code that a checkpoint carries is not registered: it would also serve checkpoints that carry other code.
if not __name__.startswith(TRANSFORMERS_DYNAMIC_MODULE_NAME):
    AutoConfig.register(PlannedDiffusionConfig.model_type, PlannedDiffusionConfig, exist_ok=True)
    AutoModel.register(PlannedDiffusionConfig, PlannedDiffusionForCausalLM, exist_ok=True)
    AutoModelForCausalLM.register(PlannedDiffusionConfig, PlannedDiffusionForCausalLM, exist_ok=True)

__all__ = ["PlannedDiffusionForCausalLM", "PlannedDiffusionPreTrainedModel"]
