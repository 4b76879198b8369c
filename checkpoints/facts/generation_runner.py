"""One model over its own slots: packed tokens in, logits of the wanted rows out."""

import torch

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

    def logits(self, packed: list[list[int]], wanted: list[int]) -> torch.Tensor:
        """One forward.

        Args:
            packed: seven columns of N entries: token ids, slots, and the five labels of `visibility.py`.
            wanted: W of the N rows.

        Returns:
            [W, V], in the model's own type.
        """
        on_device = torch.tensor(packed).to(self.device, non_blocking=True)  # [7, N]
        token_ids, slots, labels = on_device[0], on_device[1], on_device[2:]
        self.cache.write_to(slots, labels)
        mask = attention_mask(
            Labels(*labels[:, None]),  # [1, N]
            self.cache.labels.each(lambda label: label[None]),  # [1, S]
            self.implementation,
            self.dtype,
        )
        hidden = self.backbone(
            input_ids=token_ids[None],
            position_ids=labels[-1][None],
            attention_mask=mask,
            past_key_values=self.cache,
            use_cache=True,
        ).last_hidden_state[0]  # [N, H]
        return self.head(hidden[torch.tensor(wanted).to(self.device, non_blocking=True)])
