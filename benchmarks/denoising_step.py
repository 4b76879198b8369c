"""A denoising step against the transformer trunk alone on the same tokens, averaged over a whole fill.

The trunk is timed twice: inside the very forwards of the fill, and alone (same tokens and mask, no cache around it).
"""

import time

import torch
from harness import arguments, interleaved, ratio, report, stamp
from models import SHAPES, random_model


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="630M")
    parser.add_argument("--spans", type=int, default=6)
    parser.add_argument("--length", type=int, default=40)
    parser.add_argument("--prompt", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = random_model(args.shape, args.device)
    prompt = torch.randint(100, 100_000, (1, args.prompt), device=args.device)
    plan = [[[([1000 + span], args.length) for span in range(args.spans)]]]
    fields = {"plan": plan, "close_padding": False, "max_new_tokens": 1000, "return_dict_in_generate": True}
    inside = []
    trunk_forward = model.model.forward

    def timed_trunk(**kwargs):
        started = time.perf_counter()
        result = trunk_forward(**kwargs)
        if args.device == "cuda":
            torch.cuda.synchronize()
        inside.append(time.perf_counter() - started)
        return result

    def fill():
        assert model.generate(prompt, **fields).trace[0].denoising == args.length

    def fill_timed():
        model.model.forward = timed_trunk
        try:
            fill()
        finally:
            model.model.forward = trunk_forward

    tokens = args.spans * (args.length + 2)
    ids = torch.randint(100, 100_000, (1, tokens), device=args.device)
    mask = torch.ones(1, 1, tokens, tokens, dtype=torch.bool, device=args.device)

    @torch.no_grad()
    def trunk_alone():
        for _ in range(args.length):
            model.model(input_ids=ids, attention_mask=mask, use_cache=False)

    seconds = interleaved({"fill": fill, "trunk alone": trunk_alone}, args.repeats)
    inside.clear()
    started = time.perf_counter()
    fill_timed()
    whole = time.perf_counter() - started
    step = [value / args.length for value in seconds["fill"]]
    rows = [
        {
            "tokens per step": tokens,
            "ms per step": 1000 * sorted(step)[len(step) // 2],
            "step / trunk alone": ratio(seconds["fill"], seconds["trunk alone"]),
            "step / trunk inside": whole / sum(inside),
            "target": 1.40,
        }
    ]
    report(
        f"Denoising step, {args.shape}, {args.spans} spans of {args.length}, ratio 1",
        rows,
        stamp(dtype="bfloat16", batch=1, seed=0),
        args.out,
    )


if __name__ == "__main__":
    main()
