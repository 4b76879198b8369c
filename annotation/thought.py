"""The thought before an answer, as reasoning models write it: `<think> ... </think>`.

Chat templates that write the opening tag themselves leave data without it; the closing tag then has a line of its own.

A thought is written before everything else, and everything else sees it: it becomes a round of one span. An empty one,
as Qwen3 writes it where it does not think, is no part of its own and stays at the beginning of the first span.
"""

import re
from dataclasses import replace

from .structure import Annotation

TOPIC = "thought"
_THOUGHT = re.compile(r"\s*<think>(.*?)</think>\s*|((?:(?!<think>).)*?)\n</think>\n\s*", re.DOTALL)


def split_thought(answer: str) -> tuple[str, str]:
    """Cut an answer behind its thought; the two parts, joined, are the answer. Without a thought the first is empty."""
    found = _THOUGHT.match(answer)
    return (found[0], answer[found.end() :]) if found else ("", answer)


def with_thought(thought: str, plan: Annotation) -> Annotation:
    """Return the plan of a whole answer, whose thought comes before the rounds; an answer without plan stays plain."""
    if not thought or not plan.rounds:
        return plan
    found = _THOUGHT.fullmatch(thought)
    if found and (found[1] or found[2] or "").strip():
        return replace(plan, rounds=(((TOPIC, thought),), *plan.rounds))
    (topic, text), *others = plan.rounds[0]
    return replace(plan, rounds=(((topic, thought + text), *others), *plan.rounds[1:]))
