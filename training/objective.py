"""The training objective, declared once: what is drawn at each use of a record, and how much each token counts.

`ObjectiveFields` are the fields of a recipe and of the command line, with their defaults and help. `Objective` adds the
fields that the trained model and the run determine, and checks all of them.
"""

from dataclasses import asdict, dataclass, field

from ..configuration_planned_diffusion import SPAN_ATTENTIONS, PlannedDiffusionConfig


@dataclass(frozen=True)
class ObjectiveFields:
    """The part of the objective that a recipe chooses; checked when it becomes an `Objective`."""

    # 0 to 10 in the paper (arXiv 2510.18087).
    span_padding: list[int] = field(
        default_factory=lambda: [0, 10],
        metadata={"help": "Least and most [PAD] tokens put at the end of a span, drawn uniformly."},
    )
    # A span sees its own tokens, the plan and its place; only where rooms are as promised does the place tell which
    # promise is its own.
    fill_promised_room: bool = field(
        default=False,
        metadata={"help": "Pad each span further to whole length units, the room that generation gives it."},
    )
    noise_range: list[float] = field(
        default_factory=lambda: [1e-3, 1.0],
        metadata={"help": "Least and greatest probability t of masking a content token, drawn uniformly."},
    )
    # A span that shows some of its words tells what it is about. A span that shows none, as at the first step of
    # generation, must find its promise by its place, and uniform t makes those rare (1 in 15 for 14 tokens).
    fully_masked_share: float = field(
        default=0.0, metadata={"help": "Probability of masking a span whole (t = 1), whatever noise_range says."}
    )
    plan_loss_weight: float = field(default=1.0, metadata={"help": "Loss weight of a plan token."})
    span_next_token_weight: float = field(
        default=0.0,
        metadata={
            "help": "Loss weight of a left-to-right copy of the spans; 0 leaves the copy out, unless drafts need it."
        },
    )
    # Each of the two views counts half (Fast-dLLM v2, arXiv 2509.26328).
    complementary_masks: bool = field(
        default=True, metadata={"help": "Add a second view of every span, with masked and kept tokens swapped."}
    )
    plain_share: float = field(
        default=0.0,
        metadata={"help": "Probability of using a tagged record as plain text, which teaches left-to-right decoding."},
    )
    # There the model decides whether to plan: where most uses are plain, 1 teaches it to plan no more, and a smaller
    # weight leaves the decision to the tagged uses.
    plain_start_weight: float = field(
        default=1.0,
        metadata={
            "help": "Loss weight of the answer's first token where a tagged record is used as plain text or in blocks; "
            "below 1 keeps the model planning."
        },
    )
    block_share: float = field(
        default=0.0,
        metadata={
            "help": "Probability of using a record as a plain answer in blocks, which teaches block diffusion and "
            "plain diffusion; drawn before plain_share."
        },
    )
    # A block that holds the whole answer is a canvas of plain diffusion. Sizes that grow from one stage of training to
    # the next take a left-to-right model along (next-block prediction, arXiv 2512.06776).
    block_sizes: list[int] = field(
        default_factory=lambda: [4, 8, 16, 32],
        metadata={"help": "Block sizes in tokens, one of which is drawn at each use."},
    )
    # Multi-token prediction by mask tokens (arXiv 2507.11851). The decay is that of a guess's worth: it is used only
    # where all before it were right.
    draft_weight: float = field(
        default=0.0,
        metadata={
            "help": "Loss weight of the first of the blanks that learn to guess tokens ahead, for speculative "
            "decoding; 0 leaves them out."
        },
    )
    draft_anchors: int = field(
        default=4,
        metadata={"help": "Most tokens of a plan, span or plain answer behind which blanks stand, drawn at each use."},
    )
    draft_tokens: int = field(default=4, metadata={"help": "Number of blanks behind each of draft_anchors."})
    draft_decay: float = field(
        default=0.8, metadata={"help": "Loss weight of a blank, relative to the blank before it."}
    )


@dataclass(frozen=True)
class Objective(ObjectiveFields):
    """The whole objective of a run, each field in its range.

    Args:
        span_attention: "sparse" or "dense", as in the model's config.
        tokens_per_length_unit: as in the model's config; matters with `fill_promised_room` only.
        seed: seed of everything drawn.
        drafts_alone: nothing but drafts is learnt, as by gated adapters, and their labels are what the loss is a mean
            over.

    Raises:
        ValueError: a field outside its range.
    """

    span_attention: str = "sparse"
    tokens_per_length_unit: int = 1
    seed: int = 0
    drafts_alone: bool = False

    @classmethod
    def for_model(
        cls, fields: ObjectiveFields, config: PlannedDiffusionConfig, seed: int, drafts_alone: bool = False
    ) -> "Objective":
        """Return the objective that a recipe's fields mean for the model that is trained."""
        return cls(
            **asdict(fields),
            span_attention=config.span_attention,
            tokens_per_length_unit=config.tokens_per_length_unit,
            seed=seed,
            drafts_alone=drafts_alone,
        )

    @property
    def span_multiple(self) -> int:
        """Tokens to a multiple of which a span is padded; with the checkpoint's unit, its room in generation."""
        return self.tokens_per_length_unit if self.fill_promised_room else 1

    @property
    def has_causal_copies(self) -> bool:
        """Whether spans are copied to be read left to right; drafts stand behind tokens of these copies."""
        return self.span_next_token_weight > 0 or self.draft_weight > 0

    def __post_init__(self) -> None:
        if self.span_attention not in SPAN_ATTENTIONS:
            raise ValueError(f"span_attention is {self.span_attention!r}; choose one of {', '.join(SPAN_ATTENTIONS)}.")
        if self.tokens_per_length_unit < 1:
            raise ValueError(
                f"tokens_per_length_unit is {self.tokens_per_length_unit}; give a number of tokens, at least 1."
            )
        if self.seed < 0:
            raise ValueError(f"The objective's seed is {self.seed}; give an integer, at least 0.")
        if not self.block_sizes or min(self.block_sizes) < 1:
            raise ValueError(f"block_sizes is {self.block_sizes}; give at least one number of tokens, each at least 1.")
        if self.drafts_alone and not self.draft_weight:
            raise ValueError("Nothing but drafts is learnt (lora_gated), and draft_weight is 0; set draft_weight: 1.")
        if self.drafts_alone and self.block_share:
            raise ValueError(
                f"Nothing but drafts is learnt (lora_gated), and block_share is {self.block_share}; leave it out, as "
                "answers in blocks have no drafts."
            )
        self._check_ranges()

    def _check_ranges(self) -> None:
        """Raise ValueError where a range, a weight or a share is out of bounds."""
        if len(self.span_padding) != 2 or not 0 <= self.span_padding[0] <= self.span_padding[1]:
            raise ValueError(
                f"span_padding is {self.span_padding}; give the least and the most pads, 0 <= least <= most."
            )
        if len(self.noise_range) != 2 or not 0 < self.noise_range[0] <= self.noise_range[1] <= 1:
            raise ValueError(f"noise_range is {self.noise_range}; give two probabilities, 0 < least <= greatest <= 1.")
        for name in ("plan_loss_weight", "span_next_token_weight", "plain_start_weight", "draft_weight"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}; give a finite number, at least 0.")
        for name in ("draft_anchors", "draft_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give a number of tokens, at least 1.")
        if not 0 < self.draft_decay <= 1:
            raise ValueError(f"draft_decay is {self.draft_decay}; give a fraction above 0, up to 1.")
        for name in ("plain_share", "block_share", "fully_masked_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give a fraction from 0 to 1.")
