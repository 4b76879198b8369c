"""Answers per second of the embedded model: requests together in one engine against one at a time."""

from harness import arguments, interleaved, ratio, report, stamp
from transformers import AutoTokenizer

from planned_diffusion import PlannedDiffusionForCausalLM
from planned_diffusion.evaluation.facts.evaluate import EMBEDDED, SYSTEMS, answer
from planned_diffusion.evaluation.facts.generator import held_out_examples


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", default=str(EMBEDDED))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--requests", type=int, default=32)
    parser.add_argument(
        "--systems", nargs="+", default=["planned, ratio 1", "planned, threshold 0.9", "autoregressive"]
    )
    args = parser.parse_args()
    model = PlannedDiffusionForCausalLM.from_pretrained(args.model, dtype="auto").to(args.device).eval()
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    examples = held_out_examples(args.requests, seed=7)
    rows = []
    for system in args.systems:

        def run(batch_size: int, system: str = system):
            return lambda: list(answer(model, tokenizer, examples, batch_size, **SYSTEMS[system]))

        seconds = interleaved({"alone": run(1), "together": run(args.batch)}, args.repeats)
        middle = {name: sorted(values)[len(values) // 2] / args.requests for name, values in seconds.items()}
        rows.append(
            {
                "system": system,
                "ms per answer, alone": 1000 * middle["alone"],
                f"ms per answer, batch {args.batch}": 1000 * middle["together"],
                "gain": ratio(seconds["alone"], seconds["together"]),
                "target": 2.5,
            }
        )
    report("Batching", rows, stamp(dtype=str(model.dtype), batch=args.batch, seed=7), args.out)


if __name__ == "__main__":
    main()
