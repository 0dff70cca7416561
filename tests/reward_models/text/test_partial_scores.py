"""Scores of beginnings by one forward: each is that of the beginning as a text of its own."""

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from chat_models import chat_lm, said
from textrlhf.language import CausalLM, Conversation
from textrlhf.reward_models import AtLeast, Composite, Ensemble, RewardModel
from textrlhf.reward_models.reward_function import call_partial_scores
from textrlhf.reward_models.text.config import RewardModelConfig
from textrlhf.reward_models.text.network import RewardNetwork
from textrlhf.reward_models.text.packing import Text
from tiny_models import noisy, tiny_model, word_tokenizer

PROMPTS = ["a9 a10 a11", "a5 a6", "", "a9 a10 a11 "]
RESPONSES = [" a7 a8 a30", " a9", "a4 a4 a31  ", "a13 a14 a15 a20 a21"]
TEXTS = ["the cat sat on the mat.", " un believable, unbelievable", "Größe: 12 — naïve café 🙂", "a  b\n\tc d"]


def subwords(kind):
    """A tokenizer of pieces of words, so that ends of the agent's tokens lie within its own."""
    if kind == "bytes":
        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        special = {"initial_alphabet": sorted(pre_tokenizers.ByteLevel.alphabet())}
    else:
        backend = Tokenizer(models.BPE(unk_token="<unk>"))
        backend.pre_tokenizer, backend.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
        special = {"initial_alphabet": sorted(set("".join(TEXTS)) - {" "})}
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<end>", "<unk>"], show_progress=False, **special)
    backend.train_from_iterator([*TEXTS, "believable cat mat naïve"] * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>", unk_token="<unk>")


def made(tokenizer, head, family="gpt2", seed=0, **options):
    lm = CausalLM(tiny_model(family, vocab_size=len(tokenizer)), tokenizer)
    reward_model = RewardModel.new(lm, head, device="cpu", **options)
    noisy(reward_model.network.values or reward_model.network.model.score, seed=seed)
    return reward_model.normalise(PROMPTS, RESPONSES)


def encoder():
    tokenizer = word_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4
    )
    config.num_labels = 1
    torch.manual_seed(0)
    network = RewardNetwork(noisy(BertForSequenceClassification(config)))
    return RewardModel(network, tokenizer, RewardModelConfig(reads="text")).normalise(PROMPTS, RESPONSES)


def every_end(responses):
    return [list(range(1, len(response) + 1)) for response in responses]


@pytest.mark.parametrize("head", ["tokens", "last"])
@pytest.mark.parametrize("tokenizer", ["words", "bytes", "spaces"])
@pytest.mark.parametrize("reads", ["text", "response"])
def test_a_beginning_scores_as_by_itself(head, tokenizer, reads):
    """Also where it ends within a token, or a character of several; with an end of text it is read without."""
    model = made(word_tokenizer() if tokenizer == "words" else subwords(tokenizer), head, reads=reads)
    prompts, responses = (PROMPTS, RESPONSES) if tokenizer == "words" else (PROMPTS, TEXTS)
    ends = every_end(responses)
    found, whole = model.partial_scores(prompts, responses, ends)
    np.testing.assert_allclose(whole, model(prompts, responses), atol=1e-4)
    for prompt, response, some, scores in zip(prompts, responses, ends, found, strict=True):
        beginnings = [(end, response[:end]) for end in some if response[:end].strip()]
        alone = model([prompt] * len(beginnings), [text for _, text in beginnings])
        np.testing.assert_allclose(scores[[end - 1 for end, _ in beginnings]], alone, atol=1e-4)


def test_an_end_of_text_is_part_of_whole_texts_only():
    with_end, without = (made(word_tokenizer(), "tokens", end=end) for end in (True, False))
    ends = every_end(RESPONSES)
    found, whole = with_end.partial_scores(PROMPTS, RESPONSES, ends)
    np.testing.assert_allclose(whole, with_end(PROMPTS, RESPONSES), atol=1e-4)
    raw = [scores * with_end.config.scale + with_end.config.shift for scores in found]
    for scores, expected in zip(raw, without.partial_scores(PROMPTS, RESPONSES, ends)[0], strict=True):
        np.testing.assert_allclose(scores, expected * without.config.scale + without.config.shift, atol=1e-4)


