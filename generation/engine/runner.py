"""The model runner: one model over its own slots; packed tokens in, logits of the wanted rows out.

With a `compile_config` the backbone runs compiled (compilation.py), on a GPU by default as a CUDA graph. A graph is for
one shape and for buffers in one place: rows and slots are rounded up, and the buffers of a finished engine serve the
next. With `dynamic=True` one form serves forwards of any width, so rows are left as they are.
"""

import weakref
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from transformers import CompileConfig, PreTrainedModel

from ..cache_names import cache_argument
from ..draft_gate import ARGUMENT, Rows, gate_of
from ..draft_transition import DraftTransition
from ..visibility import DRAFT, Labels, additive_mask, attention_mask
from .attention_cpu import segmented_mask
from .cache import SlotCache
from .compilation import compiled_form
from .grouped_heads import can_group, grouping
from .packing import Layout, Packed
from .single_rows import single_rows
from .slots import SlotTable
from .tensors import integers

NARROW = (2, 4, 8, 16, 24, 32, 48, 64)  # rows of a compiled forward of one shape; beyond, multiples of the last
WIDEST = 512  # rows; wider forwards are bound by arithmetic, and run without a graph
MOST_CONVERTED = 2**20  # query-key pairs of a mask that is made additive: 4 MB

# Idle slot caches, per compiled backbone, device and dtype. Graphs outlive an engine and record where buffers lie; the
# backbone is what outlives it too. A weak key, so that a model that is gone takes its caches along.
_idle_caches: weakref.WeakKeyDictionary[torch.nn.Module, dict[tuple, list[SlotCache]]] = weakref.WeakKeyDictionary()


