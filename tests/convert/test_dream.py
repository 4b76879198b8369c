"""Dream's format and that of the published planned-diffusion checkpoints, which is Dream's with tags."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, Qwen2ForCausalLM

from planned_diffusion.configuration_planned_diffusion import PlannedDiffusionConfig
from planned_diffusion.hub.convert.convert import convert
from planned_diffusion.hub.convert.source_config import read_config
from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM

GOLDEN = (Path(__file__).resolve().parents[2] / "../shared/golden").resolve()
PUBLISHED_IDS = {
    "<|im_end|>": 151645, "<|mask|>": 151666, "<async>": 151667, "</async>": 151668, "<promise>-<topic>": 151669,
    "</topic>": 151670, "<sync/>": 151671, "[PAD]": 151672, "0 ... 9": list(range(15, 25)),
}  # fmt: skip
DREAM_7B = {
    "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
    "num_key_value_heads": 4, "max_position_embeddings": 131072,
}  # fmt: skip
IDS = torch.tensor([[5, 60, 33, 97, 12, 80, 2]])


@pytest.fixture(scope="module")
def weights(dream_config, tmp_path_factory):
    """Random ones under Dream's names, and the Qwen2 model that they make."""
    folder = tmp_path_factory.mktemp("config")
    (folder / "config.json").write_text(json.dumps(dream_config()))
    torch.manual_seed(0)
    return Qwen2ForCausalLM._from_config(read_config(folder).backbone, dtype=torch.bfloat16).eval()


@pytest.mark.slow
@torch.no_grad()
def test_dream_gets_the_ids_of_the_published_checkpoints(weights, dream_folder, qwen2_files, tmp_path):
    source = tmp_path / "source"
    dream_folder(source, weights.state_dict())
    qwen2_files(source, "dream")
    report = convert(source, tmp_path / "out")
    assert report.tokens == PUBLISHED_IDS
    assert set(report.added) == set(PUBLISHED_IDS) - {"<|im_end|>", "<|mask|>", "0 ... 9"}
    assert report.rows == (152064, 152064) and report.rows_set == 6
    assert (report.tokens_per_length_unit, report.span_attention, report.span_separator) == (10, "sparse", "")
    ours = PlannedDiffusionForCausalLM.from_pretrained(tmp_path / "out")
    assert ours.dtype == torch.bfloat16 and ours.config.backbone_config.model_type == "qwen2"
    assert ours.config.backbone_config.use_cache
    logits, before = ours(IDS).logits, weights(IDS).logits
    assert logits[..., :151667].equal(before[..., :151667]) and logits[..., 151673:].equal(before[..., 151673:])
    assert not (tmp_path / "out" / "tokenization_dream.py").exists()
    assert "auto_map" not in json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer("<|mask|>1 23")["input_ids"] == [151666, 16, 220, 17, 18]
    assert ours.generation_config.eos_token_id == [151645, 151643]


@pytest.mark.slow
def test_published_checkpoints_keep_every_byte_of_their_weights(weights, dream_folder, qwen2_files, tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    dream_folder(source, weights.state_dict(), model_type="dream", is_causal=False, disable_block_sparsity=True)
    qwen2_files(source, "published")
    report = convert(source, out)
    assert report.tokens == PUBLISHED_IDS and not report.added and report.rows_set == 0
    assert (report.tokens_per_length_unit, report.span_attention, report.span_separator) == (10, "dense", " ")
    for file in source.glob("*.safetensors"):
        assert (out / file.name).read_bytes() == file.read_bytes()
    tokenizer = AutoTokenizer.from_pretrained(out)  # the tags become special: answers do not show them
    assert tokenizer.decode([151667, 64, 151672, 151668, 151671], skip_special_tokens=True) == "a"


def expected_7b() -> dict[str, tuple[int, ...]]:
    """Names and shapes of Dream-7B, by hand."""
    hidden, inner, keys, rows = 3584, 18944, 4 * 128, 152064
    shapes = {
        "model.embed_tokens.weight": (rows, hidden),
        "model.norm.weight": (hidden,),
        "lm_head.weight": (rows, hidden),
    }
    for layer in range(28):
        block = {
            "self_attn.q_proj.weight": (hidden, hidden), "self_attn.q_proj.bias": (hidden,),
            "self_attn.k_proj.weight": (keys, hidden), "self_attn.k_proj.bias": (keys,),
            "self_attn.v_proj.weight": (keys, hidden), "self_attn.v_proj.bias": (keys,),
            "self_attn.o_proj.weight": (hidden, hidden), "mlp.gate_proj.weight": (inner, hidden),
            "mlp.up_proj.weight": (inner, hidden), "mlp.down_proj.weight": (hidden, inner),
            "input_layernorm.weight": (hidden,), "post_attention_layernorm.weight": (hidden,),
        }  # fmt: skip
        shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in block.items()}
    return shapes


