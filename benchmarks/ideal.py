"""The idealised loop: transformer and head on the wanted rows, everything prepared before, nothing drawn or read back.

An engine could at best save the difference to this loop. On a GPU the steps are CUDA graphs, so that launches count as
lost as well; on a CPU they are ordinary calls.
"""

from collections.abc import Callable

import torch
from transformers.cache_utils import Cache

from planned_diffusion.generation.cache_names import cache_argument
from planned_diffusion.generation.query import Query
from planned_diffusion.generation.visibility import CLEAN, NO_DOCUMENT, NO_SPAN, Labels, additive_mask, dense_mask

Places = dict[int, tuple[int, int]]  # position -> span, round
WARM_UPS = 3  # before a CUDA graph is captured


def text(tokens: int) -> Places:
    """The first positions of a request, outside spans."""
    return dict.fromkeys(range(tokens), (NO_SPAN, 0))


def labelled(query: Query) -> Places:
    """The positions that a query runs."""
    return dict(zip(query.positions, zip(query.spans, query.rounds, strict=True), strict=True))


def visible(query: Query, seen: Places) -> torch.Tensor:
    """Return the positions up to its last that a query's tokens see, bool [1, 1, N, S]; no position that never ran."""
    rows = zip(query.positions, zip(query.spans, query.rounds, strict=True), strict=True)
    asked = [(0, *place, CLEAN, position) for position, place in rows]
    keys = [
        (0, *seen[position], CLEAN, position) if position in seen else (NO_DOCUMENT, NO_SPAN, 0, CLEAN, position)
        for position in range(max(query.positions) + 1)
    ]
    return dense_mask(*(Labels(*torch.tensor(labels).T[:, None]) for labels in (asked, keys)))[:, None]


class FixedCache(Cache):
    """Buffers of exactly the slots needed, [B, heads, S, head size] per layer; a slot's number is its position."""

    def __init__(self, model, batch: int, slots: int):
        super().__init__(layers=[])
        config = model.config.get_text_config()
        head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        shape = (batch, config.num_key_value_heads, slots, head_size)
        self.buffers = [
            tuple(torch.randn(shape, device=model.device).to(model.dtype) for _ in range(2))
            for _ in range(config.num_hidden_layers)
        ]
        self.positions, self.used = None, 0

    def update(self, key_states, value_states, layer_idx, *args, **kwargs):
        keys, values = self.buffers[layer_idx]
        keys.index_copy_(2, self.positions, key_states)
        values.index_copy_(2, self.positions, value_states)
        return keys[:, :, : self.used], values[:, :, : self.used]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        return self.used, 0

    def get_max_cache_shape(self, layer_idx: int = 0) -> int:
        return -1


class Ideal:
    """Runs queries of one request, or the same query for each of a batch, without an engine.

    Attributes:
        pairs: per prepared query, the (query, key) pairs of one request that see each other.
    """

    def __init__(self, model, batch: int, slots: int):
        self.model, self.batch = model, batch
        self.cache = FixedCache(model, batch, slots)
        self.pairs: list[int] = []
        self._seen: Places = {}
        self._pool = None

    def context(self, tokens: int) -> None:
        """Mark the first positions as run: text outside spans."""
        self._seen |= text(tokens)

    def prepare(self, query: Query) -> Callable[[], torch.Tensor]:
        """Put all inputs of a query on the device; return a function that runs it to logits [B, W, V]."""
        device, used = self.model.device, max(query.positions) + 1
        self._seen |= labelled(query)
        mask = visible(query, self._seen)  # [1, 1, N, S]
        self.pairs.append(int(mask.sum()))
        if self.model.base_model.config._attn_implementation == "eager":
            mask = additive_mask(mask, self.model.dtype)
        mask = mask.to(device).expand(self.batch, -1, -1, -1)
        ids = torch.tensor([query.token_ids], device=device).expand(self.batch, -1).contiguous()
        positions = torch.tensor(query.positions, device=device)
        wanted = torch.tensor(query.wanted, device=device)

        def run() -> torch.Tensor:
            self.cache.positions, self.cache.used = positions, used
            hidden = self.model.base_model(
                input_ids=ids, position_ids=positions[None], attention_mask=mask, use_cache=True,
                **{cache_argument(self.model.base_model): self.cache},
            ).last_hidden_state  # fmt: skip
            return self.model.get_output_embeddings()(hidden[:, wanted])

        return self._captured(run) if device.type == "cuda" else run

    def _captured(self, run) -> Callable[[], torch.Tensor]:
        """Return the function captured as one CUDA graph."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                run()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            logits = run()
        self._pool = self._pool or graph.pool()

        def replay() -> torch.Tensor:
            graph.replay()
            return logits

        return replay
