"""Special ids and generation defaults, wherever they stand: the converted checkpoint ends where the native one ends."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from planned_diffusion.hub.convert.convert import convert
from planned_diffusion.modeling_planned_diffusion import PlannedDiffusionForCausalLM

PROMPT = torch.tensor([[5, 60, 33]])
LIMIT = 24
FILES = {"config": "config.json", "generation": "generation_config.json"}


def store(folder, name: str, fields: dict | None) -> None:
    """Replace the ids and the generation fields in one of the source's files; None removes the file."""
    file = folder / FILES[name]
    if fields is None:
        file.unlink(missing_ok=True)
        return
    kept = json.loads(file.read_text()) if name == "config" else {}
    file.write_text(json.dumps({key: value for key, value in kept.items() if "token_id" not in key} | fields))


@pytest.fixture(scope="module")
def source(native_folder, bytes_of_others, tmp_path_factory):
    """(folder, ids that the native model writes when nothing ends it); no template, and an EOS that it never writes."""
    folder = tmp_path_factory.mktemp("native")
    native_folder(folder, tokenizer=bytes_of_others(None))
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.generation_config = GenerationConfig(max_new_tokens=LIMIT, do_sample=False)
    written = list(dict.fromkeys(model.generate(PROMPT)[0, 3:].tolist()))
    assert len(written) > 9 and 256 not in written
    return folder, written


def answers(folder) -> tuple[list[int], list[int]]:
    """What the native checkpoint and its conversion write, greedily, left to right."""
    given = {"max_new_tokens": LIMIT, "do_sample": False, "attention_mask": torch.ones_like(PROMPT)}
    native = AutoModelForCausalLM.from_pretrained(folder).generate(PROMPT, **given)
    converted = PlannedDiffusionForCausalLM.from_pretrained(folder / "out")
    ours = converted.generate(PROMPT, decoding="autoregressive", **given)
    return native[0, 3:].tolist(), ours[0, 3:].tolist()


@pytest.fixture
def conversion(source, tmp_path):
    """conversion(config=fields, generation=fields or None) -> a copy of the source, converted into its folder `out`."""

    def build(config: dict, generation: dict | None):
        folder = tmp_path / "source"
        folder.mkdir()
        for file in source[0].iterdir():
            if file.is_file():
                (folder / file.name).write_bytes(file.read_bytes())
        store(folder, "config", config)
        store(folder, "generation", generation)
        return folder, convert(folder, folder / "out")

    return build


# Places of the two ids a and b, which the model writes, a first: config.json, generation_config.json.
@pytest.mark.parametrize(
    ("config", "generation"),
    [
        ("ab", None), ("a", None), ("b", None), ("ab", "ab"), ("", "ab"), ("", "b"), ("a", "b"), ("ab", "b"),
        ("b", "a"), ("", None),
    ],
)  # fmt: skip
def test_ends_where_the_native_model_ends(config, generation, source, conversion):
    ids = dict(zip("ab", (source[1][3], source[1][8]), strict=True))

    def fields(letters):
        chosen = [ids[letter] for letter in letters]
        return {"eos_token_id": chosen if len(chosen) > 1 else chosen[0]} if chosen else {}

    folder, _ = conversion(fields(config), None if generation is None else fields(generation))
    native, ours = answers(folder)
    assert ours == native and (len(native) < LIMIT) == bool(config or generation)


def test_ids_of_config_json_serve_where_the_other_file_has_none(source, conversion):
    """The native model would never end then; the converted one does."""
    folder, _ = conversion({"eos_token_id": source[1][3]}, {"temperature": 0.5})
    native, ours = answers(folder)
    assert ours == native[: len(ours)] and ours[-1] == source[1][3]


@pytest.mark.parametrize("place", ["config", "generation", "tokenizer"])
@pytest.mark.parametrize("name", ["bos", "eos", "pad"])
def test_an_id_that_stands_in_one_place_only(name, place, native_folder, bytes_of_others, tmp_path):
    folder, tokenizer = tmp_path, bytes_of_others(None)
    native_folder(folder, "llama", tokenizer=tokenizer)  # Qwen2's tokenizer class has special tokens of its own
    if name != "eos" or place != "tokenizer":
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        settings.pop("eos_token")
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    spelling, token = tokenizer.convert_ids_to_tokens(200), 200
    if place == "tokenizer":
        tokenizer = AutoTokenizer.from_pretrained(folder, **{f"{name}_token": spelling})
        tokenizer.save_pretrained(folder)
    for file in FILES:
        needed = {} if name == "eos" else {"eos_token_id": 256}
        store(folder, file, {**needed, **({f"{name}_token_id": token} if file == place else {})})
    convert(folder, folder / "out")
    saved = GenerationConfig.from_pretrained(folder / "out")
    assert getattr(saved, f"{name}_token_id") == token
    if name != "bos":
        assert getattr(AutoTokenizer.from_pretrained(folder / "out"), f"{name}_token_id") == token


def test_defaults_are_kept_or_named(conversion, source):
    fields = {"max_new_tokens": 7, "temperature": 0.7, "top_k": 20, "top_p": 0.8, "do_sample": True, "num_beams": 1}
    folder, report = conversion({}, {**fields, "repetition_penalty": 1.05, "eos_token_id": [256, 9999]})
    saved = PlannedDiffusionForCausalLM.from_pretrained(folder / "out").generation_config
    assert (saved.max_new_tokens, saved.temperature, saved.top_k, saved.top_p) == (7, 0.7, 20, 0.8)
    assert saved.do_sample is False and saved.eos_token_id == 256
    assert report.notes[-3:] == [
        "The source samples by default; here answers are greedy unless do_sample is given.",
        "These generation defaults of the source have no meaning here: repetition_penalty=1.05.",
        "The source also names 9999 as EOS, which no token of its tokenizer has.",
    ]


def test_limits_of_config_json_are_kept_where_there_is_no_other_file(conversion):
    folder, _ = conversion({"max_length": 9, "eos_token_id": 256}, None)
    assert PlannedDiffusionForCausalLM.from_pretrained(folder / "out").generation_config.max_length == 9
    native = AutoModelForCausalLM.from_pretrained(folder).generate(PROMPT, do_sample=False)
    ours = PlannedDiffusionForCausalLM.from_pretrained(folder / "out").generate(PROMPT, decoding="autoregressive")
    assert ours.tolist() == native.tolist()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "generation_config.json is not JSON .*; fetch it anew"),
        ("[]", "generation_config.json holds no JSON object; fetch it anew"),
        ('{"eos_token_id": "</s>"}', "eos_token_id is '</s>', which is no token id; fetch its files anew"),
        ('{"pad_token_id": -1}', "pad_token_id is -1, which is no token id"),
        ('{"top_p": 3}', "generation defaults cannot be used: top_p is 3; give a number above 0 and at most 1"),
    ],
)
def test_broken_defaults_are_refused(text, says, native_folder, tmp_path):
    native_folder(tmp_path / "source")
    (tmp_path / "source/generation_config.json").write_text(text)
    with pytest.raises(ValueError, match=says):
        convert(tmp_path / "source", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
