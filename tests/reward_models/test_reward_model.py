"""Reward models as callers see them: what is read, what a score means, what is refused, how reward models are
copied.
"""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoModelForSequenceClassification, BertForMaskedLM, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from textrlhf.language import CausalLM, LanguageError
from textrlhf.reward_models import RewardFunctionError, RewardModel, call_reward, load_reward_model
from textrlhf.reward_models.text.reward_model import RewardModelConfig
from tiny_models import V, noisy, tiny_lm, tiny_model, word_tokenizer

PROMPTS = ["a9 a10 a11", "a5 a6", "a9 a10 a11", "", "a5 a6", "a9 a10 a11", "a12"]
RESPONSES = [" a7 a8", " a9", " a13 a14 a15 a20 a21", "a4 a4", " a30 a31 a5", " a7 a8", " a16 a17"]
TEXTS = ["the cat sat on the mat.", "日本語 🙂 ok 🙂🙂", "Größe: 12 für 3 — naïve café", "a  b\n\tc"]
_SHAPE = {
    "vocab_size": V,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
ENCODERS = {
    "bert": {**_SHAPE, "pad_token_id": 0},
    "roberta": {**_SHAPE, "pad_token_id": 1, "type_vocab_size": 1},
    "deberta-v2": {
        **_SHAPE,
        "pad_token_id": 0,
        "type_vocab_size": 0,
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
    },
    "modernbert": {**_SHAPE, "pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2},
}


def reward_model(family="gpt2", head="tokens", tokenizer=None, **options):
    """An untrained reward model whose scores differ all the same."""
    tokenizer = tokenizer or word_tokenizer()
    made = RewardModel.new(CausalLM(tiny_model(family, vocab_size=len(tokenizer)), tokenizer), head, **options)
    noisy(made.network.values or made.network.model.score)
    return made


def encoder_tokenizer(family):
    """[CLS] prompt [SEP] response [SEP] with the parts numbered; RoBERTa's ends in </s> and has no numbers."""
    first, last = ("<s>", "</s>") if family == "roberta" else ("[CLS]", "[SEP]")
    names = ["<s>", "<pad>", "</s>", "<unk>"] if family == "roberta" else ["[PAD]", "<unk>", "[CLS]", "[SEP]"]
    tokenizer = Tokenizer(
        models.WordLevel(dict(zip([*names, *(f"a{i}" for i in range(4, V))], range(V), strict=True)), "<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    again = f" {last}" if family == "roberta" else ""
    tokenizer.post_processor = processors.TemplateProcessing(
        f"{first} $A {last}",
        f"{first} $A {last}{again} $B:1 {last}:1",
        [(name, names.index(name)) for name in (first, last)],
    )
    known = {"pad_token": names[1 if family == "roberta" else 0], "unk_token": "<unk>", "cls_token": first}
    inputs = ["input_ids", "attention_mask"] + ["token_type_ids"] * (family in ("bert", "deberta-v2"))
    end = {"eos_token": last} if family == "roberta" else {}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, sep_token=last, model_input_names=inputs, **known, **end)


def saved_encoder(folder, family, make=AutoModelForSequenceClassification.from_config, **changes):
    """A classifier of one label, or what `make` makes, as plain transformers saves it."""
    torch.manual_seed(0)
    model = noisy(make(CONFIG_MAPPING[family](**{**ENCODERS[family], "num_labels": 1, **changes}))).eval()
    model.save_pretrained(folder)
    encoder_tokenizer(family).save_pretrained(folder)
    return model


def byte_level():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=290, special_tokens=["<eos>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>")


def sentencepiece_like():
    """As Llama's: <s> and a space in front, spaces are ▁, unknown characters are bytes."""
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2, **{f"<0x{i:02X}>": 3 + i for i in range(256)}}
    vocab |= {c: len(vocab) + i for i, c in enumerate(sorted(set("thecasonm.▁")))}
    merges = [("t", "h"), ("th", "e"), ("▁", "the"), ("c", "a"), ("ca", "t"), ("▁", "cat")]
    for left, right in merges:
        vocab[left + right] = len(vocab)
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


class TestScores:
    @pytest.mark.parametrize("head", ["last", "tokens"])
    @pytest.mark.parametrize("family", ["gpt2", "bloom"])
    def test_company_order_and_batch_change_nothing(self, family, head, monkeypatch):
        one = reward_model(family, head)
        alone = [float(one.raw([p], [r])[0]) for p, r in zip(PROMPTS, RESPONSES, strict=True)]
        assert np.ptp(alone) > 0.3
        together = one.raw(PROMPTS, RESPONSES)
        assert together.dtype == np.float64
        np.testing.assert_allclose(together, alone, atol=1e-5)
        np.testing.assert_allclose(one.raw(PROMPTS[::-1], RESPONSES[::-1]), alone[::-1], atol=1e-5)
        monkeypatch.setattr("textrlhf.reward_models.text.reward_model.AT_ONCE", 2)
        np.testing.assert_allclose(one.raw(PROMPTS, RESPONSES), alone, atol=1e-5)

    def test_of_nothing_there_are_none(self):
        assert reward_model().score([], []).shape == (0,)

    @pytest.mark.parametrize("head", ["last", "tokens"])
    def test_padding_is_never_read_nor_the_end_taken_for_padding(self, head):
        """Guards against a tokenizer that pads left, or with its end-of-text token, moving where a reward model
        reads.
        """
        expected = reward_model(head=head, end=True).raw(PROMPTS, RESPONSES)
        assert np.abs(expected - reward_model(head=head).raw(PROMPTS, RESPONSES)).max() > 0.01  # the end is read
        for side in ("left", "right"):
            tokenizer = word_tokenizer()
            tokenizer.padding_side, tokenizer.pad_token = side, tokenizer.eos_token
            tokenizer.backend_tokenizer.enable_padding(length=32, pad_id=1, pad_token="<eos>", direction=side)
            tokenizer.backend_tokenizer.enable_truncation(3)
            seen = reward_model(head=head, tokenizer=tokenizer, end=True).raw(PROMPTS, RESPONSES)
            np.testing.assert_allclose(seen, expected, atol=1e-6)

    def test_it_reads_the_last_token(self):
        """Against a forward over the text's tokens and nothing else."""
        one = reward_model("llama", "last")
        ids = torch.tensor([one.tokenizer("a9 a10 a11 a7 a8")["input_ids"]])
        with torch.no_grad():
            expected = float(one.network.model.score(one.network.trunk(ids).last_hidden_state)[0, -1, 0])
        assert float(one.raw(PROMPTS[:1], RESPONSES[:1])[0]) == pytest.approx(expected, abs=1e-6)

    def test_dropout_is_off(self):
        """Also of a model that was being trained when it was handed over."""
        lm = CausalLM(tiny_model("gpt2", resid_pdrop=0.5, embd_pdrop=0.5), word_tokenizer())
        lm.model.train()
        one = RewardModel.new(lm, "last")
        np.testing.assert_array_equal(one.raw(PROMPTS, RESPONSES), one.raw(PROMPTS, RESPONSES))

    @pytest.mark.parametrize("family", ENCODERS)
    def test_an_encoder_reads_as_transformers_would_have_it(self, family, tmp_path):
        """Guards against parts that are not told apart, a last </s> cut off, and positions moved by padding."""
        model, tokenizer = saved_encoder(tmp_path, family), encoder_tokenizer(family)
        inputs = tokenizer(PROMPTS, RESPONSES, padding=True, return_tensors="pt")
        whole = [p + r for p, r in zip(PROMPTS, RESPONSES, strict=True)]
        with torch.no_grad():
            pairs = model(**inputs).logits[:, 0].double().numpy()
            texts = model(**tokenizer(whole, padding=True, return_tensors="pt")).logits[:, 0].double().numpy()
        np.testing.assert_allclose(RewardModel.load(tmp_path).raw(PROMPTS, RESPONSES), pairs, atol=1e-5)
        np.testing.assert_allclose(RewardModel.load(tmp_path, reads="text").raw(PROMPTS, RESPONSES), texts, atol=1e-5)
        assert np.abs(pairs - texts).max() > 0.01


class TestScale:
    def test_chosen_and_rejected_changed_over_negate_the_margin(self):
        one = reward_model()
        responses, others = RESPONSES, RESPONSES[::-1]
        first = one.raw(PROMPTS, responses) - one.raw(PROMPTS, others)
        together = one.raw(PROMPTS * 2, others + responses)
        np.testing.assert_allclose(together[: len(PROMPTS)] - together[len(PROMPTS) :], -first, atol=1e-5)

    @pytest.mark.parametrize("lapse", [0.0, 0.1, 0.3])
    def test_probabilities(self, lapse):
        one = reward_model()
        one.config = RewardModelConfig(head="tokens", lapse=lapse)
        margins = np.array([-1e5, -30.0, -2.0, 0.0, 0.7, 40.0, 1e5])
        seen = one.probability(margins)
        np.testing.assert_allclose(one.probability(-margins), 1 - seen, atol=1e-15)
        assert seen[3] == 0.5
        assert seen[0] == pytest.approx(lapse, abs=1e-300)
        assert seen[-1] == 1 - lapse
        assert seen[4] == pytest.approx(lapse + (1 - 2 * lapse) / (1 + np.exp(-0.7)))

    def test_normalised_scores_have_mean_0_and_deviation_1(self):
        one = reward_model()
        raw = one.raw(PROMPTS, RESPONSES)
        assert one.normalise(PROMPTS, RESPONSES) is one
        scores = one.score(PROMPTS, RESPONSES)
        assert abs(scores.mean()) < 1e-6
        assert scores.std() == pytest.approx(1, abs=1e-6)
        np.testing.assert_allclose(one.raw(PROMPTS, RESPONSES), raw, atol=1e-6)  # log-odds are what they were
        np.testing.assert_array_equal(one(PROMPTS, RESPONSES), scores)
        np.testing.assert_allclose(
            one.normalise(PROMPTS, RESPONSES)(PROMPTS, RESPONSES), scores, atol=1e-6
        )  # not twice

    @pytest.mark.parametrize(("prompts", "responses"), [([], []), (["a5"], [" a6"]), (["a5"] * 3, [" a6"] * 3)])
    def test_texts_that_set_no_scale(self, prompts, responses):
        one = reward_model()
        before = one.config
        with pytest.raises(RewardFunctionError, match=rf"{len(prompts)} texts.*differ too little"):
            one.normalise(prompts, responses)
        assert one.config == before


class TestExplain:
    @pytest.mark.parametrize("make", [byte_level, sentencepiece_like])
    @pytest.mark.parametrize("reads", ["text", "response"])
    @pytest.mark.parametrize("end", [False, True])
    def test_it_adds_up_and_reads_as_the_response(self, make, reads, end):
        """Guards against characters of several tokens shown in halves, also right after one in the prompt."""
        one = reward_model(tokenizer=make(), reads=reads, end=end)
        for prompt, responses in {
            "the cat": (" sat 🙂 ok", "🙂日本語", "the cat", " ", "x\ufffd y", "\ufffd"),
            "the 🙂": (" sat 🙂 ok", "🙂日本語", "\ufffd"),
            "": ("the cat", "🙂 ok"),  # Llama's tokenizer takes a first space for its own
        }.items():
            for response in responses:
                told = one.explain(prompt, response)
                assert "".join(text for text, _ in told) == response
                raw = float(one.raw([prompt], [response])[0])
                assert sum(added for _, added in told) == pytest.approx(raw, abs=1e-5)

    def test_each_token_has_what_it_adds(self):
        one = reward_model()
        told = one.explain("a9", " a10 a11")
        assert [text for text, _ in told] == [" a10", " a11"]
        assert told[0][1] == pytest.approx(float(one.raw(["a9"], [" a10"])[0]), abs=1e-6)

    def test_what_cannot_be_told_apart_is_not(self):
        assert reward_model(head="last").explain("a9", " a10") == []
        assert reward_model().explain("a9", "") == []

    def test_an_encoder(self, tmp_path):
        saved_encoder(tmp_path, "bert")
        one = RewardModel.new(tmp_path, "tokens")
        noisy(one.network.values, size=1.0)
        told = one.explain("a9", " a10 a11")
        assert [text for text, _ in told] == [" a10", " a11"]
        assert sum(added for _, added in told) == pytest.approx(float(one.raw(["a9"], [" a10 a11"])[0]), abs=1e-5)


class TestNew:
    def test_a_model_has_its_own_copy(self):
        """Guards against a reward model whose training changes the language model that it was made from."""
        lm = CausalLM(tiny_model("gpt2"), word_tokenizer())
        before = lm.fingerprint()
        for head in ("last", "tokens"):
            for parameter in RewardModel.new(lm, head).network.parameters():
                parameter.data.zero_()
        assert lm.fingerprint() == before

    @pytest.mark.parametrize("family", ["gpt2", "opt"])
    def test_the_trunk_is_the_language_models(self, family):
        """Guards against names of weights that do not fit, of which a lenient loading says nothing."""
        lm = tiny_lm(family)
        for head in ("last", "tokens"):
            made = RewardModel.new(lm, head).network.trunk.state_dict()
            for name, tensor in lm.trunk.state_dict().items():
                assert torch.equal(made[name], tensor), name

    def test_the_head_is_by_the_seed_and_nothing_else_is_drawn(self):
        before = torch.get_rng_state()
        first, again, other = [RewardModel.new(tiny_lm(), "last", seed=s).network.model.score.weight for s in (1, 1, 2)]
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert torch.equal(torch.get_rng_state(), before)

    def test_what_an_encoders_checkpoint_lacks_is_by_the_seed(self, tmp_path):
        """BERT's pooler is not in a checkpoint that fills in blanks."""
        saved_encoder(tmp_path, "bert", BertForMaskedLM)
        before = torch.get_rng_state()
        first, again, other = [RewardModel.new(tmp_path, "last", seed=s).raw(["a5"], [" a6"]) for s in (1, 1, 2)]
        assert first == again != other
        assert torch.equal(torch.get_rng_state(), before)

    def test_the_usual_head(self, tmp_path):
        saved_encoder(tmp_path, "bert")
        assert RewardModel.new(tiny_lm()).config.head == "tokens"
        made = RewardModel.new(tmp_path).config
        assert (made.head, made.reads) == ("last", "pair")

    def test_states_that_are_projected_down(self):
        """Guards against a gate as wide as the model, where OPT's smallest give narrower states."""
        assert np.ptp(reward_model("opt").raw(PROMPTS, RESPONSES)) > 0.1

    def test_bad_input(self, tmp_path):
        saved_encoder(tmp_path, "bert")
        with pytest.raises(ValueError, match=r"head is 'first': expected \"auto\", 'last', 'tokens'"):
            RewardModel.new(tiny_lm(), "first")
        with pytest.raises(ValueError, match="reads is 'all': expected one of 'text', 'pair', 'response'"):
            RewardModel.new(tiny_lm(), reads="all")
        with pytest.raises(ValueError, match=r'head="tokens" on an encoder needs reads="pair" or "response"'):
            RewardModel.new(tmp_path, "tokens", reads="text")
        with pytest.raises(ValueError, match="end=True puts the end-of-text token.*has none"):
            RewardModel.new(tmp_path, end=True)
        with pytest.raises(LanguageError, match="no language model at"):
            RewardModel.new(tmp_path / "nothing")
        lm = CausalLM(tiny_model("gpt2"), word_tokenizer())
        lm.model.config.__class__ = CONFIG_MAPPING["codegen"]  # a family without a classifier
        with pytest.raises(LanguageError, match="no sequence classifier for GPT2Model: take head='tokens'"):
            RewardModel.new(lm, "last")


class TestBadInput:
    @pytest.mark.parametrize("head", ["last", "tokens"])
    def test_a_text_beyond_the_context_is_never_cut(self, head):
        """Guards against a truncation that no one hears of, and an error one token too early."""
        one = reward_model(head=head)
        assert one.context == 128
        fitting = " a5" * 124
        assert np.isfinite(one.raw(["a9 a10 a11 a12"], [fitting])).all()
        with pytest.raises(
            ValueError, match=r"the text has 129 tokens, the reward model 128 positions.*overflow='drop'"
        ):
            one.raw(["a5", "a9 a10 a11 a12"], [" a6", fitting + " a7"])
        with pytest.raises(ValueError, match="^file, line 3: the text has 132 tokens"):
            one.read(["a5", "a9"], [" a6", " a5" * 131], ["file, line 2", "file, line 3"])

    def test_an_encoders_positions(self, tmp_path):
        """RoBERTa counts its positions from the padding's number on, so two of 64 are none."""
        saved_encoder(tmp_path, "roberta")
        one = RewardModel.load(tmp_path)
        assert one.context == 62
        assert np.isfinite(one.raw(["a5", "a5"], [" a6" * 57, " a6"])).all()
        with pytest.raises(ValueError, match="63 tokens, the reward model 62 positions"):
            one.raw(["a5"], [" a6" * 58])

    def test_a_tokenizer_that_knows_a_smaller_limit(self):
        tokenizer = word_tokenizer()
        tokenizer.model_max_length = 20
        assert reward_model(tokenizer=tokenizer).context == 20

    def test_a_text_of_nothing(self):
        with pytest.raises(ValueError, match="prompt and response have no tokens"):
            reward_model().raw(["a5", ""], [" a6", ""])

    def test_numbers_of_texts_that_differ(self):
        with pytest.raises(ValueError, match="1 prompts and 2 responses"):
            reward_model().raw(["a5"], [" a6", " a7"])

    @pytest.mark.parametrize("head", ["last", "tokens"])
    def test_weights_that_are_no_numbers(self, head):
        one = reward_model(head=head)
        next(one.network.trunk.parameters()).data.fill_(float("nan"))
        with pytest.raises(RewardFunctionError, match="returned nan for the response ' a7 a8'"):
            call_reward(one, PROMPTS, RESPONSES)
        with pytest.raises(RewardFunctionError, match="nan"):
            one.normalise(PROMPTS, RESPONSES)

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            ({"scale": 0.0}, "scale is 0.0"),
            ({"lapse": 0.5}, "lapse 0.5"),
            ({"shift": float("nan")}, "shift is nan"),
            ({"end": "no"}, "end is 'no'"),
            ({"label": "1"}, "label is '1'"),
        ],
    )
    def test_settings(self, wrong, said):
        with pytest.raises(ValueError, match=said):
            RewardModelConfig(**wrong)


