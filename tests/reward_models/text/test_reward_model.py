"""RewardModel: scores, their scale, explanations, construction, errors, copies."""

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
from textrlhf.reward_models import (
    Ranked,
    RewardFunctionError,
    RewardModel,
    TrainConfig,
    call_reward,
    load_reward_model,
    train,
)
from textrlhf.reward_models.text.config import RewardModelConfig
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
    """An untrained reward model with noise in its head, so that scores differ."""
    tokenizer = tokenizer or word_tokenizer()
    made = RewardModel.new(CausalLM(tiny_model(family, vocab_size=len(tokenizer)), tokenizer), head, **options)
    noisy(made.network.values or made.network.model.score)
    return made


def encoder_tokenizer(family):
    """[CLS] prompt [SEP] response [SEP] with token types; RoBERTa's ends in </s> and has none."""
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
    def test_independent_of_order_and_batch(self, family, head, monkeypatch):
        one = reward_model(family, head)
        alone = [float(one.raw([p], [r])[0]) for p, r in zip(PROMPTS, RESPONSES, strict=True)]
        assert np.ptp(alone) > 0.3
        together = one.raw(PROMPTS, RESPONSES)
        assert together.dtype == np.float64
        np.testing.assert_allclose(together, alone, atol=1e-5)
        np.testing.assert_allclose(one.raw(PROMPTS[::-1], RESPONSES[::-1]), alone[::-1], atol=1e-5)
        monkeypatch.setattr("textrlhf.reward_models.text.reward_model.AT_ONCE", 2)
        np.testing.assert_allclose(one.raw(PROMPTS, RESPONSES), alone, atol=1e-5)

    def test_no_texts(self):
        assert reward_model().score([], []).shape == (0,)

    @pytest.mark.parametrize("head", ["last", "tokens"])
    def test_padding_and_end_token(self, head):
        """Guards against reading elsewhere where a tokenizer pads left, or with its end-of-text token."""
        expected = reward_model(head=head, end=True).raw(PROMPTS, RESPONSES)
        assert np.abs(expected - reward_model(head=head).raw(PROMPTS, RESPONSES)).max() > 0.01  # the end is read
        for side in ("left", "right"):
            tokenizer = word_tokenizer()
            tokenizer.padding_side, tokenizer.pad_token = side, tokenizer.eos_token
            tokenizer.backend_tokenizer.enable_padding(length=32, pad_id=1, pad_token="<eos>", direction=side)
            tokenizer.backend_tokenizer.enable_truncation(3)
            seen = reward_model(head=head, tokenizer=tokenizer, end=True).raw(PROMPTS, RESPONSES)
            np.testing.assert_allclose(seen, expected, atol=1e-6)

    def test_reads_the_last_token(self):
        """Against a forward of the text's tokens alone."""
        one = reward_model("llama", "last")
        ids = torch.tensor([one.tokenizer("a9 a10 a11 a7 a8")["input_ids"]])
        with torch.no_grad():
            expected = float(one.network.model.score(one.network.trunk(ids).last_hidden_state)[0, -1, 0])
        assert float(one.raw(PROMPTS[:1], RESPONSES[:1])[0]) == pytest.approx(expected, abs=1e-6)

    def test_dropout_is_off(self):
        """Also for a model in training mode."""
        lm = CausalLM(tiny_model("gpt2", resid_pdrop=0.5, embd_pdrop=0.5), word_tokenizer())
        lm.model.train()
        one = RewardModel.new(lm, "last")
        np.testing.assert_array_equal(one.raw(PROMPTS, RESPONSES), one.raw(PROMPTS, RESPONSES))

    @pytest.mark.parametrize("family", ENCODERS)
    def test_encoder_as_in_transformers(self, family, tmp_path):
        """Guards against missing token types, a dropped last </s>, and positions shifted by padding."""
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
    def test_swapped_responses_negate_the_margin(self):
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

    def test_normalise(self):
        one = reward_model()
        raw = one.raw(PROMPTS, RESPONSES)
        assert not one.normalised
        np.testing.assert_array_equal(one.score(PROMPTS, RESPONSES), raw)
        assert one.normalise(PROMPTS, RESPONSES) is one
        assert one.normalised
        scores = one.score(PROMPTS, RESPONSES)
        assert abs(scores.mean()) < 1e-6
        assert scores.std() == pytest.approx(1, abs=1e-6)
        np.testing.assert_allclose(one.raw(PROMPTS, RESPONSES), raw, atol=1e-6)  # log-odds are what they were
        np.testing.assert_array_equal(one(PROMPTS, RESPONSES), scores)
        np.testing.assert_allclose(
            one.normalise(PROMPTS, RESPONSES)(PROMPTS, RESPONSES), scores, atol=1e-6
        )  # not twice

    @pytest.mark.parametrize(("prompts", "responses"), [([], []), (["a5"], [" a6"]), (["a5"] * 3, [" a6"] * 3)])
    def test_normalise_needs_texts_that_differ(self, prompts, responses):
        one = reward_model()
        before = one.config
        with pytest.raises(RewardFunctionError, match=rf"{len(prompts)} texts.*differ too little"):
            one.normalise(prompts, responses)
        assert one.config == before


