"""CausalLM: loading and copying by name, errors, end-of-text tokens, encoding and decoding."""

from __future__ import annotations

import copy
import json
import pickle

import huggingface_hub
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from textrlhf.language import CausalLM, LanguageError, load
from tiny_models import ON_COLUMNS, ON_SLOTS, V, tiny_lm, tiny_model, word_tokenizer

TEXTS = [
    "the cat sat on the mat, and it was fine.",
    "Größe: 12 für 3 — naïve café",
    "def f(x):\n    return x  # two  spaces\n\n",
    "日本語 🙂 ok",
]
# Scaling of logits by family, with numbers that change them clearly.
SCALED = {
    "gemma2": {"final_logit_softcapping": 2.0},
    "gemma3_text": {"final_logit_softcapping": 2.0},
    "cohere": {"logit_scale": 0.25},
    "granite": {"logits_scaling": 4.0},
}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model as save_pretrained writes it."""
    path = tmp_path_factory.mktemp("models") / "plain"
    tiny_model("gpt2").save_pretrained(path)
    word_tokenizer().save_pretrained(path)
    return path


def byte_level_bpe():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>")


def sentencepiece_like():
    """As Llama's: a space is put in front of the text, spaces are ▁, unknown characters are bytes."""
    characters = sorted({c for text in TEXTS[:1] for c in text if c != " "} | {"▁"})
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2, **{f"<0x{i:02X}>": 3 + i for i in range(256)}}
    vocab |= {c: len(vocab) + i for i, c in enumerate(characters)}
    merges = []
    for left, right in [("t", "h"), ("th", "e"), ("▁", "the"), ("c", "a"), ("ca", "t"), ("▁", "cat")]:
        merges.append((left, right))
        vocab[left + right] = len(vocab)
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def metaspace_words(texts=TEXTS[:1]):
    words = sorted({"▁" + word for text in texts for word in text.split()})
    vocab = {"<unk>": 0, "<eos>": 1} | {word: 2 + i for i, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", unk_token="<unk>")


def with_tokenizer(tokenizer, width=None, **changes):
    return CausalLM(tiny_model("gpt2", vocab_size=width or len(tokenizer), **changes), tokenizer)


class TestNames:
    def test_a_name_is_loaded_once_per_process(self, folder):
        """Guards against a model for each environment: check_env and Wrapper.spec rebuild and copy arguments."""
        lm = load(folder)
        assert load(str(folder)) is lm
        assert load(lm) is lm
        assert load(folder, dtype="bfloat16") is not lm
        assert lm.model.dtype == torch.float32

    def test_it_is_frozen_and_in_eval_mode(self, folder):
        lm = load(folder)
        assert not any(p.requires_grad for p in lm.model.parameters())
        assert not any(m.training for m in lm.model.modules())

    def test_it_pickles_and_copies_by_name(self, folder):
        """Guards against weights in every pickle sent to a worker, and copies with weights of their own."""
        lm = load(folder)
        sent = pickle.dumps(lm)
        assert len(sent) < 1000
        assert pickle.loads(sent) is lm
        assert copy.copy(lm) is lm
        assert copy.deepcopy({"model": [lm]})["model"][0] is lm

    def test_the_dtype_is_pickled(self, folder):
        lm = load(folder, dtype="bfloat16")
        assert pickle.loads(pickle.dumps(lm)) is lm

    def test_without_a_name_it_does_not_pickle(self):
        lm = tiny_lm()
        assert copy.deepcopy(lm) is lm
        with pytest.raises(LanguageError, match=r'save it first, lm = lm\.save\("some/folder"\)'):
            pickle.dumps(lm)


class TestWhatIsRefused:
    def test_a_tokenizer_wider_than_the_logits(self):
        with pytest.raises(LanguageError, match=rf"has {V} tokens and its model 30 logits.*resize_token_embeddings"):
            CausalLM(tiny_model("gpt2", vocab_size=30), word_tokenizer())

    def test_a_tokenizer_without_eos(self):
        tokenizer = word_tokenizer()
        tokenizer.eos_token = None
        with pytest.raises(LanguageError, match=r"no end-of-text token.*set tokenizer\.eos_token"):
            CausalLM(tiny_model("gpt2"), tokenizer)

    def test_an_encoder_decoder_by_handle(self):
        config = T5Config(vocab_size=V, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
        with pytest.raises(LanguageError, match="encoder-decoder"):
            CausalLM(T5ForConditionalGeneration(config), word_tokenizer())

    @pytest.mark.parametrize("family", ["t5", "bart"])
    def test_an_encoder_decoder_by_path(self, family, tmp_path):
        """Guards against BART loaded as its decoder alone, which reads nothing of the prompt."""
        CONFIG_MAPPING[family]().save_pretrained(tmp_path)
        with pytest.raises(LanguageError, match="encoder-decoder"):
            load(tmp_path)

    def test_a_model_without_a_head(self):
        with pytest.raises(LanguageError, match="no language-model head"):
            CausalLM(tiny_model("gpt2").base_model, word_tokenizer())

    @pytest.mark.parametrize("kind", ["absolute", "relative", "empty"])
    def test_a_folder_without_a_model(self, kind, tmp_path, monkeypatch):
        """Guards against a mistyped path looked up on the hub."""
        monkeypatch.chdir(tmp_path)
        (tmp_path / "empty").mkdir()
        name = {"absolute": str(tmp_path / "typo"), "relative": "./typo", "empty": "empty"}[kind]
        with pytest.raises(LanguageError, match=r"no language model at .*config\.json"):
            load(name)

    @pytest.mark.parametrize("name", ["nobody/nothing", "nothing", "runs/typo/model"])
    def test_a_hub_id_that_does_not_exist(self, name):
        with pytest.raises(LanguageError, match=rf"model '{name}' cannot be loaded: it is no folder"):
            load(name)

    @pytest.mark.parametrize("fault", ["no weights", "broken weights", "broken config", "a vision model"])
    def test_a_folder_that_cannot_be_loaded(self, fault, tmp_path):
        """Guards against errors that do not name the folder."""
        tiny_model("gpt2").save_pretrained(tmp_path)
        word_tokenizer().save_pretrained(tmp_path)
        if fault == "no weights":
            (tmp_path / "model.safetensors").unlink()
        elif fault == "broken weights":
            (tmp_path / "model.safetensors").write_bytes(b"not weights")
        elif fault == "broken config":
            (tmp_path / "config.json").write_text("{")
        else:
            CONFIG_MAPPING["vit"]().save_pretrained(tmp_path)
        with pytest.raises(LanguageError, match=rf"model '{tmp_path}' cannot be loaded: its folder gave: \w+"):
            load(tmp_path)

    def test_a_folder_without_a_tokenizer(self, tmp_path):
        """Guards against the empty tokenizer that transformers makes up for GPT-2, for which every text is empty."""
        tiny_model("gpt2").save_pretrained(tmp_path)
        with pytest.raises(LanguageError, match=r"without its tokenizer.*tokenizer\.save_pretrained"):
            load(tmp_path)

    def test_a_classifier(self, tmp_path):
        """Guards against a reward model loaded as a language model with a random head."""
        LlamaForSequenceClassification(tiny_model("llama").config).save_pretrained(tmp_path)
        word_tokenizer().save_pretrained(tmp_path)
        with pytest.raises(LanguageError, match=r"is a classifier \(LlamaForSequenceClassification\), as"):
            load(tmp_path)

    def test_a_model_without_its_head(self, tmp_path):
        tiny_model("llama").model.save_pretrained(tmp_path)
        word_tokenizer().save_pretrained(tmp_path)
        with pytest.raises(LanguageError, match=r"no weights for \['lm_head\.weight'\]"):
            load(tmp_path)

    def test_an_unknown_dtype(self, folder):
        with pytest.raises(LanguageError, match="dtype is 'float23'.*'float32'"):
            load(folder, dtype="float23")


class TestEndOfText:
    def test_eos_of_the_generation_config(self):
        """Guards against a chat model that never ends because its <end_of_turn> is not the tokenizer's eos."""
        tokenizer = word_tokenizer()
        tokenizer.add_special_tokens({"additional_special_tokens": ["a5"]})
        model = tiny_model("gpt2")
        model.generation_config.eos_token_id = [5, 1]
        assert CausalLM(model, tokenizer).eos_ids == (1, 5)

    def test_special_eos_without_a_role(self):
        """Gemma 3's <end_of_turn> and Llama 3's <|end_of_text|> are special tokens that no role names."""
        tokenizer = word_tokenizer()
        tokenizer.add_tokens([AddedToken("<end_of_turn>", special=True)], special_tokens=True)
        model = tiny_model("gpt2", vocab_size=V + 1)
        model.generation_config.eos_token_id = [1, V]
        assert CausalLM(model, tokenizer).eos_ids == (1, V)

    def test_an_ordinary_word_is_no_eos(self):
        """GPT-2's default eos id stands in configs whose tokenizer has a word of its own there."""
        model = tiny_model("gpt2")
        model.generation_config.eos_token_id = 7
        assert CausalLM(model, word_tokenizer()).eos_ids == (1,)
        model.generation_config.eos_token_id = None
        assert CausalLM(model, word_tokenizer()).eos_ids == (1,)

    def test_logits_may_be_wider_than_the_tokenizer(self):
        """Models pad their vocabulary to a multiple of 64; an action is any logit."""
        lm = CausalLM(tiny_model("gpt2", vocab_size=64), word_tokenizer())
        assert lm.vocab_size == 64
        assert len(lm.tokenizer) == V
        assert lm.decode([2, 63, 3]).split() == ["a2", "a3"]

    def test_context_of_a_model(self):
        assert tiny_lm("gpt2").context == 128
        assert tiny_lm("llama").context == 128
        assert tiny_lm("bloom").context is None


class TestText:
    def test_encode_removes_a_trailing_eos(self):
        """Guards against a prompt that is already over, one without <s>, and an empty one."""
        tokenizer = sentencepiece_like()
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            "<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
        )
        lm = with_tokenizer(tokenizer)
        assert tokenizer("the cat")["input_ids"][-1] == 2
        ids = lm.encode("the cat")
        assert ids.dtype == "int64"
        assert tokenizer.convert_ids_to_tokens(ids.tolist()) == ["<s>", "▁the", "▁cat"]
        assert [row.tolist() for row in lm.encode_all(["the cat", "cat"])] == [ids.tolist(), lm.encode("cat").tolist()]
        assert tokenizer.convert_ids_to_tokens(lm.encode_more(" the cat").tolist()) == ["▁the", "▁cat"]
        assert lm.encode_all([]) == []

    def test_a_text_that_is_only_eos_stays(self):
        """A text that begins with eos, as GPT-2's do, is a prompt of one token."""
        lm = tiny_lm()
        assert lm.encode("<eos>").tolist() == [1]
        assert lm.encode("a2 <eos>").tolist() == [2]
        assert lm.encode("").tolist() == []

    def test_spaces_before_punctuation_stay(self):
        """Guards against what a tokenizer may ask for itself: spaces "cleaned up" before signs."""
        text = "it 's ok , is n't it ?"
        tokenizer = metaspace_words([text])
        tokenizer.clean_up_tokenization_spaces = True
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == "it's ok, isn't it?"
        lm = with_tokenizer(tokenizer)
        assert lm.decode(lm.encode(text)) == text

    @pytest.mark.parametrize("make", [byte_level_bpe, sentencepiece_like])
    def test_decoding_restores_the_text(self, make):
        lm = with_tokenizer(make())
        for text in [*TEXTS, "it 's ok , is n't it ?", "a  b", "x\n"]:
            assert lm.decode(lm.encode(text)) == text

    @pytest.mark.parametrize("make", [byte_level_bpe, sentencepiece_like, metaspace_words, word_tokenizer])
    def test_prompt_plus_continuation_is_the_whole_text(self, make):
        """Guards against responses that lose their first space, at every place a text could be cut."""
        lm = with_tokenizer(make())
        texts = [" ".join(f"a{i}" for i in range(2, 9))] if make is word_tokenizer else TEXTS
        for text in texts[:1] if make is metaspace_words else texts:
            ids = lm.encode(text).tolist()
            whole = lm.decode(ids)
            assert whole == text
            for cut in range(len(ids) + 1):
                prompt = lm.decode(ids[:cut])
                if "\ufffd" not in prompt:  # cut inside a character, where no text could have ended
                    assert prompt + lm.continuation(ids[:cut], ids[cut:]) == whole
                    assert lm.continuation(ids[:cut], [*ids[cut:], *lm.eos_ids]) == whole[len(prompt) :]

    @pytest.mark.parametrize("text", [" cat", ", cat", "\ncat"])
    @pytest.mark.parametrize("make", [byte_level_bpe, sentencepiece_like])
    def test_a_continuation_is_exact(self, make, text):
        """Guards against a reply that begins with two spaces, as by Llama 2's tokenizer."""
        lm = with_tokenizer(make())
        more = lm.encode_more(text)
        assert lm.continuation(lm.encode("the cat"), more) == text

    def test_a_continuation_within_a_character(self):
        lm = with_tokenizer(byte_level_bpe())
        ids = lm.encode("x🙂 ok").tolist()
        assert lm.continuation(ids[:2], ids[2:]).endswith(" ok")
        assert "x" not in lm.continuation(ids[:2], ids[2:])

    def test_ids_may_be_arrays(self):
        lm = tiny_lm()
        ids = lm.encode("a2 a3 a4")
        assert lm.decode(ids) == "a2 a3 a4"
        assert lm.continuation(ids[:1], ids[1:]) == " a3 a4"
        assert lm.decode([]) == ""


class TestHead:
    @torch.no_grad()
    def check(self, lm):
        ids = torch.randint(2, V, (3, 9), generator=torch.Generator().manual_seed(0))
        expected = lm.model(ids).logits
        torch.testing.assert_close(lm.head(lm.trunk(input_ids=ids).last_hidden_state), expected, atol=1e-6, rtol=0)
        return expected

    @pytest.mark.parametrize("family", ON_SLOTS | ON_COLUMNS)
    def test_trunk_and_head_are_the_model(self, family):
        self.check(tiny_lm(family))

    @pytest.mark.parametrize("family", SCALED)
    def test_logit_scaling_of_families(self, family):
        """Guards against the log-probabilities of another temperature: Gemma's cap, Cohere's and Granite's scale."""
        shape = {**ON_SLOTS["llama"], "head_dim": 8, "pad_token_id": 1}
        if family.startswith("gemma"):
            shape |= ON_COLUMNS[family]
        models_of = []
        for changes in (SCALED[family], {}):
            torch.manual_seed(0)
            models_of.append(AutoModelForCausalLM.from_config(CONFIG_MAPPING[family](**{**shape, **changes})))
            for p in models_of[-1].parameters():
                p.data.add_(torch.randn_like(p) * 0.3)
        scaled, plain = [self.check(CausalLM(model, word_tokenizer())) for model in models_of]
        assert (scaled - plain).abs().max() > 0.1  # else this test could not fail


class TestSaving:
    def test_it_is_a_plain_folder(self, tmp_path):
        lm = CausalLM(tiny_model("llama"), word_tokenizer())
        saved = lm.save(tmp_path / "new" / "model")
        assert saved.name == str(tmp_path / "new" / "model")
        assert saved.model is lm.model
        ids = torch.tensor([[2, 9, 4, 17]])
        with torch.no_grad():
            model = AutoModelForCausalLM.from_pretrained(saved.name).eval()
            assert torch.equal(model(ids).logits, lm.model(ids).logits)
        assert AutoTokenizer.from_pretrained(saved.name)("a2 a9")["input_ids"] == [2, 9]
        assert json.loads((tmp_path / "new" / "model" / "config.json").read_text())["model_type"] == "llama"

    def test_a_saved_handle_pickles(self, tmp_path):
        saved = CausalLM(tiny_model("gpt2"), word_tokenizer()).save(tmp_path / "model")
        assert pickle.loads(pickle.dumps(saved)).fingerprint() == saved.fingerprint()

    def test_loading_after_saving_again(self, tmp_path):
        """Guards against the weights before training, still in the cache under the name they are saved by again."""
        before = CausalLM(tiny_model("gpt2"), word_tokenizer()).save(tmp_path / "model")
        assert load(before.name).fingerprint() == before.fingerprint()
        after = CausalLM(tiny_model("gpt2", seed=1), word_tokenizer()).save(tmp_path / "model")
        assert load(after.name).fingerprint() == after.fingerprint() != before.fingerprint()

    def test_several_eos_are_saved(self, tmp_path):
        model, tokenizer = tiny_model("gpt2"), word_tokenizer()
        tokenizer.add_special_tokens({"additional_special_tokens": ["a5"]})
        model.generation_config.eos_token_id = [1, 5]
        saved = CausalLM(model, tokenizer).save(tmp_path / "model")
        assert load(saved.name).eos_ids == (1, 5)


class TestFingerprint:
    @pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
    def test_one_changed_weight_changes_it(self, dtype):
        model = tiny_model("gpt2").to(getattr(torch, dtype))
        lm = CausalLM(model, word_tokenizer())
        before = lm.fingerprint()
        assert lm.fingerprint() == before
        weight = model.transformer.h[1].mlp.c_fc.weight.data
        weight[3, 4] = torch.nextafter(weight[3, 4], torch.tensor(torch.inf, dtype=weight.dtype))
        assert lm.fingerprint() != before

    def test_equal_models_have_equal_fingerprints(self):
        first, second = [CausalLM(tiny_model("gpt2"), word_tokenizer()).fingerprint() for _ in range(2)]
        assert first == second
        assert CausalLM(tiny_model("gpt2", seed=1), word_tokenizer()).fingerprint() != first

    def test_a_scalar_weight(self):
        """Some families keep a scale of no dimension among their weights."""
        model = tiny_model("gpt2")
        model.register_buffer("scale", torch.tensor(1.0))
        lm = CausalLM(model, word_tokenizer())
        before = lm.fingerprint()
        model.scale.fill_(2.0)
        assert lm.fingerprint() != before


def test_a_run_is_answered_with_its_model(tmp_path):
    """Guards against an error of transformers about a config.json without a model_type."""
    run = tmp_path / "ppo"
    run.mkdir()
    for name in ("config.json", "metrics.jsonl"):
        (run / name).write_text("{}")
    with pytest.raises(LanguageError, match=r"ppo is a run, which has no language model \(yet\)"):
        load(run)
    tiny_lm().save(run / "model")
    with pytest.raises(LanguageError, match="ppo is a run: its language model is .*ppo/model$"):
        load(run)
