"""A compiled backbone: the same answers, shapes that repeat, buffers that stay where they are from engine to engine."""

import shutil

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import CompileConfig

from planned_diffusion.generation.engine import runner
from planned_diffusion.generation.engine.cache import SlotCache
from planned_diffusion.generation.engine.compilation import state_of_weights
from planned_diffusion.generation.engine.engine import Engine
from planned_diffusion.generation.engine.packing import Layout, Packed, Segment
from planned_diffusion.generation.engine.runner import Runner, rounded_up
from planned_diffusion.generation.engine.slots import SlotTable
from planned_diffusion.generation.visibility import CLEAN, NO_DOCUMENT, NO_SPAN
from planned_diffusion.inference import answer

PROMPTS = ([7, 31, 64, 5, 9], [12, 80, 3])
LONGEST = 80  # rows


@pytest.fixture
def compiler():
    """(CompileConfig, graphs): what is traced runs as it is, and `graphs` gets its inputs."""
    graphs = []

    def backend(graph, inputs, **options):
        graphs.append(inputs)
        return graph

    torch._dynamo.reset()
    yield CompileConfig(backend=backend), graphs
    torch._dynamo.reset()


def test_rounded_up():
    assert [rounded_up(rows, any_width=True) for rows in (1, 2, 3, 65)] == [2, 2, 3, 65]
    assert [rounded_up(rows) for rows in (1, 2, 3, 8, 9, 17, 33, 64, 65, 128, 129, 500)] == [
        2, 2, 4, 8, 16, 24, 48, 64, 128, 128, 192, 512,
    ]  # fmt: skip
    assert all(rounded_up(rows) >= rows and rounded_up(rounded_up(rows)) == rounded_up(rows) for rows in range(1, 600))


@pytest.mark.slow
def test_answers_are_the_same_and_graphs_are_kept(planner, compiler, left_padded):
    config, graphs = compiler
    fields = {"max_new_tokens": 60, "pad_token_id": 99}
    ids, mask = left_padded([list(prompt) for prompt in PROMPTS])
    expected = planner.generate(ids, attention_mask=mask, **fields)
    assert planner.generate(ids, attention_mask=mask, compile_config=config, **fields).equal(expected)
    compiled = len(graphs)
    assert compiled > 0
    assert planner.generate(ids, attention_mask=mask, compile_config=config, **fields).equal(expected)
    assert len(graphs) == compiled, "a second call needs no new graph"


@torch.no_grad()
def step(one: Runner, rows: int) -> torch.Tensor:
    """A forward over the first rows of one document; the logits of the last."""
    inside, positions = [0] * rows, list(range(rows))
    layout = Layout(
        slots=positions, documents=inside, spans=[NO_SPAN] * rows, rounds=inside, streams=inside, positions=positions
    )
    segments = [Segment(range(rows), range(LONGEST))]
    return one.logits(Packed(list(range(20, 20 + rows)), layout, segments, wanted=[rows - 1]))


def runner_of(model, config: CompileConfig | None = None) -> Runner:
    one = Runner(model, config)
    one.slots.place(0, [CLEAN] * LONGEST, range(LONGEST))
    return one


@pytest.fixture
def as_it_is(monkeypatch):
    """`torch.compile` compiles nothing; a list gets (rows, whether it would have run compiled) of every forward."""
    seen, plain = [], runner.last_hidden_states

    def noting(compiled: bool):
        return lambda backbone, **inputs: (
            seen.append((inputs["input_ids"].shape[1], compiled)) or plain(backbone, **inputs)
        )

    monkeypatch.setattr(torch, "compile", lambda function, **options: noting(True))
    monkeypatch.setattr(runner, "last_hidden_states", noting(False))
    return seen


def test_the_first_forward_and_wide_ones_run_as_they_are(build_model, as_it_is, monkeypatch):
    monkeypatch.setattr(runner, "WIDEST", 64)
    one = runner_of(build_model(), CompileConfig())
    for rows in (8, 1, 5, 8, 30, 64, 65):
        step(one, rows)
    assert as_it_is == [(8, False), (2, True), (8, True), (8, True), (32, True), (64, True), (65, False)]


