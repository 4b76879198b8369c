"""The gain of a plan: an answer's ideal critical path beside its length; where it is too small, the answer stays plain.

Critical path: per round the tokens of the plan, its terminator (`<sync/>` or EOS) and the longest span, one forward per
token, as if every other span were free. Sequential: the tokens of all spans and EOS, which is the answer without plan.
A thought before the answer is written before it in both cases and counts in neither.
"""

from dataclasses import replace

from ..records.tagged import parse_tagged, plain_text
from .independence import PLAIN
from .outcomes import Kept
from .tagging import Sizes
from .thought import TOPIC


def plan_tokens(sizes: Sizes) -> int:
    """Count the tokens of a plan; each round's ends in `<sync/>`, the last one's in EOS."""
    return sum(sizes.plan) + len(sizes.spans)


def critical_path(sizes: Sizes) -> int:
    """Count the forwards of an answer whose spans beside the longest of each round are free."""
    return plan_tokens(sizes) + sum(map(max, sizes.spans))


def sequential(sizes: Sizes) -> int:
    """Count the forwards of an answer without plan."""
    return sum(map(sum, sizes.spans)) + 1


def check_min_gain(min_gain: float | None) -> None:
    """Raise ValueError for a share that is none."""
    if min_gain is not None and not 0 < min_gain <= 1:
        raise ValueError(
            f"min_gain is {min_gain}; give the largest critical path as a share of the plain length, above 0 and at "
            "most 1, or none to keep every plan."
        )


def plain_where_it_gains_little(kept: Kept, min_gain: float | None) -> Kept:
    """Return a record without its plan where its critical path is more than this share of its plain length."""
    if min_gain is None or not kept.sizes.spans:
        return kept
    messages = kept.row["messages"]
    answer = messages[-1]["content"]
    is_thought = parse_tagged(answer)[0][0].topic == TOPIC and len(kept.sizes.spans) > 1
    thought = sum(kept.sizes.spans[0]) if is_thought else 0
    if critical_path(kept.sizes) - thought <= min_gain * (sequential(kept.sizes) - thought):
        return kept
    messages = [*messages[:-1], {**messages[-1], "content": plain_text(answer)}]
    row = {**kept.row, "messages": messages, "annotation": PLAIN}
    return replace(kept, row=row, kind=PLAIN, reason=f"small gain ({kept.kind})", sizes=Sizes((), ()))
