"""The model class `planned_diffusion` of lm-evaluation-harness, on this package's engine.

    generate_until           batches of prompts through the engine: any decoder, any field, adapters
    loglikelihood            left to right in one forward; or, for continuations with tags, plan and bound of the spans
    loglikelihood_rolling    left to right over windows, each token once

Every answer goes into lm-eval's cache (`--use_cache`) as soon as its batch has ended, so a run that was killed goes on.
In float32, the default, results do not depend on the batch.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import lm_eval.models  # pyright: ignore[reportMissingImports]  # noqa: F401  # or lm-eval takes our class for all
from lm_eval.api.model import TemplateLM  # pyright: ignore[reportMissingImports]
from lm_eval.api.registry import register_model  # pyright: ignore[reportMissingImports]
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window  # pyright: ignore[reportMissingImports]
from tqdm import tqdm

from ...generation.query import Request
from ...generation.tokens import ControlTokens
from ...inference.answer import open_checkpoint, read
from ...inference.batch.job import hash_of
from ...loading.locate import locate
from ...loading.memory import memory_of
from ...records.encoding import encode_text
from .contexts import Contexts
from .generation_kwargs import cut, read_generation_kwargs
from .model_args import read_model_args
from .process_group import ProcessGroup
from .scoring import Pairs, score_pairs, shortened

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """A request of the engine: its place among those of lm-eval, and the texts at which its answer ends."""

    place: int
    request: Request
    until: list[str]


@register_model("planned_diffusion")
class PlannedDiffusionLM(TemplateLM):
    """A checkpoint, as lm-eval asks it.

    Args:
        arguments: those of `ModelArgs`, and fields of `generate`.

    Raises:
        ValueError: an unknown argument, or a checkpoint that cannot be loaded.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__()
        self.args = read_model_args(arguments)
        group = ProcessGroup()
        self._rank, self._world_size = group.rank, group.size
        self.all_gather, self.gather_object, self.barrier = group.all_gather, group.gather_object, group.barrier
        source = locate(self.args.pretrained, "pretrained")
        self.checkpoint = open_checkpoint(source, self.args.dtype, group.device(self.args.device))
        self.tokenizer = self.checkpoint.tokenizer
        self.checkpoint.model.resolve_fields(None, None, dict(self.args.generation))  # or they are refused
        self._device = self.checkpoint.model.device
        self._contexts = Contexts(self.tokenizer)
        self._batch_size = self.args.prompts_at_once(self._device.type)
        positions = getattr(self.checkpoint.model.config.get_text_config(), "max_position_embeddings", None)
        self.max_length: int = self.args.max_length or positions or 2048

    # Text and tokens

    @property
    def eot_token_id(self) -> int:
        """Return the id that ends an answer; it also begins a text that has no context."""
        return ControlTokens.from_config(self.checkpoint.model.config).eos[0]

    @property
    def prefix_token_id(self) -> int:
        """Return the id that a text without a context is read behind."""
        first = self.tokenizer.bos_token_id
        return first if isinstance(first, int) else self.eot_token_id

    @property
    def tokenizer_name(self) -> str:
        """Return the name under which lm-eval keeps rendered requests."""
        return self.checkpoint.source.replace("/", "__")

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **ignored: Any) -> list[int]:
        """Return the ids of a text; tags that it spells are text."""
        return encode_text(self.tokenizer, string) if add_special_tokens is False else self._contexts.ids(string)

    def apply_chat_template(self, chat_history: list[dict[str, Any]], add_generation_prompt: bool = True) -> str:
        """Return a chat as text.

        Raises:
            ValueError: no chat template, or one that refuses the messages.
        """
        return self._contexts.rendered(chat_history, add_generation_prompt)

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        return self._contexts.pair(context, continuation)

    def get_model_info(self) -> dict[str, Any]:
        """Return what lm-eval writes into its results: the checkpoint with a hash of its files, and the fields."""
        model = self.checkpoint.model
        return {
            "model_num_parameters": memory_of(model.config).parameters,
            "model_dtype": str(model.dtype),
            "checkpoint_hash": hash_of(self.checkpoint.source),
            "generation_fields": self.args.generation,
            "scores": self.args.scores,
        }

    # The three questions

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Answer every request, longest prompts first; one that cannot be answered has an empty answer."""
        answers = [""] * len(requests)
        running = sorted(self._prepared(requests), key=lambda one: -len(one.request.prompt_ids))
        with progress(len(running), "answering", disable_tqdm or self.rank != 0) as bar:
            for start in range(0, len(running), self._batch_size):
                batch = running[start : start + self._batch_size]
                outcomes = self.checkpoint.model.run_requests([one.request for one in batch])
                for one, (ended, _) in zip(batch, outcomes, strict=True):
                    answers[one.place] = cut(read(self.tokenizer, ended.answer_ids), one.until)
                    self.cache_hook.add_partial("generate_until", requests[one.place].args, answers[one.place])
                bar.update(len(batch))
        return answers

    def _prepared(self, requests: Sequence[Any]) -> Iterator[Prepared]:
        """Yield the engine's requests; those that cannot be answered are left out, with a warning."""
        repeats: Counter[str] = Counter()
        for place, (context, kwargs) in enumerate(request.args for request in requests):
            asked = read_generation_kwargs(kwargs, self.args.max_gen_toks)
            fields = {**self.args.generation, **asked.fields, "stop_strings": asked.until or None}
            if fields.get("seed") is not None:  # a prompt that is asked again is another draw
                fields["seed"] += repeats[repr((context, kwargs))]
            repeats[repr((context, kwargs))] += 1
            least = min(fields["max_new_tokens"], self.max_length // 2)  # of room; the context gives way only for that
            prompt = shortened(self._contexts.ids(context), self.max_length - least)
            fields["max_new_tokens"] = min(fields["max_new_tokens"], self.max_length - len(prompt))
            try:
                yield Prepared(place, self.checkpoint.request_for(prompt, fields), asked.until)
            except ValueError as error:
                logger.warning("Request %d counts as failed, its answer is empty: %s", place, error)

    def _loglikelihood_tokens(
        self, requests: Pairs, disable_tqdm: bool = False, **ignored: Any
    ) -> list[tuple[float, bool]]:
        """Score pairs, longest first."""
        found: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        order = sorted(range(len(requests)), key=lambda place: -sum(map(len, requests[place][1:])))
        with progress(len(order), "scoring", disable_tqdm or self.rank != 0) as bar:
            for start in range(0, len(order), self._batch_size):
                batch = order[start : start + self._batch_size]
                pairs = [requests[place] for place in batch]
                scores = score_pairs(self.checkpoint, pairs, self.max_length, self.args.bound_samples)
                for place, score in zip(batch, scores, strict=True):
                    found[place] = score
                    if requests[place][0] is not None:
                        self.cache_hook.add_partial("loglikelihood", requests[place][0], score)
                bar.update(len(batch))
        return found

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Score whole texts, each token once, behind as much of the text as the model can read."""
        windows, owners = [], []
        for place, request in enumerate(requests):
            tokens = self._contexts.text_ids(request.args[0])
            for window in get_rolling_token_windows(tokens, self.prefix_token_id, self.max_length, context_len=1):
                windows.append((None, *make_disjoint_window(window)))
                owners.append(place)
        totals = [0.0] * len(requests)
        for place, (score, _) in zip(owners, self._loglikelihood_tokens(windows, disable_tqdm), strict=True):
            totals[place] += score
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals


def progress(total: int, title: str, is_hidden: bool) -> "tqdm[Any]":
    """Return a progress bar."""
    return tqdm(total=total, desc=title, disable=is_hidden)
