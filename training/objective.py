"""The training objective: what is drawn at each use of an example, and how much each token counts."""

from dataclasses import dataclass

from ..configuration_planned_diffusion import SPAN_ATTENTIONS


@dataclass(frozen=True)
class Objective:
    """What is drawn at each use of an example, and what counts how much.

    Args:
        span_attention: "sparse" or "dense", as in the model's config.
        span_padding: least and most `[PAD]` before `</async>`, drawn uniformly; 0 to 10 in the paper.
        span_multiple: further pads fill each span to a multiple of this many tokens; with the checkpoint's
            `tokens_per_length_unit` to the very room that generation gives it. A span sees its own tokens, the plan and
            its place; only where rooms are as promised does the place tell which promise is its own.
        noise_range: least and greatest probability t of masking a content token, drawn uniformly.
        fully_masked_share: probability of t = 1 instead. A span that shows some of its words tells what it is about;
            only one that shows none, as at the first step of generation, must find its promise by its place, and
            uniform t makes those rare (1 in 15 for 14 tokens).
        plan_loss_weight: weight of a plan token.
        span_next_token_weight: weight of the next-token loss on a causal copy of the spans; 0 leaves the copy out.
        complementary_masks: every span gets a second noisy copy, in which what the first one masked is kept and what
            it kept is masked; each of the two counts half (Fast-dLLM v2, arXiv 2509.26328).
        plain_share: probability of using a tagged example as plain text, which teaches left-to-right decoding.
        plain_start_weight: weight of the answer's first token where a tagged example is used as plain text or in
            blocks. There the model decides whether to plan: where most uses are plain, 1 teaches it to plan no more,
            and a smaller weight leaves the decision to the tagged uses.
        block_share: probability of using an example as a plain answer in blocks, which teaches block diffusion and
            plain diffusion; drawn before `plain_share`.
        block_sizes: tokens of a block, drawn from these at each use. A block that holds the whole answer is a canvas of
            plain diffusion. Sizes that grow from one stage of training to the next are next-block prediction's way to
            take a left-to-right model along (arXiv 2512.06776).
        seed: of everything drawn.

    Raises:
        ValueError: a field outside its range.
    """

    span_attention: str = "sparse"
    span_padding: tuple[int, int] = (0, 10)
    span_multiple: int = 1
    noise_range: tuple[float, float] = (1e-3, 1.0)
    fully_masked_share: float = 0.0
    plan_loss_weight: float = 1.0
    span_next_token_weight: float = 0.0
    complementary_masks: bool = False
    plain_share: float = 0.0
    plain_start_weight: float = 1.0
    block_share: float = 0.0
    block_sizes: tuple[int, ...] = (4, 8, 16, 32)
    seed: int = 0

    def __post_init__(self):
        if self.span_attention not in SPAN_ATTENTIONS:
            raise ValueError(f"span_attention is {self.span_attention!r}; choose one of {', '.join(SPAN_ATTENTIONS)}.")
        if len(self.span_padding) != 2 or not 0 <= self.span_padding[0] <= self.span_padding[1]:
            raise ValueError(
                f"span_padding is {self.span_padding}; give the least and the most pads, 0 <= least <= most."
            )
        if self.span_multiple < 1:
            raise ValueError(f"span_multiple is {self.span_multiple}; give a number of tokens, at least 1.")
        if len(self.noise_range) != 2 or not 0 < self.noise_range[0] <= self.noise_range[1] <= 1:
            raise ValueError(f"noise_range is {self.noise_range}; give two probabilities, 0 < least <= greatest <= 1.")
        for name in ("plan_loss_weight", "span_next_token_weight", "plain_start_weight"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}; give a finite number, at least 0.")
        for name in ("plain_share", "block_share", "fully_masked_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give a fraction from 0 to 1.")
        if not self.block_sizes or min(self.block_sizes) < 1:
            raise ValueError(f"block_sizes is {self.block_sizes}; give at least one number of tokens, each at least 1.")
        if self.seed < 0:
            raise ValueError(f"The objective's seed is {self.seed}; give an integer, at least 0.")
