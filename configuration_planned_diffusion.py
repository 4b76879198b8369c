"""The configuration of a planned-diffusion model: any decoder's configuration and the vocabulary of plans."""

from typing import Any, Self

from .versions_planned_diffusion import check_versions

check_versions()  # before an old version fails in its own words

import torch  # noqa: E402
from transformers import AutoConfig, PreTrainedConfig  # noqa: E402

SPAN_ATTENTIONS = ("sparse", "dense")
SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size")
COUNTS = ("num_attention_heads", "num_key_value_heads", "head_dim", "max_position_embeddings")  # never none of them
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


def read_backbone(fields: dict[str, Any]) -> PreTrainedConfig:
    """Return the configuration of a decoder from its fields.

    Raises:
        ValueError: fields of no decoder that this version of transformers knows.
    """
    try:
        backbone = AutoConfig.for_model(**fields)
    except Exception as error:  # each kind of configuration checks itself and raises its own errors
        reason = " ".join(str(error).split()).partition(". ")[0].rstrip(".")
        raise ValueError(f"The backbone_config is that of no decoder ({reason}); correct it.") from error
    sizes = {name: value for name, value in backbone.to_dict().items() if isinstance(value, int)}
    negative = [name for name, value in sizes.items() if name in SIZES and value < 0]
    if negative:
        raise ValueError(f"The backbone_config's {negative[0]} is negative; give a size.")
    too_few = [name for name, value in sizes.items() if name in COUNTS and value < 1]
    if too_few:
        raise ValueError(f"The backbone_config's {too_few[0]} is {sizes[too_few[0]]}; give a number of at least 1.")
    pad, rows = getattr(backbone, "pad_token_id", None), getattr(backbone, "vocab_size", None)
    if isinstance(pad, int) and isinstance(rows, int) and pad >= rows:
        if fields.get("pad_token_id") is None:
            backbone.pad_token_id = None  # a default for another vocabulary
        else:
            raise ValueError(f"The backbone_config's pad_token_id is {pad}, and it has {rows} rows; give one of them.")
    return backbone


def check_dtype(dtype: object) -> None:
    """Raise ValueError for the name of a data type that torch does not have."""
    if isinstance(dtype, str) and not isinstance(getattr(torch, dtype.removeprefix("torch."), None), torch.dtype):
        raise ValueError(f"The dtype of config.json is {dtype!r}, which torch does not know; give bfloat16 or float32.")


