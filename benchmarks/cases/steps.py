"""One forward of each kind, batch 1: a planning step, denoising steps by number of tokens, a commit; and by context."""

from bench import Bench, commit, denoising, planning, step_row, sweep

CONTEXT = 256  # tokens before the step
TOKENS = (16, 64, 130, 250, 512, 1024, 2048, 4096)
ROUND = 130  # tokens of a round's open spans: the mean of the paper
CONTEXTS = (512, 1024, 2048, 4096, 8192)


def step_kinds(bench: Bench) -> list[dict]:
    """A planning step and a commit."""
    kinds = {"planning": planning(bench, CONTEXT), f"commit of {ROUND}": commit(bench, CONTEXT, ROUND)}
    return [{"step": name, **step_row(bench, query, CONTEXT)} for name, query in kinds.items()]


def denoising_by_tokens(bench: Bench) -> list[dict]:
    """Denoising steps of 16 ... 4,096 tokens behind a context of 256."""
    return sweep(bench, "tokens", TOKENS, lambda count: step_row(bench, denoising(bench, CONTEXT, count), CONTEXT))


def planning_by_context(bench: Bench) -> list[dict]:
    """A planning step behind 512 ... 8,192 tokens."""
    return sweep(bench, "context", CONTEXTS, lambda size: step_row(bench, planning(bench, size), size))


def denoising_by_context(bench: Bench) -> list[dict]:
    """A denoising step of 130 tokens behind 512 ... 8,192 tokens."""
    return sweep(bench, "context", CONTEXTS, lambda size: step_row(bench, denoising(bench, size, ROUND), size))
