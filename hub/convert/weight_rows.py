"""Choose the tensors of a foreign checkpoint to keep, and compute the rows of new tokens in embedding and head."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import PreTrainedConfig

from ...configuration_planned_diffusion import PlannedDiffusionConfig
from ...modeling_planned_diffusion import PlannedDiffusionForCausalLM
from .source_tokenizer import Vocabulary
from .weight_files import DTYPES, PIECE, Rows, Stored, check_stored, read_stored

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
COMPUTED = ".rotary_emb.inv_freq"  # stored in early Llama checkpoints; it follows from the configuration
ROWS_MULTIPLE = 64  # a resized matrix has a multiple of so many rows: matrix products are slow at odd widths


def plan_weights(
    folder: Path, backbone: PreTrainedConfig, vocabulary: Vocabulary
) -> tuple[dict[str, Stored], dict[str, Rows]]:
    """Return the tensors to keep, and the rows to set in embedding and head; no rows where no token is new.

    Raises:
        ValueError: tensors of another model than `backbone` configures.
    """
    config = PlannedDiffusionConfig(backbone_config=backbone)
    with torch.device("meta"):
        expected = {name: tuple(t.shape) for name, t in PlannedDiffusionForCausalLM(config).state_dict().items()}
    stored = {name: tensor for name, tensor in read_stored(folder).items() if not name.endswith(COMPUTED)}
    if config.tie_word_embeddings:
        expected.pop(HEAD)
        head = stored.pop(HEAD, None)
        if head is not None and EMBEDDING in stored and not are_equal(folder, head, stored[EMBEDDING]):
            raise ValueError(
                "The configuration says that the head is the embedding, but the checkpoint stores another head; set "
                "tie_word_embeddings to false in its config.json."
            )
    check_stored(stored, expected)
    return stored, new_rows(folder, stored, vocabulary)


def new_rows(folder: Path, stored: dict[str, Stored], vocabulary: Vocabulary) -> dict[str, Rows]:
    """Return the rows of new tokens: each is the mean of the rows of the words that describe the token.

    Matrices that must grow get a multiple of 64 rows. Ids beyond the tokenizer's get the mean of all describing words,
    which is never the most probable token.

    Raises:
        ValueError: the embedding has fewer rows than the tokenizer has common words.
    """
    have = stored[EMBEDDING].shape[0]
    if max(vocabulary.words) >= have:
        raise ValueError(
            f"The tokenizer writes common words with id {max(vocabulary.words)}, and the embedding has {have} rows; "
            "fetch the tokenizer that belongs to these weights."
        )
    rows = {}
    for name in (EMBEDDING, HEAD):
        if name not in stored or (not vocabulary.added and vocabulary.rows <= stored[name].shape[0]):
            continue
        before = after = stored[name].shape[0]
        if vocabulary.rows > before:
            after = -(-vocabulary.rows // ROWS_MULTIPLE) * ROWS_MULTIPLE
        described = {token: vocabulary.words for token in range(before, after)} | vocabulary.added
        rows[name] = Rows(after, mean_rows(folder, name, stored[name], described))
    return rows


def are_equal(folder: Path, one: Stored, other: Stored) -> bool:
    """Return whether two tensors hold the same bytes."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    with (folder / one.file).open("rb") as first, (folder / other.file).open("rb") as second:
        first.seek(one.start)
        second.seek(other.start)
        left = one.stop - one.start
        while left:
            count = min(PIECE, left)
            if first.read(count) != second.read(count):
                return False
            left -= count
    return True


def mean_rows(folder: Path, name: str, tensor: Stored, described: Mapping[int, Iterable[int]]) -> dict[int, bytes]:
    """Return for each id the mean of its describing rows, computed in float32, as bytes in the tensor's dtype."""
    with safe_open(folder / tensor.file, "pt") as file:
        matrix = file.get_slice(name)

        def mean(ids: Iterable[int]) -> bytes:
            rows = torch.cat([matrix[token : token + 1] for token in ids]).float()
            row = rows.mean(dim=0).to(DTYPES[tensor.dtype])  # [H]
            return row.view(torch.uint8).numpy().tobytes()

        return {token: mean(ids) for token, ids in described.items()}