class TestExplain:
    @pytest.mark.parametrize("make", [byte_level, sentencepiece_like])
    @pytest.mark.parametrize("reads", ["text", "response"])
    @pytest.mark.parametrize("end", [False, True])
    def test_sums_to_the_score_and_spells_the_response(self, make, reads, end):
        """Guards against characters of several tokens that are split, also right after one in the prompt."""
        one = reward_model(tokenizer=make(), reads=reads, end=end)
        for prompt, responses in {
            "the cat": (" sat 🙂 ok", "🙂日本語", "the cat", " ", "x\ufffd y", "\ufffd"),
            "the 🙂": (" sat 🙂 ok", "🙂日本語", "\ufffd"),
            "": ("the cat", "🙂 ok"),  # Llama's tokenizer adds a first space itself
        }.items():
            for response in responses:
                shown = one.explain(prompt, response)
                assert "".join(text for text, _ in shown) == (
                    response.rstrip() if reads == "text" else response.strip() or " "
                )
                raw = float(one.raw([prompt], [response])[0])
                assert sum(added for _, added in shown) == pytest.approx(raw, abs=1e-5)

    def test_contribution_of_each_token(self):
        one = reward_model()
        shown = one.explain("a9", " a10 a11")
        assert [text for text, _ in shown] == [" a10", " a11"]
        assert shown[0][1] == pytest.approx(float(one.raw(["a9"], [" a10"])[0]), abs=1e-6)

    def test_empty_for_other_heads_and_empty_responses(self):
        assert reward_model(head="last").explain("a9", " a10") == []
        assert reward_model().explain("a9", "") == []

    def test_an_encoder(self, tmp_path):
        saved_encoder(tmp_path, "bert")
        one = RewardModel.new(tmp_path, "tokens")
        noisy(one.network.values, size=1.0)
        shown = one.explain("a9", " a10 a11")
        assert [text for text, _ in shown] == [" a10", " a11"]
        assert sum(added for _, added in shown) == pytest.approx(float(one.raw(["a9"], [" a10 a11"])[0]), abs=1e-5)


class TestNew:
    def test_copies_the_language_model(self):
        """Guards against training that changes the language model the reward model was made from."""
        lm = CausalLM(tiny_model("gpt2"), word_tokenizer())
        before = lm.fingerprint()
        for head in ("last", "tokens"):
            for parameter in RewardModel.new(lm, head).network.parameters():
                parameter.data.zero_()
        assert lm.fingerprint() == before

    @pytest.mark.parametrize("family", ["gpt2", "opt"])
    def test_same_trunk_weights(self, family):
        """Guards against weight names that do not match, which lenient loading ignores."""
        lm = tiny_lm(family)
        for head in ("last", "tokens"):
            made = RewardModel.new(lm, head).network.trunk.state_dict()
            for name, tensor in lm.trunk.state_dict().items():
                assert torch.equal(made[name], tensor), name

    def test_head_depends_on_the_seed(self):
        before = torch.get_rng_state()
        first, again, other = [RewardModel.new(tiny_lm(), "last", seed=s).network.model.score.weight for s in (1, 1, 2)]
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert torch.equal(torch.get_rng_state(), before)

    def test_missing_encoder_weights_depend_on_the_seed(self, tmp_path):
        """A masked language model's checkpoint has no pooler."""
        saved_encoder(tmp_path, "bert", BertForMaskedLM)
        before = torch.get_rng_state()
        first, again, other = [RewardModel.new(tmp_path, "last", seed=s).raw(["a5"], [" a6"]) for s in (1, 1, 2)]
        assert first == again != other
        assert torch.equal(torch.get_rng_state(), before)

    def test_default_head(self, tmp_path):
        saved_encoder(tmp_path, "bert")
        assert RewardModel.new(tiny_lm()).config.head == "tokens"
        made = RewardModel.new(tmp_path).config
        assert (made.head, made.reads) == ("last", "pair")

    def test_projected_states(self):
        """The smallest OPTs project their last states down: the gate must have that width."""
        assert np.ptp(reward_model("opt").raw(PROMPTS, RESPONSES)) > 0.1

    def test_invalid_arguments(self, tmp_path):
        saved_encoder(tmp_path, "bert")
        with pytest.raises(ValueError, match=r"head is 'first': expected \"auto\", 'last', 'tokens'"):
            RewardModel.new(tiny_lm(), "first")
        with pytest.raises(ValueError, match="reads is 'all': expected one of 'text', 'pair', 'response'"):
            RewardModel.new(tiny_lm(), reads="all")
        with pytest.raises(ValueError, match=r'head="tokens" on an encoder needs reads="pair" or "response"'):
            RewardModel.new(tmp_path, "tokens", reads="text")
        with pytest.raises(ValueError, match="end=True .* this tokenizer has none"):
            RewardModel.new(tmp_path, end=True)
        with pytest.raises(LanguageError, match="no language model at"):
            RewardModel.new(tmp_path / "nothing")
        lm = CausalLM(tiny_model("gpt2"), word_tokenizer())
        lm.model.config.__class__ = CONFIG_MAPPING["codegen"]  # a family without a classifier
        with pytest.raises(LanguageError, match="no sequence classifier for GPT2Model"):
            RewardModel.new(lm, "last")


