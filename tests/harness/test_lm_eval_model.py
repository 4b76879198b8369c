"""The model class of lm-eval: three questions, in any batch, beside stock HFLM and the package's own `ask`."""

import copy
import json
import math

import pytest
from tokenizers import processors
from transformers import AutoModelForCausalLM

from planned_diffusion.evaluation.likelihood import likelihoods, scored_texts
from planned_diffusion.evaluation.planned_bound import planned_bound
from planned_diffusion.generation.fields import DECODER_NAMES
from planned_diffusion.generation.tokens import ControlTokens
from planned_diffusion.inference.answer import ask, open_checkpoint
from planned_diffusion.loading.embedded import EMBEDDED
from planned_diffusion.records.tagged import plain_text
from planned_diffusion.training.examples import encode_example

lm_eval = pytest.importorskip(
    "lm_eval.api.model", reason="lm-eval is not installed: pip install 'planned-diffusion[lm-eval]'"
)
from lm_eval.models.huggingface import HFLM  # noqa: E402

from planned_diffusion.evaluation.harness.contexts import Contexts  # noqa: E402

QUESTIONS = [
    "What are the capital and the currency of Kenya?",
    "What is the capital of Chad?",
    "Do Kenya and Uganda use the same currency?",
    "What are the capital, the currency and the continent of Peru?",
    "Which language do they speak in Japan?",
]
GREEDY = {"until": [], "do_sample": False, "max_gen_toks": 80}
CONTINUATIONS = [
    ("The capital of Kenya is", " Nairobi."),
    ("The capital of Kenya is ", "Lima."),
    ("", "The capital city of Chad, as any atlas will show, is N'Djamena."),
    ("People say that", " it is <async> in Peru </async>"),
    ("x", " " + "It rains in Kenya. " * 5),
]


def chats(lm, contents=QUESTIONS):
    return [lm.apply_chat_template([{"role": "user", "content": content}]) for content in contents]


@pytest.mark.parametrize("fields", [{}, {"decoding": "autoregressive"}, {"steps_ratio": 0.5, "plan_lookahead": 0}])
def test_answers_are_those_of_the_package_in_batches_of_1_8_and_auto(build, requests_of, fields):
    found = []
    for batch_size in (1, 8, "auto"):
        lm = build(batch_size=batch_size, **fields)
        found.append(lm.generate_until(requests_of("generate_until", [(chat, GREEDY) for chat in chats(lm)]), True))
    alone = [ask(lm.checkpoint, question, {**fields, "max_new_tokens": 80}).text for question in QUESTIONS]
    assert found[0] == found[1] == found[2] == alone
    assert "Nairobi" in alone[0] and len(set(alone)) == len(alone)


@pytest.mark.parametrize("decoding", DECODER_NAMES)
def test_every_decoder_answers_in_batches_as_alone(build, requests_of, decoding):
    kwargs = {**GREEDY, "max_gen_toks": 32}
    one, four = (build(batch_size=size, decoding=decoding) for size in (1, 4))
    answers = [lm.generate_until(requests_of("generate_until", [(chat, kwargs) for chat in chats(lm)[1:4]]), True)
               for lm in (one, four)]  # fmt: skip
    assert answers[0] == answers[1]


def test_an_adapter_answers(build, requests_of, tmp_path):
    peft = pytest.importorskip("peft")
    lm = build()
    settings = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False, lora_alpha=64)
    adapted = peft.get_peft_model(copy.deepcopy(lm.checkpoint.model), settings)
    adapted.peft_config["default"].base_model_name_or_path = str(EMBEDDED)
    adapted.save_pretrained(tmp_path)
    lm.tokenizer.save_pretrained(tmp_path)
    given = requests_of("generate_until", [(chats(lm)[0], {**GREEDY, "max_gen_toks": 24})])
    own = build(pretrained=str(tmp_path))
    chats(own)
    expected = ask(open_checkpoint(str(tmp_path), "float32", "cpu"), QUESTIONS[0], {"max_new_tokens": 24}).text
    assert own.generate_until(given, True) == [expected] != lm.generate_until(given, True)


@pytest.fixture(scope="module")
def bare(build):
    """bare(...) -> as `build`, with a tokenizer that puts nothing around a text; the included one makes a chat."""

    def with_bare_texts(**arguments):
        lm = build(**arguments)
        tokenizer = copy.deepcopy(lm.tokenizer)
        tokenizer.backend_tokenizer.post_processor = processors.Sequence([])
        lm.tokenizer, lm._contexts = tokenizer, Contexts(tokenizer)
        return lm

    return with_bare_texts


