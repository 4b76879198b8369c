"""Composition over a backbone equals the native causal language model: names, weights, logits, losses, gradients."""

import pytest
import torch
from transformers import AutoModelForCausalLM, DynamicCache

from planned_diffusion.generation.cache_names import NAMES, OUTPUT_FIELD, cache_argument
from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM

ARCHITECTURES = ["qwen2", "qwen3", "llama"]
IDS = torch.tensor([[5, 60, 33, 97, 12, 80, 2], [9, 8, 7, 6, 5, 4, 3]])
PADDED = torch.tensor([[0, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1]])


@pytest.fixture(scope="module", params=[(name, tie) for name in ARCHITECTURES for tie in (False, True)], ids=str)
def pair(request, build_model):
    """The native model, and ours with its weights."""
    architecture, tie = request.param
    ours = build_model(architecture, tie=tie)
    torch.manual_seed(7)
    native = AutoModelForCausalLM.from_config(ours.config.backbone_config).eval()
    missing, unexpected = ours.load_state_dict(native.state_dict())
    assert not missing and not unexpected
    return native, ours


def test_parameter_names_are_the_native_ones(pair):
    native, ours = pair
    assert list(ours.state_dict()) == list(native.state_dict())
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in native.named_parameters()]
    tied = native.config.tie_word_embeddings
    assert (ours.lm_head.weight is ours.model.embed_tokens.weight) == tied
    assert ours.num_parameters() == native.num_parameters()


@torch.no_grad()
def test_logits_are_bit_equal(pair):
    native, ours = pair
    assert ours(IDS).logits.equal(native(IDS).logits)
    assert ours(input_ids=IDS, attention_mask=PADDED).logits.equal(native(input_ids=IDS, attention_mask=PADDED).logits)
    embeddings = native.get_input_embeddings()(IDS)
    assert ours(inputs_embeds=embeddings).logits.equal(native(inputs_embeds=embeddings).logits)


@torch.no_grad()
@pytest.mark.parametrize("keep", [0, 1, 3, torch.tensor([0, 2])], ids=["all", "last", "three", "rows"])
def test_logits_to_keep(keep, pair):
    native, ours = pair
    assert ours(IDS, logits_to_keep=keep).logits.equal(native(IDS, logits_to_keep=keep).logits)


@torch.no_grad()
def test_what_else_is_returned(pair):
    native, ours = pair
    out, expected = (model(IDS, output_hidden_states=True) for model in (ours, native))
    assert len(out.hidden_states) == 3
    assert all(a.equal(b) for a, b in zip(out.hidden_states, expected.hidden_states, strict=True))
    assert out.loss is None


@torch.no_grad()
def test_a_tuple_may_be_asked_for(pair):
    native, ours = pair
    out, expected = (model(IDS, labels=IDS, use_cache=False, return_dict=False) for model in (ours, native))
    assert type(out) is tuple and len(out) == len(expected) == 2
    assert all(a.equal(b) for a, b in zip(out, expected, strict=True))


def test_labels_give_the_native_loss_and_gradients(pair):
    native, ours = pair
    labels = IDS.clone()
    labels[0, :3] = -100
    for model in (native, ours):
        model.zero_grad()
        model(IDS, labels=labels).loss.backward()
    assert ours(IDS, labels=labels).loss.equal(native(IDS, labels=labels).loss)
    logits = ours(IDS).logits
    by_hand = torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, 112), labels[:, 1:].reshape(-1))
    torch.testing.assert_close(ours(IDS, labels=labels).loss, by_hand)
    for (name, parameter), other in zip(ours.named_parameters(), native.parameters(), strict=True):
        assert parameter.grad.equal(other.grad), name
        parameter.grad = other.grad = None


@torch.no_grad()
def test_decoding_with_a_dynamic_cache(pair):
    native, ours = pair
    whole = ours(IDS).logits
    cache, other = DynamicCache(config=ours.config.backbone_config), DynamicCache(config=native.config)
    for part in (slice(0, 4), slice(4, 5), slice(5, 7)):
        out = ours(IDS[:, part], past_key_values=cache, use_cache=True)
        expected = native(IDS[:, part], use_cache=True, **{cache_argument(native): other})
        assert out.logits.equal(expected.logits)
        torch.testing.assert_close(out.logits, whole[:, part], atol=1e-5, rtol=0)
    assert out[OUTPUT_FIELD] is cache and cache.get_seq_length() == 7


