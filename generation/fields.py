"""The fields of `generate`: one line each, from which everything else about them follows.

Defaults, validation, the decoders' `Settings`, refusals, options of the command line and the tables of the docs are
read from here. To add a field, add its line to FIELDS and name it in `reads` of a decoder (decoders/table.py).
"""

from dataclasses import dataclass
from typing import Any

from .field_checks import Check, Name, Number, OneOf, Seed, Switch, Texts, TokenId, TokenIds, Unchecked, Whole

# Names of the decoders of decoders/table.py, for the help of a command line that has no time to import them.
DECODER_NAMES = (
    "planned", "autoregressive", "diffusion", "fast_dllm", "adaptive_parallel", "block_diffusion",
    "parallel_autoregressive", "self_verified", "speculative", "parallel_speculative",
)  # fmt: skip
LARGEST_FACTOR = 1000  # a larger steps_ratio or length_scale is a typo


@dataclass(frozen=True)
class Field:
    """A field of `generate`.

    default: the value where neither the caller nor the checkpoint gives one.
    check: raises ValueError for a value that cannot be used.
    meaning: a sentence that makes sense without the field's name.
    in_cli: the command line has an option for it; False for fields that mean something in Python only.
    """

    default: Any
    check: Check
    meaning: str
    in_cli: bool = True


# Fields of this package.
FIELDS: dict[str, Field] = {
    "decoding": Field("planned", Name(), "Name of the decoder that writes the answer."),
    "span_attention": Field(
        None,
        OneOf(("sparse", "dense"), optional=True),
        'Whether the spans of a round see each other: "dense" if so, "sparse" if not; by default as in the checkpoint.',
    ),
    "steps_ratio": Field(
        1.0,
        Number("the share of a span's tokens that steps are taken for", above=0, at_most=LARGEST_FACTOR),
        "Denoising steps of a round, as a multiple of its longest span's tokens; below 1, steps write several tokens.",
    ),
    "confidence_threshold": Field(
        None,
        Number("a probability", above=0, at_most=1, optional=True),
        "Also write every blank whose most likely token has at least this probability.",
    ),
    "unmasking": Field(
        "entropy",
        OneOf(("entropy", "confidence", "margin", "random")),
        'Score by which blanks are chosen, highest first: "entropy", "confidence", "margin" or "random" (any order).',
    ),
    "unmasking_rule": Field(
        "schedule",
        OneOf(("schedule", "factor", "entropy_bound", "deferred_commitment")),
        'Rule for how many blanks a step writes: "schedule" (steps_ratio, confidence_threshold), "factor", '
        '"entropy_bound" or "deferred_commitment" (confidence_threshold).',
    ),
    "confidence_factor": Field(
        1.0,
        Number("1 in the paper; higher writes more", above=0),
        'Bound of the rule "factor": the n most confident blanks while (n + 1)(1 - the n-th confidence) is below.',
    ),
    "entropy_bound": Field(
        0.1,
        Number("nats; higher writes more", at_least=0),
        'Bound of the rule "entropy_bound", in nats: on the sum of a step\'s entropies without the largest.',
    ),
    "window_blanks": Field(16, Whole(), 'Blanks in the window of the rule "deferred_commitment", at most.'),
    "window_tokens": Field(128, Whole(), 'Tokens in the window of the rule "deferred_commitment", at most.'),
    "block_size": Field(32, Whole(), "Tokens of a block, for decoders that write block after block."),
    "block_cache": Field(
        "dual",
        OneOf(("dual", "prefix", "none")),
        'States that "fast_dllm" keeps while it fills a block: "dual" (before and behind it), "prefix" or "none".',
    ),
    "mixture_weight": Field(
        0.7,
        Number("the draft's share of the target", at_least=0, at_most=1),
        'Weight R of the draft in "adaptive_parallel": 0 lets the scorer decide, 1 accepts every draft.',
    ),
    "kv_window": Field(16, Whole(), 'Older tokens W that "adaptive_parallel" runs again at every step.'),
    "max_lookahead": Field(100, Whole(), 'Blanks M that "adaptive_parallel" drafts at once, at most.'),
    "refine_share": Field(
        0.0,
        Number("of the answer's tokens; 0 for none", at_least=0, at_most=1),
        "Share of the finished answer, its least sure tokens, that is written again with everything in sight.",
    ),
    "plan_lookahead": Field(
        0,
        Whole(at_least=0),
        "Tokens of the plan that are guessed and checked in one forward; the plan stays the same, or of the same "
        "distribution where it is sampled.",
    ),
    "plan_drafts": Field(
        0,
        Whole(at_least=0),
        "Tokens of the plan that blanks guess behind its last one, at most, where the decoder drafts nothing else; the "
        "plan stays the same. Pays where a model was trained with `draft_weight`.",
    ),
    "draft_tokens": Field(
        8,
        Whole(at_least=0),
        "Tokens that are guessed behind the last one of every open part, at most; the next forward checks them, and "
        "the answer stays the same, or of the same distribution where it is sampled.",
    ),
    "draft_lookup": Field(
        8,
        Whole(at_least=0),
        "Tokens that are guessed, at most, where the last two stood before in prompt or answer: those that followed "
        "them then; checked as `draft_tokens` are. Needs no training.",
    ),
    "draft_rows": Field(
        None,
        Whole(optional=True),
        "Rows of a forward that checks and makes guesses, of all its requests together, at most; by default 32 on a "
        "CPU and 128 on a GPU (benchmarks/narrow_forwards.py measures it).",
    ),
    "draft_acceptance": Field(
        0.5,
        Number("a share of the guesses", at_least=0, at_most=1),
        "Share of guesses expected to be right before any of an answer was checked; its own count takes over.",
    ),
    "length_scale": Field(
        1.0,
        Number("a factor on promised lengths", above=0, at_most=LARGEST_FACTOR),
        "Factor on the lengths that the model promises.",
    ),
    "distinct_topics": Field(
        False,
        Switch(),
        "Let no two topics of a round begin with the same token, those with digits aside; small models repeat them.",
    ),
    "max_spans": Field(32, Whole(), "Parts that the model may plan in a round, at most; a given plan may have more."),
    "max_rounds": Field(16, Whole(), "Rounds that the model may plan, at most; a given plan may have more."),
    "close_padding": Field(
        True, Switch(), "Let a written `[PAD]` close the rest of its span; without tags, EOS closes the answer as well."
    ),
    "suppress_in_spans": Field(
        None,
        TokenIds("[] to suppress nothing"),
        "Token ids that spans may not contain; by default the control tokens, [] for the published behaviour.",
    ),
    "keep_plan": Field(False, Switch(), "Return the answer as written, with its plan and tags."),
    "output_trace": Field(
        False, Switch(), "Record the positions, tokens and scores of every step in the trace.", in_cli=False
    ),
    "seed": Field(
        None,
        Seed(),
        "Random seed for sampling: one for all prompts of a batch (each draws as if it were alone), or one per prompt.",
    ),
}
READ_BY_ALL = ("decoding", "output_trace", "seed")  # whatever the decoder

