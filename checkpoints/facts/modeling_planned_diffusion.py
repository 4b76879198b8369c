"""PlannedDiffusionForCausalLM: any decoder backbone, a language-model head, and `generate`, which plans and fills."""

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.utils import TRANSFORMERS_DYNAMIC_MODULE_NAME, can_return_tuple

from .configuration_planned_diffusion import PlannedDiffusionConfig
from .generation_config import PlannedDiffusionGenerationConfig
from .generation_mixin import PlannedDiffusionGenerationMixin
from .generation_visibility import additive_mask

# What some native heads do to their logits and this one does not; nothing where the value is None or 1.
BEHIND_THE_HEAD = (
    "final_logit_softcapping", "logits_soft_cap", "logit_scale", "logits_scaling", "lm_head_multiplier",
)  # fmt: skip


class PlannedDiffusionPreTrainedModel(PreTrainedModel):
    """Capabilities are the backbone's own; `PlannedDiffusionForCausalLM` copies them when it is built."""

    config_class = PlannedDiffusionConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True

    @classmethod
    def from_pretrained(cls, *args, **kwargs):
        """As inherited, from safetensors only: other formats of weights can hold code."""
        return super().from_pretrained(*args, **{**kwargs, "use_safetensors": True})


class PlannedDiffusionForCausalLM(PlannedDiffusionPreTrainedModel, PlannedDiffusionGenerationMixin):
    """A decoder of transformers with parameter names and logits equal to its native causal language model.

    `config.backbone_config` says which decoder. `forward` is that of an ordinary causal language model; `generate`
    (see `PlannedDiffusionGenerationMixin`) plans and fills.

    Raises:
        ValueError: a backbone whose native model names its parameters otherwise, or changes its logits behind the head.
    """

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}
    _tp_plan = {"lm_head": "colwise_gather_output"}
    _pp_plan = {"lm_head": (["hidden_states"], ["logits"])}
    # On the final class: PreTrainedModel defines the attribute too and would shadow a mixin's.
    generation_config_class = PlannedDiffusionGenerationConfig

    def __init__(self, config: PlannedDiffusionConfig):
        super().__init__(config)
        self.model = AutoModel.from_config(config.backbone_config)
        self._refuse_other_kinds(config.backbone_config)
        self._no_split_modules = self.model._no_split_modules
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def _refuse_other_kinds(self, backbone) -> None:
        changes = [name for name in BEHIND_THE_HEAD if getattr(backbone, name, None) not in (None, 1)]
        if changes:
            raise ValueError(
                f"{backbone.model_type} changes its logits behind the head ({changes[0]}="
                f"{getattr(backbone, changes[0])}), which this model does not; choose another backbone."
            )
        if not hasattr(self.model, "embed_tokens"):
            raise ValueError(
                f"{backbone.model_type} keeps its embedding elsewhere than in embed_tokens, so its weights are not "
                "found; choose a backbone that is built like Llama."
            )

    def get_input_embeddings(self):
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value):
        self.model.set_input_embeddings(value)

    def get_output_embeddings(self):
        return self.lm_head

    def set_output_embeddings(self, value):
        self.lm_head = value

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask=None,
        position_ids: torch.LongTensor | None = None,
        past_key_values=None,
        inputs_embeds: torch.FloatTensor | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs,
    ) -> CausalLMOutputWithPast:
        """An ordinary causal language model when nothing special is passed.

        Args:
            input_ids: int64 [B, N].
            attention_mask: None, [B, N] (1 = token, 0 = padding), bool or additive float [B, 1, N, S] (True = visible),
                or a FlexAttention `BlockMask`. A bool mask is made additive for eager attention.
            position_ids: int64 [B, N]; counted from the cache's length when omitted.
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
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
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
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def _expressible(self, mask: torch.Tensor) -> torch.Tensor:
        """A 4-D mask in the form that the attention implementation reads without going silently wrong."""
        implementation = self.model.config._attn_implementation
        if implementation == "flex_attention":
            raise ValueError(
                "flex_attention reads a BlockMask, not a 4-D tensor; build one with flex_mask of generation.visibility"
                ', or call model.set_attn_implementation("sdpa").'
            )
        if mask.dtype == torch.bool and implementation == "eager":
            return additive_mask(mask, self.dtype)
        return mask


# Not where a checkpoint brought this code along: registered, it would also serve checkpoints that bring other code.
if not __name__.startswith(TRANSFORMERS_DYNAMIC_MODULE_NAME):
    AutoConfig.register(PlannedDiffusionConfig.model_type, PlannedDiffusionConfig, exist_ok=True)
    AutoModel.register(PlannedDiffusionConfig, PlannedDiffusionForCausalLM, exist_ok=True)
    AutoModelForCausalLM.register(PlannedDiffusionConfig, PlannedDiffusionForCausalLM, exist_ok=True)

__all__ = ["PlannedDiffusionForCausalLM", "PlannedDiffusionPreTrainedModel"]