def rounded_up(rows: int, any_width: bool = False) -> int:
    """Return the width of the compiled forward that so many rows run in."""
    if any_width:  # but for a single row, which torch would compile a form of its own for
        return max(rows, NARROW[0])
    return next((width for width in NARROW if width >= rows), -(-rows // NARROW[-1]) * NARROW[-1])


def last_hidden_states(backbone: torch.nn.Module, **inputs: object) -> torch.Tensor:
    """Run a backbone on [1, N] or [N, 1]; return its last hidden states, [N, H]."""
    return backbone(**inputs).last_hidden_state.flatten(0, 1)


@dataclass(frozen=True)
class _Prepared:
    """A layout on the device: what a forward needs besides token ids.

    Valid for forwards of the same layout that read as many slots, in the same form (compiled ones need another mask).
    """

    layout: Layout
    used: int
    compiled: bool
    positions: torch.Tensor  # int64 [1, N]; [N, 1] where every request runs a single row
    drafts: dict[str, Rows]  # which rows are drafts, as an argument of a backbone with a gate
    mask: Any  # as the attention implementation reads it

    def serves(self, layout: Layout, used: int, compiled: bool) -> bool:
        return self.used == used and self.compiled == compiled and self.layout == layout


class Runner:
    """Runs any causal language model of transformers, ours included.

    Args:
        model: its backbone (`base_model`) is run, its head applied to the wanted rows.
        compile_config: how to compile the backbone; None not to.

    Attributes:
        slots: the requests' slots; the runner alone owns the cache behind them.
    """

    def __init__(self, model: PreTrainedModel, compile_config: CompileConfig | None = None) -> None:
        # torch declares every attribute of a module as a tensor or a module: the casts say which.
        self.backbone = cast(PreTrainedModel, model.base_model)
        self._cache_argument = cache_argument(self.backbone)
        self._has_gate = gate_of(self.backbone) is not None
        self.head = cast(torch.nn.Linear, model.get_output_embeddings())
        self.embedding = model.get_input_embeddings()
        self.transition: DraftTransition | None = getattr(model, "draft_transition", None)
        self.device = cast(torch.Tensor, self.embedding.weight).device
        self.dtype = model.dtype
        # Queries of any narrower type may go with float32, also those of layers in another type than the model's.
        self._mask_type = torch.float64 if self.dtype == torch.float64 else torch.float32
        self.implementation = cast(str, self.backbone.config._attn_implementation)
        self._groups = can_group(self.backbone.config, self.device)
        self._compiled, cache = None, SlotCache(self.device)
        self._any_width = compile_config is not None and compile_config.dynamic is True
        if compile_config is not None:
            self._compiled = compiled_form(last_hidden_states, self.backbone, compile_config)
            cache = self._borrowed_cache()
        self.slots = SlotTable(cache)
        self._prepared: _Prepared | None = None

    def logits(self, packed: Packed) -> torch.Tensor:
        """Run one forward; return the logits of the wanted rows, [W, V], in the model's own type."""
        forward, compiled = last_hidden_states, False
        if self._compiled is not None and self._fits_a_graph(len(packed)):
            forward, compiled = self._compiled, True
            packed = packed.padded(rounded_up(len(packed), self._any_width))
        prepared = self._prepared
        # A denoising step mostly runs the tokens of the step before: comparing columns costs microseconds, a mask more.
        if prepared is None or not prepared.serves(packed.layout, self.slots.used, compiled):
            prepared = self._prepared = self._prepare(packed, compiled)
        with grouping(self.backbone.config) if self._groups else nullcontext():
            hidden = forward(
                self.backbone,
                input_ids=integers(packed.token_ids, self.device).view_as(prepared.positions),
                position_ids=prepared.positions,
                attention_mask=prepared.mask,
                use_cache=True,
                **{self._cache_argument: self.slots.cache},
                **prepared.drafts,
            )
        return self.head(hidden[integers(packed.wanted, self.device)])

    def _fits_a_graph(self, rows: int) -> bool:
        """Return whether a forward may run compiled: not the first, which makes the buffers, and none too wide."""
        return self.slots.cache.built and rows <= WIDEST

    def _prepare(self, packed: Packed, compiled: bool) -> _Prepared:
        """Copy a layout to the device, tell the cache where its tokens lie, and make the mask."""
        cache, used = self.slots.cache, self.slots.used
        table = packed.layout.table(self.device)  # [6, N]: slots, then labels
        rows = None if compiled else single_rows(packed, self.backbone.config, self.device)
        cache.write_to(table[0], table[1:], used, None if rows is None else rows.gathering())
        query = Labels(*table[1:, None])  # [1, N]
        key = cache.labels.each(lambda label: label[None])  # [1, S]
        if rows is not None:
            mask = rows.mask(query, key, self._mask_type)
            return _Prepared(packed.layout, used, compiled, query.position.T, {}, mask)
        mask = None if compiled else segmented_mask(query, key, packed, self.backbone.config)
        if mask is None:
            mask = attention_mask(query, key, self.implementation, self.dtype)
            if isinstance(mask, torch.Tensor) and not compiled and self._is_converted(mask):
                mask = additive_mask(mask, self._mask_type)
        drafts = self._drafts(packed.layout.streams, compiled) if self._has_gate else {}
        return _Prepared(packed.layout, used, compiled, query.position, drafts, mask)

    def _is_converted(self, mask: torch.Tensor) -> bool:
        """Return whether every layer would make a bool mask additive, and once for all of them takes little memory."""
        is_sdpa_on_cpu = self.implementation == "sdpa" and self.device.type == "cpu"
        return is_sdpa_on_cpu and mask.numel() <= MOST_CONVERTED

    def _drafts(self, streams: list[int], compiled: bool) -> dict[str, Rows]:
        """Return the argument that tells a gated adapter its rows; nothing where there are none."""
        rows = [row for row, stream in enumerate(streams) if stream >= DRAFT]
        if not rows:
            return {}
        if compiled:
            return {ARGUMENT: integers([int(stream >= DRAFT) for stream in streams], self.device).bool()[None]}
        # One request's drafts are its last rows: a slice is a view, where numbers copy.
        is_run = rows[-1] - rows[0] + 1 == len(rows)
        return {ARGUMENT: slice(rows[0], rows[-1] + 1) if is_run else integers(rows, self.device)}

    def _borrowed_cache(self) -> SlotCache:
        """Return a cache that an earlier runner of this backbone left, or a new one; it is handed on after this one."""
        idle = _idle_caches.setdefault(self.backbone, {}).setdefault((self.device, self.dtype), [])
        # There are no graphs on a CPU, where code with frozen weights would take pinned buffers for constants, too.
        cache = idle.pop() if idle else SlotCache(self.device, for_graphs=self.device.type != "cpu")
        cache.clear()
        weakref.finalize(self, idle.append, cache).atexit = False
        return cache