# Fields of transformers' GenerationConfig that mean here what they mean there; their defaults are transformers'.
SHARED_FIELDS: dict[str, Field] = {
    "max_new_tokens": Field(
        None,
        Whole(optional=True),
        "Tokens written after the prompt, at most, plan and tags included; parts that do not fit are left out.",
    ),
    "max_length": Field(None, Whole(optional=True), "Tokens of prompt and answer together, at most."),
    "max_time": Field(None, Number("seconds", above=0, optional=True), "Seconds after which the answer is cut."),
    "do_sample": Field(None, Switch(optional=True), "Sample tokens instead of taking the most likely one."),
    "temperature": Field(
        None,
        Number("0 for greedy, 1 for the model's own", at_least=0, optional=True),
        "Temperature of sampling; 0 takes the most likely token.",
    ),
    "top_k": Field(
        None, Whole(at_least=0, optional=True), "Sample among this many of the most likely tokens; 0 for all."
    ),
    "top_p": Field(
        None,
        Number("a probability", above=0, at_most=1, optional=True),
        "Sample among the most likely tokens that together have this probability.",
    ),
    "stop_strings": Field(None, Texts(), "Texts at which the answer ends."),
    "num_return_sequences": Field(None, Whole(optional=True), "Sampled answers per prompt.", in_cli=False),
    "return_dict_in_generate": Field(
        None, Switch(optional=True), "Return a PlannedDiffusionOutput instead of a tensor.", in_cli=False
    ),
    "use_cache": Field(
        None, Unchecked(), "Accepted for compatibility; the cache is always used, and False warns.", in_cli=False
    ),
    "pad_token_id": Field(None, TokenId(), "Token id that pads prompts and sequences."),
    "bos_token_id": Field(None, TokenId(), "Token id that begins a text."),
    "eos_token_id": Field(None, TokenId(several=True), "Token id, or ids, that end an answer."),
    "compile_config": Field(
        None, Unchecked(), "A CompileConfig of transformers: the model runs compiled.", in_cli=False
    ),
    "disable_compile": Field(
        None, Switch(optional=True), "Run the model as it is, whatever compile_config says.", in_cli=False
    ),
}


class Settings:
    """The resolved fields of one request, as decoders read them: every key of `FIELDS` is a read-only attribute.

    Args:
        max_new_tokens: room for new tokens, plan and tags included.
        fields: values of fields; the others have their defaults.

    Raises:
        TypeError: a name that is no key of `FIELDS`.
    """

    def __init__(self, max_new_tokens: int, **fields: Any) -> None:
        unknown = fields.keys() - FIELDS.keys()
        if unknown:
            raise TypeError(f"{min(unknown)} is no field of generate; add it to FIELDS.")
        values = {name: field.default for name, field in FIELDS.items()} | fields
        values["suppress_in_spans"] = frozenset(values["suppress_in_spans"] or ())
        self.__dict__.update(values, max_new_tokens=max_new_tokens)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{name} is no field of generate.")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Settings are read-only; make new ones with but({name}=...).")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Settings) and vars(self) == vars(other)

    __hash__ = None  # pyright: ignore[reportAssignmentType]  # values may be lists

    def but(self, **changes: Any) -> "Settings":
        """Return the same settings with some fields changed."""
        return Settings(**{**vars(self), **changes})

    @property
    def is_dense(self) -> bool:
        """Whether the spans of a round see each other."""
        return self.span_attention == "dense"

    @property
    def is_in_random_order(self) -> bool:
        """Whether blanks are written in any order, whatever the model says of them."""
        return self.unmasking == "random"