class TestBadInput:
    @pytest.mark.parametrize("head", ["last", "tokens"])
    def test_too_long_text(self, head):
        """Guards against silent truncation, and an error one token too early."""
        one = reward_model(head=head)
        assert one.context == 128
        fitting = " a5" * 124
        assert np.isfinite(one.raw(["a9 a10 a11 a12"], [fitting])).all()
        with pytest.raises(
            ValueError,
            match=r"the text has 129 tokens, the reward model 128 positions.*a reward model with more positions",
        ):
            one.raw(["a5", "a9 a10 a11 a12"], [" a6", fitting + " a7"])
        with pytest.raises(ValueError, match="^file, line 3: the text has 132 tokens.*overflow='drop'"):
            one.read(["a5", "a9"], [" a6", " a5" * 131], ["file, line 2", "file, line 3"])

    def test_positions_of_an_encoder(self, tmp_path):
        """RoBERTa's positions start behind the padding's index, so two of 64 are unused."""
        saved_encoder(tmp_path, "roberta")
        one = RewardModel.load(tmp_path)
        assert one.context == 62
        assert np.isfinite(one.raw(["a5", "a5"], [" a6" * 57, " a6"])).all()
        with pytest.raises(ValueError, match="63 tokens, the reward model 62 positions"):
            one.raw(["a5"], [" a6" * 58])

    def test_limit_of_the_tokenizer(self):
        tokenizer = word_tokenizer()
        tokenizer.model_max_length = 20
        assert reward_model(tokenizer=tokenizer).context == 20

    def test_empty_text(self):
        with pytest.raises(ValueError, match="prompt and response have no tokens"):
            reward_model().raw(["a5", ""], [" a6", ""])

    def test_mismatched_lengths(self):
        with pytest.raises(ValueError, match="1 prompts and 2 responses"):
            reward_model().raw(["a5"], [" a6", " a7"])

    @pytest.mark.parametrize("head", ["last", "tokens"])
    def test_nan_weights(self, head):
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
            ({"lapse": 0.5}, "lapse is 0.5"),
            ({"shift": float("nan")}, "shift is nan"),
            ({"normalised": "no"}, "normalised is 'no'"),
            ({"label": "1"}, "label is '1'"),
        ],
    )
    def test_invalid_config(self, wrong, said):
        with pytest.raises(ValueError, match=said):
            RewardModelConfig(**wrong)


