"""decoding="autoregressive" against the native model's own `generate`, time per token, same weights, same tokens."""

import torch
from harness import arguments, interleaved, ratio, report, stamp
from models import SHAPES, random_model
from transformers import AutoModelForCausalLM

from planned_diffusion import PlannedDiffusionForCausalLM


def native_twin(model):
    """The native causal language model of transformers over the very same parameters."""
    with torch.device("meta"):
        twin = AutoModelForCausalLM.from_config(model.config.backbone_config)
    twin.load_state_dict(model.state_dict(), assign=True)
    twin.model.rotary_emb = model.model.rotary_emb
    return twin.eval()


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", help="a checkpoint; a random model of --shape by default")
    parser.add_argument("--shape", choices=SHAPES, default="630M")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.model:
        model = PlannedDiffusionForCausalLM.from_pretrained(args.model, dtype="auto").to(args.device).eval()
    else:
        model = random_model(args.shape, args.device)
    native = native_twin(model)
    prompt = torch.randint(100, 1000, (1, 32), device=args.device)
    never = model.config.vocab_size - 1  # ends neither: both write exactly --tokens

    def ours():
        out = model.generate(
            prompt, decoding="autoregressive", max_new_tokens=args.tokens, do_sample=False, return_dict_in_generate=True
        )
        return out.trace[0].forwards

    def theirs():
        native.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=args.tokens, min_new_tokens=args.tokens,
            do_sample=False, eos_token_id=never, pad_token_id=never,
        )  # fmt: skip

    written = ours()
    args.tokens = written  # where the model ends early, both write that many
    seconds = interleaved({"ours": ours, "native": theirs}, args.repeats)
    rows = [
        {
            "model": args.model or args.shape,
            "tokens": written,
            "ms per token, ours": 1000 * sorted(seconds["ours"])[args.repeats // 2] / written,
            "ms per token, native": 1000 * sorted(seconds["native"])[args.repeats // 2] / written,
            "ours / native": ratio(seconds["ours"], seconds["native"]),
            "target": 1.10,
        }
    ]
    report("Left to right", rows, stamp(dtype=str(model.dtype), batch=1, seed=0), args.out)


if __name__ == "__main__":
    main()
