"""The configuration of a planned-diffusion model: any decoder's configuration and the vocabulary of plans."""

import sys

from .versions_planned_diffusion import check_versions

check_versions()  # before an old version fails in its own words

from transformers import AutoConfig, PreTrainedConfig  # noqa: E402

SPAN_ATTENTIONS = ("sparse", "dense")
CONTROL_TOKEN_FIELDS = (
    "mask_token_id",
    "promise_start_token_id",
    "topic_end_token_id",
    "async_start_token_id",
    "async_end_token_id",
    "sync_token_id",
    "span_pad_token_id",
    "eos_token_id",
)


class PlannedDiffusionConfig(PreTrainedConfig):
    """
    Args:
        backbone_config (`PreTrainedConfig` or `dict`): the decoder's own configuration (Qwen2, Qwen3, Llama, ...); a
            default Qwen2 when omitted.
        mask_token_id (`int`): the id that a blank holds before something is written there.
        promise_start_token_id, topic_end_token_id (`int`): `<promise>-<topic>` and `</topic>`, around topic and number.
        async_start_token_id, async_end_token_id (`int`): `<async>` and `</async>`, around a span.
        sync_token_id (`int`): `<sync/>`, which ends a round and lets the next one see everything written so far.
        span_pad_token_id (`int`): `[PAD]`, which fills the room of a span that needed less than promised.
        eos_token_id (`int`): ends the answer.
        digit_token_ids (`list[int]`): the ids of "0" ... "9", in this order.
        tokens_per_length_unit (`int`): the tokens that a promised number of 1 stands for; 10 in the published
            checkpoints.
        span_attention (`str`): "sparse" (the spans of a round do not see each other) or "dense" (they do).
        span_separator (`str`): text put between spans when an answer is read without its tags; published checkpoints
            need one, models trained on records of this package do not.
        tie_word_embeddings (`bool`, *optional*): as in any configuration; the backbone's setting when omitted.

    Ids may be missing (a backbone that was not given its tags yet): the model then works as an ordinary causal language
    model and `generate` says what is missing.

    Raises:
        ValueError: an unknown `span_attention`, a unit below 1, or other than ten digit ids.
    """

    model_type = "planned_diffusion"
    sub_configs = {"backbone_config": AutoConfig}

    def __init__(
        self,
        backbone_config=None,
        mask_token_id=None,
        promise_start_token_id=None,
        topic_end_token_id=None,
        async_start_token_id=None,
        async_end_token_id=None,
        sync_token_id=None,
        span_pad_token_id=None,
        eos_token_id=None,
        digit_token_ids=None,
        tokens_per_length_unit=10,
        span_attention="sparse",
        span_separator="",
        tie_word_embeddings=None,
        **kwargs,
    ):
        if backbone_config is None:
            backbone_config = AutoConfig.for_model("qwen2")
        elif isinstance(backbone_config, dict):
            backbone_config = AutoConfig.for_model(**backbone_config)
        if span_attention not in SPAN_ATTENTIONS:
            raise ValueError(f"span_attention is {span_attention!r}; choose one of {', '.join(SPAN_ATTENTIONS)}.")
        if tokens_per_length_unit < 1:
            raise ValueError(
                f"tokens_per_length_unit is {tokens_per_length_unit}; give the number of tokens, at least 1, that a "
                "promised length of 1 stands for."
            )
        if digit_token_ids is not None and len(digit_token_ids) != 10:
            raise ValueError(
                f"digit_token_ids has {len(digit_token_ids)} entries; list ten ids, of the digits 0 to 9 in order."
            )
        self.backbone_config = backbone_config
        self.mask_token_id = mask_token_id
        self.promise_start_token_id = promise_start_token_id
        self.topic_end_token_id = topic_end_token_id
        self.async_start_token_id = async_start_token_id
        self.async_end_token_id = async_end_token_id
        self.sync_token_id = sync_token_id
        self.span_pad_token_id = span_pad_token_id
        self.digit_token_ids = None if digit_token_ids is None else list(digit_token_ids)
        self.tokens_per_length_unit = tokens_per_length_unit
        self.span_attention = span_attention
        self.span_separator = span_separator
        if tie_word_embeddings is None:
            tie_word_embeddings = backbone_config.tie_word_embeddings
        super().__init__(tie_word_embeddings=tie_word_embeddings, **kwargs)
        self.eos_token_id = eos_token_id

    def get_text_config(self, *args, **kwargs):
        """The backbone's configuration: where transformers looks up sizes, layers and positions."""
        return self.backbone_config

    def save_pretrained(self, save_directory, *args, **kwargs):
        """As inherited; what the installed package saves also gets its code, so that `trust_remote_code=True` loads it.

        Models save their configuration, so this holds for every checkpoint. The package around this module says how to
        write the code; code that came with a checkpoint has no such package, and transformers copies it.
        """
        write_flat_code = getattr(sys.modules.get(__package__), "write_flat_code", None)
        if write_flat_code is not None:
            self.auto_map = write_flat_code(save_directory)
        super().save_pretrained(save_directory, *args, **kwargs)

    @property
    def vocab_size(self) -> int:
        return self.backbone_config.vocab_size

    @vocab_size.setter
    def vocab_size(self, value: int):
        self.backbone_config.vocab_size = value

    @property
    def hidden_size(self) -> int:
        return self.backbone_config.hidden_size


__all__ = ["PlannedDiffusionConfig"]