def test_what_pads_changes_nothing(build_model, as_it_is):
    """Rows that repeat the last one: logits and cache are those of the rows alone."""
    model = build_model()
    padded, plain = runner_of(model, CompileConfig()), runner_of(model)
    for rows in (8, 5, 8, 3, 11):
        torch.testing.assert_close(step(padded, rows), step(plain, rows))
    assert [rows for rows, compiled in as_it_is if compiled] == [8, 8, 4, 16]
    for kept, other in zip(padded.slots.cache._buffers, plain.slots.cache._buffers, strict=True):
        torch.testing.assert_close(kept, other)


def buffers(cache: SlotCache) -> list[int]:
    return [buffer.data_ptr() for pair in cache._buffers for buffer in pair]


def slots_of(engine: Engine) -> SlotTable:
    return engine.runners[0].slots


def test_a_later_engine_gets_the_buffers_and_nothing_that_was_in_them(build_model, as_it_is):
    model = build_model(seed=5)
    first, second = (runner_of(model, CompileConfig()) for _ in range(2))
    for one in (first, second):
        step(one, 8)
    places = buffers(first.slots.cache)
    assert not set(places) & set(buffers(second.slots.cache)), "who runs at the same time shares nothing"
    del first, one
    third = slots_of(Engine(model, compile_config=CompileConfig()))
    assert buffers(third.cache) == places
    assert third.taken == 0 and (third.cache._labels == NO_DOCUMENT).all()
    assert all((buffer == 0).all() for pair in third.cache._buffers for buffer in pair)
    assert not slots_of(Engine(model)).cache.built, "who does not compile starts afresh"
    doubled = Engine(model.double(), compile_config=CompileConfig())
    assert not slots_of(doubled).cache.built, "other types, other buffers"


def test_buffers_are_marked_wherever_they_come_to_lie(monkeypatch):
    marked = []
    monkeypatch.setattr(torch._dynamo, "mark_static_address", lambda tensor: marked.append(tensor.data_ptr()))
    cache = SlotCache("cpu", capacity=64, for_graphs=True)
    cache.write_to(torch.arange(4), torch.zeros(5, 4, dtype=torch.long), used=64)
    cache.update(torch.ones(1, 2, 4, 8), torch.ones(1, 2, 4, 8), 0)
    assert marked == buffers(cache)
    cache.reserve(128)
    assert marked[2:] == buffers(cache), "grown buffers lie elsewhere"


# Frozen weights

FROZEN = CompileConfig(**answer.FROZEN)


@pytest.fixture
def fresh_compiler():
    if not any(map(shutil.which, ("g++", "clang++", "c++"))):
        pytest.skip("torch compiles for a CPU with a C++ compiler: apt install g++")
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own code generation
def test_frozen_weights_answer_alike_and_are_frozen_anew_when_they_change(build_model, fresh_compiler):
    model = build_model(seed=3)
    ids = torch.tensor([PROMPTS[0]])
    fields = {"decoding": "autoregressive", "max_new_tokens": 12, "do_sample": False}
    before = model.generate(ids, **fields)
    assert model.generate(ids, compile_config=FROZEN, **fields).equal(before)
    model.generate(ids, compile_config=FROZEN, **fields)  # a shape seen again is made general once
    made = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert model.generate(ids, compile_config=FROZEN, **fields).equal(before)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == made, "later calls compile nothing"
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight.mul_(-3.0)
    after = model.generate(ids, **fields)
    assert not after.equal(before)
    assert model.generate(ids, compile_config=FROZEN, **fields).equal(after)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_frozen_models_of_one_shape_keep_their_own_weights(build_model, fresh_compiler):
    ids, models = torch.tensor([PROMPTS[0]]), [build_model(seed=seed) for seed in (3, 4)]
    fields = {"decoding": "autoregressive", "max_new_tokens": 12, "do_sample": False}
    before = [model.generate(ids, **fields) for model in models]
    assert not before[0].equal(before[1])
    for model, expected in zip([*models, *models], [*before, *before], strict=True):
        assert model.generate(ids, compile_config=FROZEN, **fields).equal(expected)