class TestCopies:
    def test_without_a_name_it_cannot_be_pickled(self):
        one = reward_model()
        assert copy.copy(one) is one
        assert copy.deepcopy({"reward_model": [one]})["reward_model"][0] is one
        with pytest.raises(
            RewardFunctionError, match=r"no name that another process could load it by.*reward_model\.save"
        ):
            pickle.dumps(one)

    def test_pickled_by_name(self, tmp_path):
        """Guards against weights in every pickle sent to a worker."""
        saved = reward_model().save(tmp_path / "reward_model")
        sent = pickle.dumps(saved)
        assert len(sent) < 1000
        got = pickle.loads(sent)
        assert got is load_reward_model(tmp_path / "reward_model")
        np.testing.assert_allclose(got.raw(PROMPTS, RESPONSES), saved.raw(PROMPTS, RESPONSES), atol=1e-6)
        assert copy.deepcopy(saved) is saved

    def test_pickle_keeps_loading_arguments(self, tmp_path):
        """Guards against a worker whose reward model reads another label."""
        saved_encoder(tmp_path, "bert", num_labels=3)
        one = RewardModel.load(tmp_path, label=0, reads="response")
        got = pickle.loads(pickle.dumps(one))
        np.testing.assert_allclose(got.raw(PROMPTS, RESPONSES), one.raw(PROMPTS, RESPONSES), atol=1e-6)
        other = pickle.loads(pickle.dumps(RewardModel.load(tmp_path, label=1)))
        assert np.abs(other.raw(PROMPTS, RESPONSES) - one.raw(PROMPTS, RESPONSES)).max() > 0.01

    def test_no_name_after_a_change(self, tmp_path):
        """Guards against a pickle that restores the reward model as it was saved."""
        saved = reward_model().save(tmp_path / "reward_model")
        saved.normalise(PROMPTS, RESPONSES)
        assert saved.name is None
        with pytest.raises(RewardFunctionError, match="no name"):
            pickle.dumps(saved)

    def test_saving_again_invalidates_the_cache(self, tmp_path):
        reward_model().save(tmp_path / "reward_model")
        before = load_reward_model(tmp_path / "reward_model")
        assert load_reward_model(str(tmp_path / "reward_model")) is before
        other = reward_model()
        noisy(other.network.values, seed=5)
        other.save(tmp_path / "reward_model")
        after = load_reward_model(tmp_path / "reward_model")
        np.testing.assert_allclose(after.raw(PROMPTS, RESPONSES), other.raw(PROMPTS, RESPONSES), atol=1e-6)
        assert np.abs(after.raw(PROMPTS, RESPONSES) - before.raw(PROMPTS, RESPONSES)).max() > 0.1


def test_warns_once_of_unknown_words(caplog: pytest.LogCaptureFixture) -> None:
    reward_model = RewardModel.new("reviews", device="cpu")
    reward_model.raw(["The film was"], [" good."])
    assert not caplog.records
    for _ in range(2):
        reward_model.raw(["The film was", "The film was"], [" good.", " zyzzyva."])
    (message,) = caplog.messages
    assert message.startswith("1 of 2 texts contain words that")


class TestReadsAsItWasTrained:
    """Guards against a file and an environment that write the same text in two ways: one pair was once reversed."""

    @pytest.mark.parametrize("head", ["tokens", "last"])
    @pytest.mark.parametrize("reads", ["text", "response"])
    @pytest.mark.parametrize("end", [False, True])
    def test_what_a_response_ends_in(self, head, reads, end):
        one = reward_model(head=head, reads=reads, end=end)
        responses = [" a7 a8", " a7 a8<eos>", " a7 a8<|im_end|>\n", " a7 a8 \n", " a7 a8<|eot_id|><eos> "]
        texts = one.read(["a9"] * 5, responses)
        assert len({tuple(text.tokens) for text in texts}) == 1
        assert (texts[0].tokens[-1] == one.tokenizer.eos_token_id) == end

    def test_what_it_begins_with(self):
        """A response read alone has no prompt to be apart from; and a prompt's last space is that of the next word."""
        one = RewardModel.new("reviews", "tokens", reads="response")
        assert len({tuple(text.tokens) for text in one.read(["a"] * 2, [" good", "good"])}) == 1
        one = RewardModel.new("reviews", "tokens")
        first, second = one.read(["The film was", "The film was "], [" good", "good"])
        assert first.tokens.tolist() == second.tokens.tolist()
        assert first.start == second.start

    @pytest.mark.parametrize(("trained", "asked"), [("good", " good"), (" good", "good")])
    def test_white_space_between_prompt_and_response(self, trained, asked, caplog):
        one = RewardModel.new("reviews", "tokens")
        pairs = [Ranked("Film:", (trained, trained + " film")), Ranked("Plot:", (trained, "."))] * 8
        train(one, pairs, TrainConfig(epochs=1, batch_size=16), show=False)
        for _ in range(3):
            one.score(["Film:"] * 8, [f"{trained} film"] * 8)
        assert "between prompt and response" not in caplog.text
        one = RewardModel(one.network, one.tokenizer, one.config)
        for _ in range(3):
            one.score(["Film:"] * 8, [f"{asked} film"] * 8)
        assert caplog.text.count("between prompt and response") == 1
