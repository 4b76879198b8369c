"""The tokenizer beside a checkpoint, and whether two checkpoints mean the same by their token ids."""

from .generation_tokenizer_beside import tokenizer_beside


def check_assistant(assistant, model, tokenizer) -> None:
    """Refuses an assistant whose token ids are not the model's; paddings of the embeddings may differ.

    With both tokenizers at hand every ordinary token must have one id; without, the sizes must be equal.

    Raises:
        ValueError: no causal language model, or another vocabulary.
    """
    if not hasattr(assistant, "get_output_embeddings") or assistant.get_output_embeddings() is None:
        raise ValueError(
            f"assistant_model is a {type(assistant).__name__}; give a causal language model of transformers."
        )
    its_tokenizer = tokenizer_beside(assistant)
    if tokenizer is not None and its_tokenizer is not None:
        added, ids = tokenizer.get_added_vocab(), its_tokenizer.get_vocab()
        other = [token for token, id in tokenizer.get_vocab().items() if token not in added and ids.get(token) != id]
        if other:
            raise ValueError(
                f"assistant_model has another vocabulary: {len(other)} tokens such as {other[0]!r} have another id "
                "there; give a model with the same tokenizer."
            )
        return
    sizes = [one.get_output_embeddings().weight.shape[0] for one in (model, assistant)]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"assistant_model has a vocabulary of {sizes[1]} ids, the model one of {sizes[0]}; give a model with the "
            "same tokenizer, and pass both with their tokenizers beside them if only the padding differs."
        )