class PlannedDiffusionConfig(PreTrainedConfig):
    """The configuration of a planned-diffusion model.

    Args:
        backbone_config (`PreTrainedConfig` or `dict`): the decoder's own configuration (Qwen2, Qwen3, Llama, ...); a
            default Qwen2 when omitted.
        mask_token_id (`int`): the id of a blank, a position where no token is written yet.
        promise_start_token_id, topic_end_token_id (`int`): `<promise>-<topic>` and `</topic>`, around topic and number.
        async_start_token_id, async_end_token_id (`int`): `<async>` and `</async>`, around a span.
        sync_token_id (`int`): `<sync/>`, which ends a round and lets the next one see everything written so far.
        span_pad_token_id (`int`): `[PAD]`, which fills the rest of a span that is shorter than promised.
        eos_token_id (`int`): ends the answer.
        digit_token_ids (`list[int]`): the ids of "0" ... "9", in this order.
        tokens_per_length_unit (`int`): the tokens that a promised number of 1 stands for; 10 in the published
            checkpoints.
        span_attention (`str`): "sparse" (the spans of a round do not see each other) or "dense" (they do).
        span_separator (`str`): text between spans in an answer whose tags are removed; a space for published
            checkpoints, empty for models that were trained on records of this package.
        repeat_promises (`bool`): a span begins with its promise again (topic, number and `</topic>` behind `<async>`),
            which is given and no part of the text; so small models know which part they write.
        tie_word_embeddings (`bool`, *optional*): as in any configuration; the backbone's setting when omitted.

    Ids may be missing, where a backbone has no tags yet: the model then works as an ordinary causal language model, and
    `generate` raises an error that names the missing fields.

    Raises:
        ValueError: an unknown `span_attention`, a unit below 1, a `repeat_promises` or `tie_word_embeddings` that is
            neither true nor false, a `span_separator` that is no text, or other than ten digit ids.
    """

    model_type = "planned_diffusion"
    sub_configs = {"backbone_config": AutoConfig}  # pyright: ignore[reportAssignmentType]  # as transformers' own do

    def __init__(
        self,
        backbone_config: PreTrainedConfig | dict[str, Any] | None = None,
        mask_token_id: int | None = None,
        promise_start_token_id: int | None = None,
        topic_end_token_id: int | None = None,
        async_start_token_id: int | None = None,
        async_end_token_id: int | None = None,
        sync_token_id: int | None = None,
        span_pad_token_id: int | None = None,
        eos_token_id: int | None = None,
        digit_token_ids: list[int] | None = None,
        tokens_per_length_unit: int = 10,
        span_attention: str = "sparse",
        span_separator: str = "",
        repeat_promises: bool = False,
        tie_word_embeddings: bool | None = None,
        **kwargs: Any,
    ) -> None:
        if backbone_config is None:
            backbone_config = AutoConfig.for_model("qwen2")
        elif isinstance(backbone_config, dict):
            backbone_config = read_backbone(backbone_config)
        if span_attention not in SPAN_ATTENTIONS:
            raise ValueError(f"span_attention is {span_attention!r}; choose one of {', '.join(SPAN_ATTENTIONS)}.")
        if type(tokens_per_length_unit) is not int or tokens_per_length_unit < 1:
            raise ValueError(
                f"tokens_per_length_unit is {tokens_per_length_unit!r}; give the number of tokens, at least 1, that a "
                "promised length of 1 stands for."
            )
        if type(repeat_promises) is not bool:
            raise ValueError(f"repeat_promises is {repeat_promises!r}; give true or false.")
        if not isinstance(span_separator, str):
            raise ValueError(f"span_separator is {span_separator!r}; give a text, which may be empty.")
        if not isinstance(tie_word_embeddings, (bool, type(None))):
            raise ValueError(f"tie_word_embeddings is {tie_word_embeddings!r}; give true or false.")
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
        self.repeat_promises = repeat_promises
        if tie_word_embeddings is None:
            tie_word_embeddings = backbone_config.tie_word_embeddings
        super().__init__(**{"tie_word_embeddings": tie_word_embeddings, **kwargs})
        self.eos_token_id = eos_token_id

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Self:
        """Read as inherited; what is stored must have a backbone and token ids that are numbers.

        Raises:
            ValueError: no such object.
        """
        stored = config_dict if isinstance(config_dict, dict) else {}
        if stored.get("model_type", cls.model_type) != cls.model_type:
            raise ValueError(f"The config.json is that of a model of type {stored['model_type']}, which cannot plan.")
        check_dtype(stored.get("dtype"))
        if not isinstance(stored.get("backbone_config"), (dict, PreTrainedConfig)):
            raise ValueError(
                "The config.json has no backbone_config, an object with the decoder's own configuration; save the "
                "checkpoint again, or download it again."
            )
        digits = stored.get("digit_token_ids")
        if not isinstance(digits, (list, tuple, type(None))):
            raise ValueError(f"The digit_token_ids of config.json is {digits!r}; list ten ids.")
        ids = [(name, stored.get(name)) for name in CONTROL_TOKEN_FIELDS]
        ids += [("digit_token_ids", token) for token in digits or ()]
        for name, token in ids:
            if token is not None and (type(token) is not int or token < 0):
                raise ValueError(f"The {name} of config.json is {token!r}; give the number of a token.")
        return super().from_dict(config_dict, **kwargs)

    def get_text_config(self, *args: Any, **kwargs: Any) -> PreTrainedConfig:
        """Return the backbone's configuration, where transformers looks up sizes, layers and positions."""
        return self.backbone_config

    @property
    def vocab_size(self) -> int:
        """Return the number of token ids, the backbone's."""
        return self.backbone_config.vocab_size

    @vocab_size.setter
    def vocab_size(self, value: int) -> None:
        self.backbone_config.vocab_size = value

    @property
    def hidden_size(self) -> int:
        """Return the width of the hidden states, the backbone's."""
        return self.backbone_config.hidden_size


__all__ = ["PlannedDiffusionConfig"]
