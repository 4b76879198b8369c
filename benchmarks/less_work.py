"""Measures every way to do less work on the embedded model's held-out prompts: savings, and whether answers change.

    python benchmarks/less_work.py --out benchmarks/results/less_work.json

Where a saving can be switched off, both ways run in turns, one prompt at a time: forwards, tokens run, seconds, facts
right, and how many answers are equal. Two cannot be switched off and are counted from the events of the same run:

    unchanged rows    a step runs the tokens of open spans only; otherwise it would run the whole round
    commit            finished spans run along with the next plan token; otherwise in a forward of their own

In float32, since batches of another width round bfloat16 differently.
"""

import statistics
from dataclasses import dataclass
from unittest import mock

import torch
from harness import arguments, interleaved, ratio, report, stamp, timing
from transformers import AutoTokenizer

from planned_diffusion import PlannedDiffusionForCausalLM
from planned_diffusion.evaluation.variants import PLANNED
from planned_diffusion.facts.generator import FactsQuestion, held_out_questions
from planned_diffusion.facts.metric import facts_right
from planned_diffusion.generation.engine import prefix
from planned_diffusion.generation.events import Forward, PlanDone
from planned_diffusion.loading.embedded import EMBEDDED

SEED = 7
SAMPLES = 8
THRESHOLD = {**PLANNED, "confidence_threshold": 0.9}
# What is switched -> fields of generate without it, and with it.
SWITCHED = {
    "a written [PAD] closes the rest of its span (ratio 1)": ({**PLANNED, "close_padding": False}, PLANNED),
    "sure tokens are written at once (threshold 0.9 for ratio 1)": (PLANNED, THRESHOLD),
    "plans are guessed ahead (lookahead 3, threshold 0.9)": (THRESHOLD, {**THRESHOLD, "plan_lookahead": 3}),
}


@dataclass
class Answers:
    """The result of one way of running: texts and, per mean answer, forwards and tokens run."""

    texts: list[str]
    forwards: float
    tokens_run: float


def answer_all(model, tokenizer, prompts: list[str], listener=None, **fields) -> Answers:
    texts, traces = [], []
    for prompt in prompts:
        inputs = tokenizer(prompt, return_tensors="pt").to(model.device)
        out = model.generate(**inputs, return_dict_in_generate=True, listener=listener, **fields)
        texts += tokenizer.batch_decode(out.sequences[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        traces += out.trace
    mean = statistics.fmean
    return Answers(texts, mean(trace.forwards for trace in traces), mean(trace.tokens_run for trace in traces))


def right(examples: list[FactsQuestion], texts: list[str]) -> float:
    scores = [facts_right(example, text) for example, text in zip(examples, texts, strict=True)]
    return sum(score.right for score in scores) / sum(score.total for score in scores)


def row(what: str, without: Answers, with_it: Answers, **more) -> dict:
    """One line of the table; costs as without -> with."""
    equal = sum(a == b for a, b in zip(without.texts, with_it.texts, strict=True))
    return {
        "what": what,
        "forwards": f"{without.forwards:.1f} -> {with_it.forwards:.1f}",
        "tokens run": f"{without.tokens_run:.0f} -> {with_it.tokens_run:.0f}",
        **more,
        "answers equal": f"{equal} of {len(with_it.texts)}",
    }


def switched(model, tokenizer, examples: list[FactsQuestion], args) -> list[dict]:
    """A row for every saving that a field of `generate` turns on."""
    prompts, rows = [example.prompt for example in examples], []
    for what, ways in SWITCHED.items():
        without, with_it = (answer_all(model, tokenizer, prompts, **fields) for fields in ways)
        runs = [lambda fields=fields: answer_all(model, tokenizer, prompts, **fields) for fields in ways]
        seconds = interleaved(dict(zip(("without", "with"), runs, strict=True)), args.repeats)
        facts = [right(examples, answers.texts) for answers in (without, with_it)]
        more = timed(seconds) | {"facts right": " -> ".join(f"{share:.1%}" for share in facts)}
        rows.append(row(what, without, with_it, **more))
    return rows


def timed(seconds: dict[str, list[float]]) -> dict:
    gain = ratio(seconds["without"], seconds["with"])
    return {"seconds, without / with": f"{gain:.2f}", "spread %": timing(seconds["with"])["spread %"]}


def shared_beginnings(model, tokenizer, examples: list[FactsQuestion], args) -> dict:
    """Samples of one long prompt, with and without running their beginning once."""
    prompts = [" ".join(example.prompt for example in examples[:SAMPLES])]
    fields = {**THRESHOLD, "num_return_sequences": SAMPLES, "do_sample": True, "seed": 3, "max_new_tokens": 64}

    def run(shortest: int) -> Answers:
        with mock.patch.object(prefix, "WORTH_SHARING", shortest):
            return answer_all(model, tokenizer, prompts, **fields)

    never, normal = 10**9, prefix.WORTH_SHARING
    without, with_it = run(never), run(normal)
    seconds = interleaved({"without": lambda: run(never), "with": lambda: run(normal)}, args.repeats)
    tokens = len(tokenizer(prompts[0])["input_ids"])
    what = f"a common beginning runs once ({SAMPLES} samples of {tokens} tokens)"
    return row(what, without, with_it, **timed(seconds))


def counted(model, tokenizer, examples: list[FactsQuestion]) -> list[dict]:
    """Return rows for savings that cannot be switched off, from the events of planned answers at ratio 1."""
    round_tokens, whole_rounds, rest, forwards, commits = 0, 0, 0, 0, 0

    def listen(index: int, event) -> None:
        nonlocal round_tokens, whole_rounds, rest, forwards, commits
        if isinstance(event, PlanDone):
            round_tokens = sum(2 + len(span.positions) for span in event.spans)  # with their tags
        if isinstance(event, Forward):
            forwards, commits = forwards + 1, commits + event.commits
            if event.purpose == "denoising":
                whole_rounds += round_tokens
            else:
                rest += event.tokens

    ran = answer_all(model, tokenizer, [example.prompt for example in examples], listener=listen, **PLANNED)
    count = len(examples)
    whole = Answers(ran.texts, ran.forwards, (whole_rounds + rest) / count)
    apart = Answers(ran.texts, (forwards + commits) / count, ran.tokens_run)
    return [
        row("unchanged rows are not run again (counted)", whole, ran),
        row("a commit shares the next plan token's forward (counted)", apart, ran),
    ]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--prompts", type=int, default=64)
    args = parser.parse_args()
    model = PlannedDiffusionForCausalLM.from_pretrained(EMBEDDED, dtype=torch.float32).to(args.device).eval()
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED)
    examples = held_out_questions(args.prompts, SEED)
    rows = [
        *switched(model, tokenizer, examples, args),
        shared_beginnings(model, tokenizer, examples, args),
        *counted(model, tokenizer, examples),
    ]
    report("Less work: without -> with", rows, stamp(dtype="float32", prompts=args.prompts, seed=SEED), args.out)


if __name__ == "__main__":
    main()