def test_the_true_shapes_of_dream_7b(dream_config, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(dream_config(**DREAM_7B)))
    foreign = read_config(tmp_path)
    with torch.device("meta"):
        model = PlannedDiffusionForCausalLM(PlannedDiffusionConfig(foreign.backbone))
    assert {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()} == expected_7b()
    assert model.num_parameters() == 7_615_616_512
    backbone = foreign.backbone
    assert backbone.rope_parameters["rope_theta"] == 1e6 and backbone.rms_norm_eps == 1e-6
    assert backbone.layer_types == ["full_attention"] * 28 and foreign.mask_token_id == 151666


@pytest.mark.parametrize(
    ("architecture", "rows", "fields"),
    [
        ("qwen2", 152064, {**DREAM_7B}),
        ("qwen3", 151936, {"hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36,
                           "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128}),
        ("llama", 128256, {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
                           "num_attention_heads": 32, "num_key_value_heads": 8}),
    ],
)  # fmt: skip
def test_the_true_shapes_of_native_models(architecture, rows, fields):
    """Qwen2.5-7B, Qwen3-8B, Llama-3.1-8B: our model's tensors are the native one's."""
    ids = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    config = AutoConfig.for_model(architecture, vocab_size=rows, tie_word_embeddings=False, **fields, **ids)
    with torch.device("meta"):
        native = AutoModelForCausalLM.from_config(config)
        ours = PlannedDiffusionForCausalLM(PlannedDiffusionConfig(config))
    shapes = [{name: tensor.shape for name, tensor in model.state_dict().items()} for model in (ours, native)]
    assert shapes[0] == shapes[1]


# Recordings of the published implementation

CASES = json.loads((GOLDEN / "generation_cases.json").read_text()) if GOLDEN.is_dir() else []


@pytest.fixture(scope="module")
def golden(dream_folder, byte_tokenizer, tmp_path_factory):
    """The recorded model in the published format, converted."""
    source = tmp_path_factory.mktemp("published")
    tiny = json.loads((GOLDEN / "tiny_config.json").read_text())
    sizes = (
        "vocab_size", "max_position_embeddings", "hidden_size", "intermediate_size", "num_hidden_layers", "hidden_act",
        "num_attention_heads", "num_key_value_heads", "rms_norm_eps", "rope_theta", "tie_word_embeddings",
    )  # fmt: skip
    ids = {"mask_token_id": 101, "eos_token_id": 100, "bos_token_id": None, "pad_token_id": None}
    fields = {name: tiny[name] for name in sizes}
    weights = load_file(GOLDEN / "tiny_model.safetensors")
    dream_folder(source, weights, shards=3, **fields, **ids, torch_dtype="float32", model_type="dream")
    (source / "generation_config.json").unlink()
    byte_tokenizer.save_pretrained(source)
    stored = json.loads((source / "tokenizer_config.json").read_text())
    stored |= {
        "tokenizer_class": "DreamTokenizer",
        "auto_map": {"AutoTokenizer": ["tokenization_dream.DreamTokenizer", None]},
    }
    (source / "tokenizer_config.json").write_text(json.dumps(stored))
    out = tmp_path_factory.mktemp("golden") / "out"
    report = convert(source, out)
    assert not report.added and report.rows == (112, 112)
    assert (report.tokens_per_length_unit, report.span_attention, report.span_separator) == (10, "sparse", " ")
    return PlannedDiffusionForCausalLM.from_pretrained(out)


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="no recordings of the published code at ../shared/golden")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_recorded_answers(case, golden):
    out = golden.generate(
        torch.tensor([case["prompt_ids"]]),
        plan=[case["plan_tokens"]],
        span_attention=case["attention"],
        suppress_in_spans=[],
        close_padding=False,
        keep_plan=True,
        max_new_tokens=400,
        output_trace=True,
        return_dict_in_generate=True,
        **{field: case[field] for field in ("unmasking", "steps_ratio", "top_k", "top_p")},
    )
    assert out.sequences[0].tolist() == [*case["output_ids"], 100]
    recorded = [(step["positions"], step["tokens"]) for part in case["rounds"] for step in part["steps"]]
    assert [(list(step.positions), list(step.token_ids)) for step in out.trace[0].steps] == recorded