@pytest.mark.slow
def test_every_frozen_model_of_a_process_runs_compiled(build_model, compiler):
    """torch keeps eight forms of a function unless it is told otherwise, and runs the rest uncompiled."""
    config, graphs = compiler
    config = CompileConfig(backend=config.backend, mode=None, options=FROZEN.options)
    models = [build_model(seed=seed) for seed in range(14)]  # some of them end at once, in a forward uncompiled
    for model in models:
        fields = {"decoding": "autoregressive", "max_new_tokens": 4, "eos_token_id": 111}
        model.generate(torch.tensor([PROMPTS[0]]), compile_config=config, **fields)
    assert len(graphs) > 8


@pytest.mark.slow
def test_one_form_serves_every_width(build_model, compiler):
    config, graphs = compiler
    model = build_model(seed=3)
    general = CompileConfig(backend=config.backend, mode=None, dynamic=True, options={"freezing": True})
    for length in range(2, 90, 11):  # prompts beyond the first are read by forwards of their width
        ids = torch.randint(40, 99, (3, length), generator=torch.Generator().manual_seed(length))
        for decoding in ("autoregressive", "diffusion", "speculative"):
            fields = {"decoding": decoding, "max_new_tokens": 20, "do_sample": False}
            assert model.generate(ids, compile_config=general, **fields).equal(model.generate(ids, **fields))
    assert 0 < len(graphs) <= 3


@pytest.mark.slow
@pytest.mark.parametrize("adapted", [False, True])
def test_frozen_code_looks_at_the_modules_of_adapters_alone(build_model, compiler, adapted):
    """An attribute that changes shows who looks; a look at every module takes a tenth of a narrow forward."""
    config, graphs = compiler
    config = CompileConfig(backend=config.backend, mode=None, options=FROZEN.options)
    model = build_model(seed=3)
    if adapted:
        get_peft_model(model, LoraConfig(target_modules=["q_proj"]))
    fields = {"decoding": "autoregressive", "max_new_tokens": 4, "do_sample": False}
    for _ in range(2):  # a shape seen again is made general once
        model.generate(torch.tensor([PROMPTS[0]]), compile_config=config, **fields)
    made = len(graphs)
    model.model.layers[0].input_layernorm.variance_epsilon *= 2
    model.generate(torch.tensor([PROMPTS[0]]), compile_config=config, **fields)
    assert (len(graphs) > made) == adapted


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_freezing_makes_weights_constants_of_the_code(build_model, fresh_compiler):
    """torch alone would leave the option without effect: it asks for it while it traces, outside its own patch."""
    graphs = []

    def backend(graph, inputs, **options):
        graphs.append(torch._dynamo.utils.is_parameter_freezing())
        return graph

    model = build_model(seed=3)
    config = CompileConfig(backend=backend, mode=None, options={"freezing": True})
    model.generate(torch.tensor([PROMPTS[0]]), compile_config=config, decoding="autoregressive", max_new_tokens=3)
    assert graphs and all(graphs) and not torch._dynamo.utils.is_parameter_freezing()


def test_the_state_of_weights_tells_changes(build_model):
    model = build_model()
    state = state_of_weights(model)
    assert state_of_weights(model) == state
    with torch.no_grad():
        model.model.norm.weight.add_(1.0)
    changed = state_of_weights(model)
    model.model.norm.weight.data = model.model.norm.weight.data.clone()
    assert len({state, changed, state_of_weights(model)}) == 3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_frozen_code_follows_buffers_that_grow(build_model, fresh_compiler):
    """Buffers start with 256 slots and double; they are no constants, whatever else is frozen."""
    model = build_model(seed=3)
    fields = {"decoding": "autoregressive", "max_new_tokens": 24, "do_sample": False}
    for prompts, length in ((1, 5), (1, 5), (2, 20), (8, 40), (8, 100), (1, 9), (8, 150)):
        ids = torch.randint(40, 99, (prompts, length), generator=torch.Generator().manual_seed(length))
        assert model.generate(ids, compile_config=FROZEN, **fields).equal(model.generate(ids, **fields))
