"""One model over its own slots: packed tokens in, logits of the wanted rows out.

With a `compile_config` the backbone runs compiled, as `torch.compile` does it, on a GPU by default as a CUDA graph. A
graph is for one shape and for buffers in one place, so that rows and slots are rounded up, and the slots of a finished
engine serve the next.
"""

import weakref
from collections.abc import Sequence

import torch
from transformers import CompileConfig

from ..visibility import Labels, attention_mask
from .attention_cpu import Part, by_span, mask_in_parts, pays
from .cache import SlotCache
from .tensors import integers, table_of_integers

NARROW = (2, 4, 8, 16, 24, 32, 48, 64)  # rows of a compiled forward; beyond, multiples of the last
WIDEST = 512  # rows; wider forwards are bound by arithmetic, and run as they are

# Of every backbone that runs compiled: caches that no engine uses at the moment.
_idle_caches: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def rounded_up(rows: int) -> int:
    """Rows that a compiled forward of at least so many has."""
    return next((width for width in NARROW if width >= rows), -(-rows // NARROW[-1]) * NARROW[-1])


def last_hidden_states(backbone, **inputs) -> torch.Tensor:
    """[N, H] of inputs [1, N]."""
    return backbone(**inputs).last_hidden_state[0]


class Runner:
    """Runs any causal language model of transformers, ours included.

    Args:
        model: its backbone (`base_model`) is run, its head applied to the wanted rows.
        compile_config: how to compile the backbone; None not to.
    """

    def __init__(self, model, compile_config: CompileConfig | None = None):
        self.backbone, self.head = model.base_model, model.get_output_embeddings()
        self.device = model.get_input_embeddings().weight.device
        self.dtype = model.dtype
        self.implementation = self.backbone.config._attn_implementation
        if compile_config is None:
            self._compiled, self.cache = None, SlotCache(self.device)
        else:
            self._compiled = torch.compile(last_hidden_states, **compile_config.to_dict())
            self.cache = self._borrowed_cache()
        self._places: tuple | None = None  # what `_place` was last called for

    def _borrowed_cache(self) -> SlotCache:
        """A cache that an earlier runner of this backbone left, or a new one; the next may have it after this one."""
        idle = _idle_caches.setdefault(self.backbone, {}).setdefault((self.device, self.dtype), [])
        cache = idle.pop() if idle else SlotCache(self.device, for_graphs=True)
        cache.clear()
        weakref.finalize(self, idle.append, cache).atexit = False
        return cache

    def logits(self, packed: list[list[int]], requests: Sequence[Part], wanted: list[int]) -> torch.Tensor:
        """One forward.

        Args:
            packed: seven columns of N entries: token ids, slots, and the five labels of `visibility.py`.
            requests: whose the N rows are, in order, and every slot that a request holds.
            wanted: W of the N rows.

        Returns:
            [W, V], in the model's own type.
        """
        count = len(packed[0])
        forward, compiled = last_hidden_states, self._compiles(count)
        if compiled:  # what pads repeats the last row: it writes what that writes, and nobody reads its own
            forward = self._compiled
            packed = [column + column[-1:] * (rounded_up(count) - count) for column in packed]
        token_ids, *places = packed
        if self._places != (places, self.cache.used, compiled):  # a step of a fill mostly runs the tokens it ran before
            self._place(places, requests, compiled)
        hidden = forward(
            self.backbone,
            input_ids=integers(token_ids, self.device)[None],
            position_ids=self._positions,
            attention_mask=self._mask,
            past_key_values=self.cache,
            use_cache=True,
        )
        return self.head(hidden[integers(wanted, self.device)])

    def _compiles(self, rows: int) -> bool:
        """Whether a forward runs compiled: not the first, which makes the buffers, and none that is too wide."""
        return self._compiled is not None and self.cache.built and rows <= WIDEST

    def _place(self, places: list[list[int]], requests: Sequence[Part], compiled: bool) -> None:
        """Tells the cache where the tokens lie, and works out what they see."""
        on_device = table_of_integers(places, self.device)  # [6, N]
        self.cache.write_to(on_device[0], on_device[1:])
        query = Labels(*on_device[1:, None])  # [1, N]
        key = self.cache.labels.each(lambda label: label[None])  # [1, S]
        self._positions = query.position
        parts = [] if compiled else self._parts(places, requests)
        if pays(parts, self.cache.used):
            self._mask = mask_in_parts(query, key, parts)
        else:
            self._mask = attention_mask(query, key, self.implementation, self.dtype)
        self._places = (places, self.cache.used, compiled)

    def _parts(self, places: list[list[int]], requests: Sequence[Part]) -> list[Part]:
        """In which parts to attend, on devices and in implementations that gain by it; none elsewhere."""
        if self.device.type != "cpu" or self.implementation != "sdpa":
            return []
        slots, _, spans, rounds, streams, _ = places
        return [part for request in requests for part in by_span(request, slots, spans, rounds, streams)]