@torch.no_grad()
def test_the_cache_by_either_name(pair):
    """`past_key_values` up to transformers 5.23, `cache` from then on; ours takes both on every version."""
    _, ours = pair
    logits = []
    for name in NAMES:
        cache = DynamicCache(config=ours.config.backbone_config)
        ours(IDS[:, :4], **{name: cache})
        logits.append(ours(IDS[:, 4:], **{name: cache}).logits)
        assert cache.get_seq_length() == 7
    assert logits[0].equal(logits[1])


@pytest.mark.parametrize(("names", "expected"), [(("cache",), "cache"), (("past_key_values",), "past_key_values")])
def test_the_signature_of_a_backbone_names_its_cache(names, expected):
    source = f"def forward(self, input_ids, {names[0]}=None, **kwargs): ..."
    scope: dict = {}
    exec(source, scope)
    backbone = type("Backbone", (torch.nn.Module,), {"forward": scope["forward"]})()
    assert cache_argument(backbone) == expected


@torch.no_grad()
def test_a_native_folder_loads(pair, tmp_path):
    """A native checkpoint has the same names: its tensors are ours."""
    from safetensors.torch import load_file

    native, ours = pair
    native.save_pretrained(tmp_path)
    fresh = PlannedDiffusionForCausalLM(ours.config).eval()
    missing, unexpected = fresh.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}  # not stored where tied
    fresh.tie_weights()
    assert fresh(IDS).logits.equal(native(IDS).logits)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes(dtype, build_model):
    ours = build_model(dtype=dtype)
    native = AutoModelForCausalLM.from_config(ours.config.backbone_config).to(dtype).eval()
    native.load_state_dict(ours.state_dict())
    assert ours(IDS).logits.dtype == dtype and ours(IDS).logits.equal(native(IDS).logits)
    assert ours.dtype == dtype


@pytest.mark.parametrize("tie", [False, True])
def test_resizing_the_vocabulary(tie, build_model):
    model = build_model(tie=tie)
    before = model(IDS).logits
    model.resize_token_embeddings(120)
    assert model.config.vocab_size == model.config.backbone_config.vocab_size == 120
    assert model.lm_head.weight.shape == model.model.embed_tokens.weight.shape == (120, 64)
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == tie
    torch.testing.assert_close(model(IDS).logits[..., :112], before)
    assert model.generate(IDS[:1], max_new_tokens=20).shape[1] > 7


@pytest.mark.parametrize(
    "architecture, name, value, neutral",
    [
        ("gemma2", "final_logit_softcapping", 30.0, None),
        ("granite", "logits_scaling", 8.0, 1.0),
        ("cohere", "logit_scale", 0.0625, 1.0),
    ],
)
def test_heads_that_do_more_are_refused(architecture, name, value, neutral, build_model):
    message = f"{architecture} rescales its logits \\({name}={value}\\), .* choose another backbone"
    with pytest.raises(ValueError, match=message):
        build_model(architecture, backbone={name: value})
    ours = build_model(architecture, backbone={name: neutral})
    native = AutoModelForCausalLM.from_config(ours.config.backbone_config).eval()
    native.load_state_dict(ours.state_dict())
    assert ours(IDS).logits.equal(native(IDS).logits)


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox"])
def test_backbones_with_other_names_are_refused(architecture, build_config):
    with pytest.raises(ValueError, match=f"{architecture} keeps its embedding elsewhere than in embed_tokens.*choose"):
        PlannedDiffusionForCausalLM(build_config(architecture))


def test_embeddings_can_be_replaced(build_model):
    model = build_model()
    model.set_input_embeddings(torch.nn.Embedding(112, 64))
    model.set_output_embeddings(torch.nn.Linear(64, 112, bias=False))
    assert model.get_input_embeddings() is model.model.embed_tokens
    assert model.get_output_embeddings() is model.lm_head


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradient_checkpointing_gives_equal_gradients(architecture, build_model):
    grads = []
    for checkpointing in (False, True):
        model = build_model(architecture).train()
        if checkpointing:
            getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
            assert all(layer.gradient_checkpointing for layer in model.model.layers)
        model(IDS, labels=IDS, use_cache=False).loss.backward()
        grads.append([parameter.grad for parameter in model.parameters()])
    assert all(a.equal(b) for a, b in zip(*grads, strict=True))