@pytest.mark.parametrize("batch_size", [1, 2, "auto"])
def test_scores_are_those_of_stock_hflm(bare, requests_of, batch_size):
    lm = bare(batch_size=batch_size, max_length=48)
    native = AutoModelForCausalLM.from_config(lm.checkpoint.model.config.backbone_config).eval()
    native.load_state_dict(lm.checkpoint.model.state_dict())
    plain = [pair for pair in CONTINUATIONS if "<async>" not in pair[1]]
    texts = [(text,) for _, text in plain] + [("It rains in Kenya. " * 40,)]
    for model in (native, lm.checkpoint.model):  # and stock HFLM runs on our model
        stock = HFLM(pretrained=model, tokenizer=copy.deepcopy(lm.tokenizer), batch_size=1, device="cpu", max_length=48)
        expected = stock.loglikelihood(requests_of("loglikelihood", plain), disable_tqdm=True)
        scores = lm.loglikelihood(requests_of("loglikelihood", plain), disable_tqdm=True)
        for (score, greedy), (wanted, likeliest) in zip(scores, expected, strict=True):
            assert score == pytest.approx(wanted, abs=1e-3) and greedy == likeliest
        rolling = lm.loglikelihood_rolling(requests_of("loglikelihood_rolling", texts), disable_tqdm=True)
        wanted = stock.loglikelihood_rolling(requests_of("loglikelihood_rolling", texts), disable_tqdm=True)
        assert rolling == pytest.approx(wanted, abs=1e-3)
    assert lm.loglikelihood_rolling(requests_of("loglikelihood_rolling", [("",)]), disable_tqdm=True) == [0]


def test_where_a_tokenizer_makes_a_chat_of_a_text_its_answer_is_scored(build, requests_of):
    lm = build()
    pair = (QUESTIONS[1], "The capital city of Chad, as any atlas will show, is N'Djamena.")
    [(score, _)] = lm.loglikelihood(requests_of("loglikelihood", [pair]), disable_tqdm=True)
    assert score == pytest.approx(likelihoods(lm.checkpoint, [pair])[0].total, abs=1e-3)
    [(chat, _)] = lm.loglikelihood(requests_of("loglikelihood", [(chats(lm)[1], pair[1])]), disable_tqdm=True)
    assert chat == pytest.approx(score)
    [whole] = lm.loglikelihood_rolling(requests_of("loglikelihood_rolling", [(pair[1],)]), disable_tqdm=True)
    ids = lm.tokenizer(pair[1], add_special_tokens=False)["input_ids"]
    [alone] = scored_texts(lm.checkpoint.model, [([lm.eot_token_id], ids)])
    assert whole == pytest.approx(alone.likelihood.total, abs=1e-3)


def test_tags_that_a_text_spells_are_text(build, requests_of):
    lm = build()
    [(score, _)] = lm.loglikelihood(requests_of("loglikelihood", [CONTINUATIONS[3]]), disable_tqdm=True)
    assert math.isfinite(score)
    control = ControlTokens.from_config(lm.checkpoint.model.config).all
    assert not control.intersection(lm.tok_encode(CONTINUATIONS[3][1]))
    [chat] = chats(lm, ["Say </async> and <sync/>."])
    ids = lm.tok_encode(chat)
    [tagless] = chats(lm, ["Say."])
    assert control.intersection(ids) == control.intersection(lm.tok_encode(tagless))


def test_an_answer_may_begin_in_the_chat(build, requests_of):
    lm = build(decoding="autoregressive")
    question, beginning = {"role": "user", "content": QUESTIONS[0]}, {"role": "assistant", "content": "The"}
    chat = lm.apply_chat_template([question, beginning], add_generation_prompt=False)
    assert lm.tok_encode(chat)[: len(lm.tok_encode(lm.apply_chat_template([question])))] == lm.tok_encode(
        lm.apply_chat_template([question])
    )
    [answer] = lm.generate_until(requests_of("generate_until", [(chat, GREEDY)]), True)
    assert "Nairobi" in answer


def test_planned_continuations_are_scored_by_plan_and_bound(build, requests_of):
    lm = build(scores="planned", samples=8)
    answer = ask(lm.checkpoint, QUESTIONS[0], {"keep_plan": True, "max_new_tokens": 80}).text
    answer = answer.replace("[PAD]", "").removesuffix("<|end|>")
    [chat] = chats(lm, QUESTIONS[:1])
    pairs = [(chat, answer), (chat, " " + answer), (chat, plain_text(answer))]
    planned, spaced, plain = lm.loglikelihood(requests_of("loglikelihood", pairs), disable_tqdm=True)
    record = [{"role": "user", "content": QUESTIONS[0]}, {"role": "assistant", "content": answer}]
    control = ControlTokens.from_config(lm.checkpoint.model.config)
    bound = planned_bound(lm.checkpoint, encode_example(record, lm.tokenizer, control), 8)
    assert planned == spaced == (pytest.approx(bound.total), False)
    [left] = likelihoods(lm.checkpoint, [(QUESTIONS[0], plain_text(answer))])
    assert plain[0] == pytest.approx(left.total, abs=1e-3)