class TestCopies:
    def test_one_without_a_name_stays_in_its_process(self):
        one = reward_model()
        assert copy.copy(one) is one
        assert copy.deepcopy({"reward_model": [one]})["reward_model"][0] is one
        with pytest.raises(RewardFunctionError, match=r"no name that another one could load it by.*reward model\.save"):
            pickle.dumps(one)

    def test_one_with_a_name_goes_by_it(self, tmp_path):
        """Guards against weights in every pickle that is sent to a worker."""
        saved = reward_model().save(tmp_path / "reward_model")
        sent = pickle.dumps(saved)
        assert len(sent) < 1000
        got = pickle.loads(sent)
        assert got is load_reward_model(tmp_path / "reward_model")
        np.testing.assert_allclose(got.raw(PROMPTS, RESPONSES), saved.raw(PROMPTS, RESPONSES), atol=1e-6)
        assert copy.deepcopy(saved) is saved

    def test_what_loading_was_told_goes_with_it(self, tmp_path):
        """Guards against a worker whose reward model reads another label, or not at all."""
        saved_encoder(tmp_path, "bert", num_labels=3)
        one = RewardModel.load(tmp_path, label=0, reads="response")
        got = pickle.loads(pickle.dumps(one))
        np.testing.assert_allclose(got.raw(PROMPTS, RESPONSES), one.raw(PROMPTS, RESPONSES), atol=1e-6)
        other = pickle.loads(pickle.dumps(RewardModel.load(tmp_path, label=1)))
        assert np.abs(other.raw(PROMPTS, RESPONSES) - one.raw(PROMPTS, RESPONSES)).max() > 0.01

    def test_one_that_was_changed_has_no_name(self, tmp_path):
        """Guards against a pickle that brings back the reward model as it was before."""
        saved = reward_model().save(tmp_path / "reward_model")
        saved.normalise(PROMPTS, RESPONSES)
        assert saved.name is None
        with pytest.raises(RewardFunctionError, match="no name"):
            pickle.dumps(saved)

    def test_saved_again_it_is_loaded_anew(self, tmp_path):
        reward_model().save(tmp_path / "reward_model")
        before = load_reward_model(tmp_path / "reward_model")
        assert load_reward_model(str(tmp_path / "reward_model")) is before
        other = reward_model()
        noisy(other.network.values, seed=5)
        other.save(tmp_path / "reward_model")
        after = load_reward_model(tmp_path / "reward_model")
        np.testing.assert_allclose(after.raw(PROMPTS, RESPONSES), other.raw(PROMPTS, RESPONSES), atol=1e-6)
        assert np.abs(after.raw(PROMPTS, RESPONSES) - before.raw(PROMPTS, RESPONSES)).max() > 0.1


def test_words_it_does_not_know_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """A reward model of two hundred words says nothing of a user's own texts."""
    reward_model = RewardModel.new("reviews", device="cpu")
    reward_model.raw(["The film was"], [" good."])
    assert not caplog.records
    for _ in range(2):
        reward_model.raw(["The film was", "The film was"], [" good.", " zyzzyva."])
    (told,) = caplog.messages
    assert told.startswith("1 of 2 texts hold words that")
