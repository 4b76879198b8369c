"""Which tensors of a foreign checkpoint are kept, and the rows that embedding and head get for new tokens."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import safe_open

from ...configuration_planned_diffusion import PlannedDiffusionConfig
from ...modeling_planned_diffusion import PlannedDiffusionForCausalLM
from .source_tokenizer import Vocabulary
from .weight_files import DTYPES, PIECE, Rows, Stored, check_stored, read_stored

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
COMPUTED = ".rotary_emb.inv_freq"  # in early Llama checkpoints; it follows from the configuration
ROWS_MULTIPLE = 64  # of a matrix that is resized: matrix products are slow at odd widths


def plan_weights(folder: Path, backbone, vocabulary: Vocabulary) -> tuple[dict[str, Stored], dict[str, Rows]]:
    """The tensors to keep, and the rows to set in embedding and head; none where no token is new.

    Raises:
        ValueError: tensors that are not those of the model that `backbone` configures.
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
    """Rows of new tokens: means of the rows of words that describe them. Where the matrices must grow, they grow to a
    multiple of 64; ids beyond the tokenizer's get the mean of all those words, which is never the most probable token.
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
    """Whether two tensors hold the same bytes."""
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
    """For each id the mean, taken in float32, of the rows that describe it, as bytes in the tensor's own dtype."""
    with safe_open(folder / tensor.file, "pt") as file:
        matrix = file.get_slice(name)

        def mean(ids) -> bytes:
            rows = torch.cat([matrix[token : token + 1] for token in ids]).float()
            row = rows.mean(dim=0).to(DTYPES[tensor.dtype])  # [H]
            return row.view(torch.uint8).numpy().tobytes()

        return {token: mean(ids) for token, ids in described.items()}
