"""One model over its own slots: packed tokens in, logits of the wanted rows out."""

from collections.abc import Sequence

import torch

from .generation_attention import Document, mask_by_document, pays
from .generation_cache import SlotCache
from .generation_visibility import Labels, attention_mask


class Runner:
    """Runs any causal language model of transformers, ours included.

    Args:
        model: its backbone (`base_model`) is run, its head applied to the wanted rows.
    """

    def __init__(self, model):
        self.backbone, self.head = model.base_model, model.get_output_embeddings()
        self.device = model.get_input_embeddings().weight.device
        self.dtype = model.dtype
        self.implementation = self.backbone.config._attn_implementation
        self.cache = SlotCache(self.device)
        self._places: tuple | None = None  # what `_place` was last called for

    def logits(self, packed: list[list[int]], documents: Sequence[Document], wanted: list[int]) -> torch.Tensor:
        """One forward.

        Args:
            packed: seven columns of N entries: token ids, slots, and the five labels of `visibility.py`.
            documents: whose the N rows are, in order, and every slot that a document holds.
            wanted: W of the N rows.

        Returns:
            [W, V], in the model's own type.
        """
        token_ids, *places = packed
        if self._places != (places, self.cache.used):  # a step of a fill mostly runs the tokens of the step before
            self._place(places, documents)
        hidden = self.backbone(
            input_ids=self._on_device([token_ids]),
            position_ids=self._positions,
            attention_mask=self._mask,
            past_key_values=self.cache,
            use_cache=True,
        ).last_hidden_state[0]  # [N, H]
        return self.head(hidden[self._on_device(wanted)])

    def _place(self, places: list[list[int]], documents: Sequence[Document]) -> None:
        """Tells the cache where the tokens lie, and works out what they see."""
        on_device = self._on_device(places)  # [6, N]
        self.cache.write_to(on_device[0], on_device[1:])
        query = Labels(*on_device[1:, None])  # [1, N]
        key = self.cache.labels.each(lambda label: label[None])  # [1, S]
        self._positions = query.position
        if self.device.type == "cpu" and self.implementation == "sdpa" and pays(documents, self.cache.used):
            self._mask = mask_by_document(query, key, documents)
        else:
            self._mask = attention_mask(query, key, self.implementation, self.dtype)
        self._places = (places, self.cache.used)

    def _on_device(self, numbers: list) -> torch.Tensor:
        return torch.tensor(numbers).to(self.device, non_blocking=True)
