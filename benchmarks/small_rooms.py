"""Asks the included model for answers with less and less room: what becomes of their plans, and what `ended` says.

    python benchmarks/small_rooms.py --out benchmarks/results/small_rooms.json

Per value of `max_new_tokens`, over all held-out prompts: answers with a plan, as plain text, complete (`ended` "eos")
and cut ("length"); and the faults, which should be 0:

    garbage topics    a topic that the same prompt's whole plan does not have at that place
    ended wrong       "eos" where a part, text or EOS is missing, "length" where nothing is, or more tokens than room

In float32, since batches of another width round bfloat16 differently.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from harness import arguments, report, stamp
from transformers import AutoTokenizer

from planned_diffusion import PlannedDiffusionForCausalLM
from planned_diffusion.facts.generator import held_out_questions
from planned_diffusion.generation.events import Ended
from planned_diffusion.loading.embedded import EMBEDDED

SEED = 7
ROOMS = (1, 5, 12, 14, *range(20, 151, 10), 72, 75)
ENOUGH = 320


@dataclass
class Answer:
    """An answer: prose, reason of its end, topics of its parts, and tokens used of the room."""

    text: str
    ended: str
    topics: list[str]
    used: int


def answer_all(model, tokenizer, prompts: Sequence[str], room: int, **fields) -> list[Answer]:
    """Answer prompts in one batch, with room for so many new tokens."""
    ends: dict[int, Ended] = {}

    def listen(index: int, event) -> None:
        if isinstance(event, Ended):
            ends[index] = event

    inputs = tokenizer(list(prompts), return_tensors="pt", padding=True, padding_side="left")
    fields = {"max_new_tokens": room, "return_dict_in_generate": True, **fields}
    out = model.generate(**inputs, tokenizer=tokenizer, listener=listen, **fields)
    texts = tokenizer.batch_decode(out.sequences[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    topics = [[span.topic for spans in plan for span in spans] for plan in out.plans]
    used = [len(ends[index].written_ids) for index in range(len(prompts))]
    return [Answer(*parts) for parts in zip(texts, out.ended, topics, used, strict=True)]


def row(room: int, answers: Sequence[Answer], planned: Sequence[Answer], plain: Sequence[Answer]) -> dict[str, int]:
    """Return a line of the table; `planned` and `plain` are the whole answers, with a plan and left to right."""
    pairs = list(zip(answers, planned, plain, strict=True))
    return {
        "max_new_tokens": room,
        "with a plan": sum(bool(answer.topics) for answer in answers),
        "plain text": sum(not answer.topics for answer in answers),
        'ended "eos"': sum(answer.ended == "eos" for answer in answers),
        'ended "length"': sum(answer.ended == "length" for answer in answers),
        "garbage topics": sum(answer.topics != whole.topics[: len(answer.topics)] for answer, whole, _ in pairs),
        "ended wrong": sum(not ended_right(room, *pair) for pair in pairs),
    }


def ended_right(room: int, answer: Answer, planned: Answer, plain: Answer) -> bool:
    """Return whether `ended` says "eos" just where nothing is missing."""
    if answer.topics or room >= planned.used:
        complete = answer.topics == planned.topics and answer.text == planned.text
    else:
        complete = answer.text == plain.text and room >= plain.used
    return answer.used <= room and answer.ended == ("eos" if complete else "length")


def table(model, tokenizer, prompts: Sequence[str], rooms: Sequence[int]) -> list[dict[str, int]]:
    """Return a line per room."""
    planned = answer_all(model, tokenizer, prompts, ENOUGH)
    plain = answer_all(model, tokenizer, prompts, ENOUGH, decoding="autoregressive")
    return [row(room, answer_all(model, tokenizer, prompts, room), planned, plain) for room in sorted(rooms)]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--prompts", type=int, default=40)
    args = parser.parse_args()
    model = PlannedDiffusionForCausalLM.from_pretrained(EMBEDDED, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED)
    prompts = [example.prompt for example in held_out_questions(args.prompts, SEED)]
    rows = table(model, tokenizer, prompts, ROOMS)
    report("Answers with little room", rows, stamp(dtype="float32", prompts=args.prompts, seed=SEED), args.out)


if __name__ == "__main__":
    main()
