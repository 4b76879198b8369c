"""The assistant model: whether it means the same as the model by its token ids."""

from typing import Any

from transformers import PreTrainedModel

from .tokenizer_beside import tokenizer_beside


def check_assistant(assistant: Any, model: PreTrainedModel, tokenizer: Any) -> None:
    """Refuse an assistant whose token ids are not the model's; paddings of the embeddings may differ.

    With both tokenizers at hand (`tokenizer` is the model's, or None) every ordinary token must have one id; without,
    the sizes must be equal.

    Raises:
        ValueError: no causal language model, or another vocabulary.
    """
    get_head: Any = getattr(assistant, "get_output_embeddings", None)
    if get_head is None or get_head() is None:
        raise ValueError(
            f"assistant_model is a {type(assistant).__name__}; give a causal language model of transformers."
        )
    its_tokenizer: Any = tokenizer_beside(assistant)
    if tokenizer is not None and its_tokenizer is not None:
        added, ids = tokenizer.get_added_vocab(), its_tokenizer.get_vocab()
        other = [token for token, id in tokenizer.get_vocab().items() if token not in added and ids.get(token) != id]
        if other:
            raise ValueError(
                f"assistant_model has another vocabulary: {len(other)} tokens such as {other[0]!r} have another id "
                "there; give a model with the same tokenizer."
            )
        return
    sizes = [rows_of_head(one) for one in (model, assistant)]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"assistant_model has a vocabulary of {sizes[1]} ids, the model one of {sizes[0]}; give a model with the "
            "same tokenizer, and pass both with their tokenizers beside them if only the padding differs."
        )


def rows_of_head(model: PreTrainedModel) -> int:
    """Return the rows of a model's head: its vocabulary, padding included."""
    head: Any = model.get_output_embeddings()
    return head.weight.shape[0]
