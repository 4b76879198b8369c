"""Useful training tokens per second: examples in padded rows of their own, against rows that they share.

planned-diffusion annotate ../shared/data/structured_pool.jsonl.gz runs/pool.jsonl
python benchmarks/packing.py --data runs/pool.jsonl
"""

from pathlib import Path

import torch
from harness import arguments, interleaved, ratio, report, stamp
from transformers import AutoTokenizer

from planned_diffusion import PlannedDiffusionForCausalLM
from planned_diffusion.generation.tokens import ControlTokens
from planned_diffusion.loading.embedded import EMBEDDED
from planned_diffusion.training.collator import PlannedDiffusionCollator
from planned_diffusion.training.dataset import encode_records, read_records, within
from planned_diffusion.training.examples import Example
from planned_diffusion.training.loss import planned_diffusion_loss
from planned_diffusion.training.objective import Objective
from planned_diffusion.training.starting_point import new_model

OBJECTIVE = Objective(complementary_masks=False)


def fitting(data: str, tokenizer, model, count: int, longest: int) -> list[Example]:
    """The first `count` records in random order that need at most `longest` positions."""
    control = ControlTokens.from_config(model.config)
    records = read_records(data)
    order = torch.randperm(len(records), generator=torch.Generator().manual_seed(0)).tolist()
    examples = encode_records([records[index] for index in order[: 4 * count]], tokenizer, control)
    return within(examples, OBJECTIVE, longest, "drop")[:count]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--data", required=True, help="annotated records, JSONL")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--longest", type=int, default=1024, help="leave out records of more positions")
    parser.add_argument("--packed-lengths", type=int, nargs="+", default=[1024, 2048])
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED)
    recipe = Path(__file__).parents[1] / "training" / "recipes" / "facts_model.yaml"
    torch.manual_seed(0)
    model = new_model(str(recipe), tokenizer, "sdpa").to(args.device)
    assert isinstance(model, PlannedDiffusionForCausalLM)
    examples = fitting(args.data, tokenizer, model, args.batch * args.batches, args.longest)
    items = [{"index": index} for index in range(len(examples))]
    batches = [items[start : start + args.batch] for start in range(0, len(items), args.batch)]
    ways = {"a row each": None} | {f"packed into {length}": length for length in args.packed_lengths}
    collated = {}
    for name, length in ways.items():
        control = ControlTokens.from_config(model.config)
        collator = PlannedDiffusionCollator(examples, OBJECTIVE, control, packed_length=length)
        collated[name] = [{key: value.to(args.device) for key, value in collator(batch).items()} for batch in batches]

    def run(name: str):
        def train():
            for batch in collated[name]:
                with torch.autocast(args.device, dtype=torch.bfloat16):
                    loss = planned_diffusion_loss(model, batch).total
                loss.backward()
                model.zero_grad()

        return train

    seconds = interleaved({name: run(name) for name in ways}, args.repeats)
    rows = []
    for name, of_way in collated.items():
        useful = sum(int((batch["document"] > 0).sum()) for batch in of_way)
        cells = sum(batch["document"].numel() for batch in of_way)
        middle = sorted(seconds[name])[len(seconds[name]) // 2]
        gain = ratio(seconds["a row each"], seconds[name])
        rows.append(
            {"rows": name, "useful": useful / cells, "useful tokens/s": useful / middle, "gain": gain, "target": 2.0}
        )
    report("Packing", rows, stamp(dtype="bfloat16 autocast", batch=args.batch, data=args.data), args.out)


if __name__ == "__main__":
    main()