def test_an_answer_ends_at_a_text_and_is_sampled_anew_when_asked_again(build, requests_of):
    lm = build(batch_size=4, seed=1)
    [chat] = chats(lm, QUESTIONS[:1])
    [whole, cut] = lm.generate_until(
        requests_of("generate_until", [(chat, GREEDY), (chat, {**GREEDY, "until": "Nairobi"})]), True
    )
    assert cut == whole[: whole.index("Nairobi")]
    sampled = {"max_gen_toks": 60, "do_sample": True, "temperature": 1.5, "decoding": "autoregressive"}
    again = requests_of("generate_until", [(chat, sampled)] * 3)
    first = lm.generate_until(again, True)
    assert len(set(first)) > 1 and lm.generate_until(again, True) == first


def test_long_contexts_lose_their_beginning_and_long_answers_their_room(build, requests_of):
    lm = build(max_length=96)
    filled, known = "It rains. " * 60, lm.checkpoint.model.run_requests
    ran = []
    lm.checkpoint.model.run_requests = lambda requests: ran.extend(requests) or known(requests)
    [chat] = chats(lm, QUESTIONS[:1])
    given = [(filled, GREEDY), (chat, {**GREEDY, "max_gen_toks": 512}), (filled, {**GREEDY, "max_gen_toks": 8})]
    answers = lm.generate_until(requests_of("generate_until", given), True)
    sizes = {len(one.prompt_ids): one.settings.max_new_tokens for one in ran}
    own = len(lm.tok_encode(chat))
    assert sizes == {48: 48, own: 96 - own, 88: 8} and "Nairobi" in answers[1]
    [whole] = [one for one in ran if len(one.prompt_ids) == 88]
    assert list(whole.prompt_ids) == lm.tok_encode(filled)[-88:]


def test_a_request_that_cannot_be_answered_counts_as_failed_and_the_others_are_answered(build, requests_of, caplog):
    lm = build()
    fine = lm.checkpoint.request_for

    def refused(prompt, fields):
        if fields["max_new_tokens"] == 1:
            raise ValueError("there is no room")
        return fine(prompt, fields)

    object.__setattr__(lm.checkpoint, "request_for", refused)
    given = [(chat, {**GREEDY, "max_gen_toks": room}) for chat, room in zip(chats(lm)[:2], (1, 80), strict=True)]
    failed, answered = lm.generate_until(requests_of("generate_until", given), True)
    assert failed == "" and "capital" in answered
    assert "Request 0 counts as failed, its answer is empty: there is no room" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"telepathy": 1}, "telepathy is no argument of planned_diffusion; choose among batch_size, device, dtype"),
        ({"steps_ratio": -1}, "steps_ratio"),
        ({"decoding": "telepathic"}, "telepathic"),
        ({"decoding": "autoregressive", "steps_ratio": 0.5}, "steps_ratio"),
        ({"batch_size": 0}, "batch_size is 0; give a whole number, at least 1, or auto"),
        ({"batch_size": "many"}, "batch_size is 'many'"),
        ({"max_length": 0}, "max_length is 0; give a whole number"),
        ({"samples": 3}, "samples is 3; give an even number, at least 4"),
        ({"scores": "kindly"}, "scores is 'kindly'; choose one of left_to_right, planned"),
    ],
)
def test_arguments_that_are_refused(build, arguments, said):
    with pytest.raises(ValueError, match=said):
        build(**arguments)


def test_a_task_that_asks_for_an_unknown_field_is_refused(build, requests_of):
    with pytest.raises(ValueError, match="generation_kwargs of the task have 'num_beams', which is no field of"):
        build().generate_until(requests_of("generate_until", [("Hi", {"num_beams": 4})]), True)


def test_without_a_chat_template_chats_are_refused(build, requests_of):
    lm = build()
    lm.tokenizer = lm._contexts.tokenizer = copy.deepcopy(lm.tokenizer)
    lm.tokenizer.chat_template = None
    with pytest.raises(ValueError, match="The tokenizer has no chat template; run lm-eval without --apply_chat"):
        lm.apply_chat_template([{"role": "user", "content": "Hi"}])
    assert json.dumps(lm.get_model_info())