@pytest.mark.parametrize("head", ["tokens", "last"])
def test_the_prompt_alone(head):
    """A sum over no tokens is 0; the last head reads the prompt's last token."""
    model = made(word_tokenizer(), head)
    found, _ = model.partial_scores(PROMPTS[:2], RESPONSES[:2], [[0], [0]])
    raw = np.concatenate(found) * model.config.scale + model.config.shift
    expected = [0.0, 0.0] if head == "tokens" else model.raw(PROMPTS[:2], ["", ""])
    np.testing.assert_allclose(raw, expected, atol=1e-5)


def test_whole_words_take_one_forward(monkeypatch):
    """A text that this tokenizer cuts where the agent does is read once, however many ends it has."""
    model, read = made(word_tokenizer(), "tokens"), []
    whole = type(model.network).beginnings
    monkeypatch.setattr(
        type(model.network), "beginnings", lambda self, texts, counts: read.extend(texts) or whole(self, texts, counts)
    )
    ends = [[i for i in range(len(text) + 1) if (text + " ")[i] == " "] for text in RESPONSES]
    model.partial_scores(PROMPTS, RESPONSES, ends)
    assert len(read) == len(RESPONSES)


def test_an_encoder_has_none():
    """Guards against scores that know what follows: they would be no potential."""
    model = encoder()
    assert not model.partial
    with pytest.raises(ValueError, match="is an encoder, whose states know what follows"):
        model.partial_scores(PROMPTS, RESPONSES, every_end(RESPONSES))


@pytest.mark.parametrize("how", ["mean", "worst", "cautious"])
def test_an_ensemble_combines_its_members(how):
    members = [made(word_tokenizer(), head, seed=seed) for seed, head in ((1, "tokens"), (5, "last"))]
    ends, ensemble = every_end(RESPONSES), Ensemble(members, how, penalty=0.7)
    found, whole = call_partial_scores(ensemble, PROMPTS, RESPONSES, ends)
    assert whole is None
    for prompt, response, scores in zip(PROMPTS, RESPONSES, found, strict=True):
        assert scores[-1] == pytest.approx(float(ensemble([prompt], [response])[0]), abs=1e-4)
    assert not Ensemble([members[0], lambda prompts, responses: [0.0] * len(responses)]).partial


def test_a_composite_adds_what_is_known():
    model, ends = made(word_tokenizer(), "tokens"), every_end(RESPONSES)
    size = lambda prompts, responses: [len(response) for response in responses]  # noqa: E731
    both = Composite({"model": (model, 2.0), "size": (size, 9.0), "least": AtLeast(model, 0.1, 3.0)})
    found, whole = both.partial_scores(PROMPTS, RESPONSES, ends)
    assert whole is None
    for scores, own in zip(found, model.partial_scores(PROMPTS, RESPONSES, ends)[0], strict=True):
        np.testing.assert_allclose(scores, 2 * own + 3 * np.minimum(own - 0.1, 0))
    assert not Composite({"size": (size, 1.0)}).partial


@pytest.mark.parametrize("head", ["tokens", "last"])
@pytest.mark.parametrize("family", ["chatml", "llama3"])
def test_beginnings_of_an_answer_in_a_conversation(head, family, monkeypatch):
    """The template surrounds the answer, in one forward: a beginning is the tokens up to it, not one text each."""
    model = RewardModel.new(chat_lm(family), head, device="cpu")
    noisy(model.network.values or model.network.model.score)
    prompts, answer = [Conversation(said("Hi", "Hello.", "a cat?"))], " on the mat, a hat."
    (text,) = model.read(prompts, [answer])
    tokens, spoken = text.tokens.tolist(), model.reader.encode_more(answer.strip()).tolist()
    start = next(k for k in range(len(tokens)) if tokens[k : k + len(spoken)] == spoken)
    ends = [len(answer) - len(answer.strip()) + len(model.reader.decode(spoken[:n])) for n in range(1, len(spoken) + 1)]
    monkeypatch.setattr(model.network, "forward", None)  # which reads texts one by one
    (found,), whole = model.partial_scores(prompts, [answer], [[0, *ends]])
    monkeypatch.undo()
    for n, score in enumerate(found):
        if not answer[: [0, *ends][n]].endswith(" "):  # white space at an end is not read
            cut = Text(text.tokens[: start + n], text.start, start + n)
            assert score == pytest.approx(float(model.network([cut], [[0]]).detach()), abs=1e-5)
    np.testing.assert_allclose(whole, model(prompts, [answer]), atol=1e-5)
