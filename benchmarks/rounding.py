"""Measures what rounding does to a model: its probabilities of texts that are given, beside those in float32.

    python benchmarks/rounding.py --model smollm2-planner --texts alpaca_eval_reference.json --count 25

The texts are answers to instructions (`instruction`, `output`; JSON or JSON Lines), read as they are. Columns:

    dtype              as generate takes it
    nats / token       more than in float32, of the texts' tokens; mean and its standard error
    divergence         Kullback-Leibler, from float32's distribution of the next token; nats
    same first choice  share of tokens at which the likeliest next token is float32's
"""

import json
from argparse import Namespace
from pathlib import Path

import torch
from harness import arguments, report, stamp

from planned_diffusion.cli.model_names import checkpoint_of
from planned_diffusion.inference.answer import Checkpoint, open_checkpoint
from planned_diffusion.records.encoding import encode_prompt
from planned_diffusion.records.jsonl import json_lines, open_bytes

REFERENCE = "float32"


def read_texts(path: Path, count: int) -> list[tuple[str, str]]:
    """Return the first instructions of a file, each with its answer."""
    lines = [line for _, line in json_lines(path)] if ".jsonl" in path.name else json.load(open_bytes(path))
    return [(line["instruction"], line["output"]) for line in lines[:count]]


def log_probabilities(checkpoint: Checkpoint, ids: list[int]) -> torch.Tensor:
    """Return those of the next token behind each token but the last, float32 [N - 1, V]."""
    logits = checkpoint.model(input_ids=torch.tensor([ids])).logits
    return logits[0, :-1].float().log_softmax(dim=-1)


@torch.no_grad()
def main(args: Namespace) -> None:
    """Read the texts in every data type and print the table."""
    reference = open_checkpoint(checkpoint_of(args.model), REFERENCE, "cpu")
    tokenizer, texts = reference.tokenizer, []
    for instruction, output in read_texts(args.texts, args.count):
        answer = tokenizer(output, add_special_tokens=False)["input_ids"]
        texts.append((encode_prompt(tokenizer, instruction) + answer)[: args.longest])
    exact = [log_probabilities(reference, ids) for ids in texts]
    rows = []
    for dtype in args.dtypes:
        checkpoint = open_checkpoint(checkpoint_of(args.model), dtype, "cpu")
        more, divergence, same = [], [], []
        for ids, truth in zip(texts, exact, strict=True):
            found, following = log_probabilities(checkpoint, ids), torch.tensor(ids[1:])[:, None]
            more.append((truth.gather(1, following) - found.gather(1, following))[:, 0])
            divergence.append((truth.exp() * (truth - found)).sum(dim=-1))
            same.append((truth.argmax(dim=-1) == found.argmax(dim=-1)).float())
        each = torch.cat(more)
        rows.append(
            {
                "dtype": dtype,
                "nats / token": f"{each.mean():+.4f} +- {each.std() / len(each) ** 0.5:.4f}",
                "divergence": round(torch.cat(divergence).mean().item(), 5),
                "same first choice": round(torch.cat(same).mean().item(), 4),
            }
        )
    tokens = sum(len(ids) - 1 for ids in texts)
    report("what rounding does", rows, stamp(model=args.model, texts=len(texts), tokens=tokens), args.out)


if __name__ == "__main__":
    parser = arguments(__doc__ or "")
    parser.add_argument("--model", required=True, help="checkpoint folder, or a name")
    parser.add_argument("--texts", type=Path, required=True, help="JSON or JSON Lines of instruction and output")
    parser.add_argument("--count", type=int, default=25, help="texts, from the first one on (%(default)s)")
    parser.add_argument("--longest", type=int, default=256, help="tokens of a text that are read (%(default)s)")
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "w8a16", "w8a8"], help="(%(default)s)")
    main(parser.parse_args())
