"""Saving and loading: the same scores here and in transformers, atomic writes, nothing else overwritten."""

from __future__ import annotations

import dataclasses
import json
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import processors
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from textrlhf.language import CausalLM, LanguageError, load
from textrlhf.language.fit import FitConfig, NextTokens, fit
from textrlhf.reward_models import RewardModel, load_reward_model
from textrlhf.reward_models.text.folder import RewardModelFolderError, find_reward_model
from tiny_models import ON_SLOTS, V, noisy, tiny_model, word_tokenizer

pytestmark = pytest.mark.slow

PROMPTS = ["a9 a10 a11", "a5 a6", "a9 a10 a11", "a5 a6", "a12"]
RESPONSES = [" a7 a8", " a9", " a13 a14 a15 a20 a21", " a30 a31 a5", " a16 a17"]
WHOLE = [prompt + response for prompt, response in zip(PROMPTS, RESPONSES, strict=True)]
BERT = {
    "vocab_size": V,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 1,
}
FAMILIES = {name: ON_SLOTS[name] for name in ("gpt2", "llama", "opt")} | {"bert": BERT}


def tokenizer_of(ends=False, pad="<eos>"):
    """Words; with `ends` it appends the end-of-text token itself."""
    tokenizer = word_tokenizer()
    tokenizer.pad_token = pad
    if ends:
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            "$A <eos>", special_tokens=[("<eos>", 1)]
        )
    return tokenizer


def foreign(folder, family="gpt2", tokenizer=None, **changes):
    """A classifier as plain transformers saves it."""
    torch.manual_seed(0)
    config = CONFIG_MAPPING[family](**{**FAMILIES[family], "num_labels": 1, **changes})
    model = noisy(AutoModelForSequenceClassification.from_config(config)).eval()
    model.save_pretrained(folder)
    (tokenizer or tokenizer_of()).save_pretrained(folder)
    return model


@torch.no_grad()
def there(folder, texts=WHOLE, pairs=None):
    """The logits that plain transformers gives, all texts in one padded batch."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return model(**tokenizer(texts, pairs, padding=True, return_tensors="pt")).logits.double().numpy()


def reward_model(family="gpt2", head="tokens", **options):
    made = RewardModel.new(CausalLM(tiny_model(family), tokenizer_of()), head, **options)
    noisy(made.network.values or made.network.model.score)
    return made


def assert_same(one, other):
    seen = one.raw(PROMPTS, RESPONSES)
    assert np.ptp(seen) > 0.1
    np.testing.assert_allclose(seen, other.raw(PROMPTS, RESPONSES), atol=1e-6)


class TestForeign:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_same_scores_as_transformers(self, family, tmp_path):
        foreign(tmp_path, family)
        expected = there(tmp_path, PROMPTS, RESPONSES) if family == "bert" else there(tmp_path)
        assert np.ptp(expected) > 0.1
        np.testing.assert_allclose(RewardModel.load(tmp_path).raw(PROMPTS, RESPONSES), expected[:, 0], atol=1e-5)

    @pytest.mark.parametrize("pad", ["<eos>", "<unk>"])
    def test_tokenizer_that_appends_the_end(self, pad, tmp_path):
        """Guards against reading the end token where transformers takes it for padding and reads the one before."""
        foreign(tmp_path, tokenizer=tokenizer_of(ends=True, pad=pad), pad_token_id={"<eos>": 1, "<unk>": 0}[pad])
        one = RewardModel.load(tmp_path)
        assert one.config.end == (pad != "<eos>")
        np.testing.assert_allclose(one.raw(PROMPTS, RESPONSES), there(tmp_path)[:, 0], atol=1e-5)

    def test_two_labels(self, tmp_path):
        foreign(tmp_path, num_labels=2)
        logits = there(tmp_path)
        np.testing.assert_allclose(
            RewardModel.load(tmp_path).raw(PROMPTS, RESPONSES), logits[:, 1] - logits[:, 0], atol=1e-5
        )
        turned = RewardModel.load(tmp_path, label=0).raw(PROMPTS, RESPONSES)
        np.testing.assert_allclose(turned, logits[:, 0] - logits[:, 1], atol=1e-5)

    def test_three_labels(self, tmp_path):
        foreign(tmp_path, num_labels=3, id2label={0: "bad", 1: "fair", 2: "good"})
        with pytest.raises(
            RewardModelFolderError, match=r"3 labels \(0 bad, 1 fair, 2 good\).*RewardModel\.load\(…, label=…\)"
        ):
            RewardModel.load(tmp_path)
        with pytest.raises(RewardModelFolderError, match="label is 3: .* has the labels 0 to 2"):
            RewardModel.load(tmp_path, label=3)
        p = np.exp(there(tmp_path))
        p /= p.sum(1, keepdims=True)
        one = RewardModel.load(tmp_path, label=2)
        np.testing.assert_allclose(one.raw(PROMPTS, RESPONSES), np.log(p[:, 2] / (1 - p[:, 2])), atol=1e-5)
        assert_same(RewardModel.load(one.save(tmp_path / "ours").name), one)  # which one is kept

    def test_save_a_foreign_one(self, tmp_path):
        foreign(tmp_path / "theirs")
        one = RewardModel.load(tmp_path / "theirs").normalise(PROMPTS, RESPONSES)
        one.save(tmp_path / "ours")
        again = RewardModel.load(tmp_path / "ours")
        assert again.config == one.config
        np.testing.assert_allclose(there(tmp_path / "ours"), there(tmp_path / "theirs"), atol=1e-6)


class TestOurs:
    @pytest.mark.parametrize("family", ["gpt2", "llama", "opt"])
    def test_same_scores_in_transformers(self, family, tmp_path):
        one = reward_model(family, "last").normalise(PROMPTS, RESPONSES)
        one.save(tmp_path / "reward_model")
        np.testing.assert_allclose(there(tmp_path / "reward_model")[:, 0], one.raw(PROMPTS, RESPONSES), atol=1e-5)

    def test_end_token_equal_to_padding(self, tmp_path):
        """Guards against an end token that transformers would take for padding: the saved config has no padding."""
        one = reward_model("gpt2", "last", end=True)
        one.save(tmp_path / "reward_model")
        seen = [there(tmp_path / "reward_model", [text + " <eos>"])[0, 0] for text in WHOLE]
        np.testing.assert_allclose(seen, one.raw(PROMPTS, RESPONSES), atol=1e-5)
        with pytest.raises(ValueError, match="no padding token is defined"):
            there(tmp_path / "reward_model")
        assert_same(RewardModel.load(tmp_path / "reward_model"), one)

    def test_encoder(self, tmp_path):
        torch.manual_seed(0)
        foreign(tmp_path / "theirs", "bert")
        one = RewardModel.new(tmp_path / "theirs", "last", seed=3)
        one.save(tmp_path / "ours")
        np.testing.assert_allclose(
            there(tmp_path / "ours", PROMPTS, RESPONSES)[:, 0], one.raw(PROMPTS, RESPONSES), atol=1e-5
        )

    @pytest.mark.parametrize("head", ["last", "tokens"])
    @pytest.mark.parametrize("family", ["gpt2", "opt", "bert"])
    def test_save_and_load(self, family, head, tmp_path):
        if family == "bert":
            foreign(tmp_path / "theirs", "bert")
            one = RewardModel.new(tmp_path / "theirs", head, reads="response")
            noisy(one.network.values or one.network.model.classifier, size=1.0)
        else:
            one = reward_model(family, head, end=True)
        one.normalise(PROMPTS, RESPONSES)
        one.config = dataclasses.replace(one.config, lapse=0.12, offset=-0.4)
        saved = one.save(tmp_path / "reward_model")
        again = RewardModel.load(tmp_path / "reward_model")
        assert saved.name == again.name == str(tmp_path / "reward_model")
        assert again.config == one.config
        assert_same(again, one)
        scores = again(PROMPTS, RESPONSES)
        assert abs(scores.mean()) < 1e-5
        assert scores.std() == pytest.approx(1, abs=1e-5)
        assert not any(parameter.requires_grad for parameter in again.network.parameters())

    def test_files(self, tmp_path):
        """No pickle, no temporary files, readable by others."""
        reward_model().save(tmp_path / "new" / "reward_model")
        files = list((tmp_path / "new" / "reward_model").iterdir())
        assert {file.suffix for file in files} == {".json", ".safetensors"}
        assert all(stat.S_IMODE(file.stat().st_mode) == 0o644 for file in files)
        assert [folder.name for folder in (tmp_path / "new").iterdir()] == ["reward_model"]

    def test_names(self, tmp_path, monkeypatch):
        """A reward model is found by its folder, its run, and a relative path."""
        reward_model().save(tmp_path / "run" / "reward_model")
        monkeypatch.chdir(tmp_path)
        place = str(tmp_path / "run" / "reward_model")
        assert (
            find_reward_model("run")
            == find_reward_model(Path("run/reward_model"))
            == find_reward_model(tmp_path / "run")
            == place
        )
        assert load_reward_model("run") is load_reward_model(place)
        assert RewardModel.load("run").name == place
        monkeypatch.chdir(place)
        assert find_reward_model(".") == place


class TestNothingIsLost:
    def contents(self, folder):
        return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}

    def refused(self, folder, match):
        before = self.contents(folder)
        with pytest.raises(FileExistsError, match=match):
            reward_model().save(folder)
        assert self.contents(folder) == before

    def test_replaces_a_reward_model(self, tmp_path):
        reward_model(head="last").save(tmp_path / "reward_model")
        other = reward_model()
        other.save(tmp_path / "reward_model")
        assert_same(RewardModel.load(tmp_path / "reward_model"), other)

    def test_other_folder(self, tmp_path):
        (tmp_path / "thesis.txt").write_text("three years")
        self.refused(tmp_path, "thesis.txt")

    def test_other_folder_with_a_config(self, tmp_path):
        (tmp_path / "config.json").write_text('{"name": "thesis"}')
        (tmp_path / "thesis.txt").write_text("three years")
        self.refused(tmp_path, "something other than a reward model")
        (tmp_path / "config.json").write_text("half a f")
        self.refused(tmp_path, "something other than a reward model")

    def test_language_model(self, tmp_path):
        CausalLM(tiny_model("gpt2"), word_tokenizer()).save(tmp_path / "lm")
        self.refused(tmp_path / "lm", "something other than a reward model")
        assert load(tmp_path / "lm").context == 128

    def test_foreign_classifier(self, tmp_path):
        foreign(tmp_path)
        self.refused(tmp_path, "something other than a reward model")

    @pytest.mark.parametrize("steps", [1, 2])
    def test_run(self, steps, tmp_path):
        """With and without a checkpoint."""
        lm = CausalLM(tiny_model("gpt2"), word_tokenizer())
        texts = NextTokens(lm, [np.array([2, 3, 4])] * 4)
        fit(lm.model, texts, FitConfig(steps=steps, batch_size=4, checkpoints=1), run=tmp_path / "run", show=False)
        if steps == 1:
            for file in sorted((tmp_path / "run" / "checkpoints").rglob("*"), reverse=True):
                file.rmdir() if file.is_dir() else file.unlink()
            (tmp_path / "run" / "checkpoints").rmdir()
        self.refused(tmp_path / "run", "name a new folder")

    def test_file(self, tmp_path):
        (tmp_path / "reward_model").write_text("a file")
        with pytest.raises(FileExistsError, match="is a file"):
            reward_model().save(tmp_path / "reward_model")

    def test_failed_save_keeps_the_old_one(self, tmp_path, monkeypatch):
        one = reward_model()
        one.save(tmp_path / "reward_model")
        other = reward_model("llama")

        def full(*args, **kwargs):
            raise OSError("no space left on device")

        monkeypatch.setattr(other.tokenizer, "save_pretrained", full)
        with pytest.raises(OSError, match="no space left"):
            other.save(tmp_path / "reward_model")
        assert [file.name for file in tmp_path.iterdir()] == ["reward_model"]
        assert_same(RewardModel.load(tmp_path / "reward_model"), one)


class TestBadInput:
    def saved(self, tmp_path, head="tokens"):
        reward_model(head=head).save(tmp_path / "reward_model")
        return tmp_path / "reward_model"

    @pytest.mark.parametrize("of", ["width", "vocabulary", "names"])
    def test_head_of_another_shape(self, of, tmp_path):
        folder = self.saved(tmp_path)
        head = load_file(folder / "head.safetensors")
        if of == "names":
            head = {"weight": head["gate"]}
        else:
            name = "gate" if of == "width" else "values"
            head[name] = head[name][:-1].clone()
        save_file(head, folder / "head.safetensors")
        with pytest.raises(
            RewardModelFolderError, match=r"head\.safetensors has a head of the shapes.*expected .*gate.*32"
        ):
            RewardModel.load(folder)

    def test_classifier_head_of_another_shape(self, tmp_path):
        folder = self.saved(tmp_path, "last")
        weights = load_file(folder / "model.safetensors")
        weights["score.weight"] = torch.zeros(1, 16)
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
        with pytest.raises(RewardModelFolderError, match=r"score\.weight of the shape \(1, 16\): expected \(1, 32\)"):
            RewardModel.load(folder)

    @pytest.mark.parametrize(
        ("file", "content", "said"),
        [
            ("head.safetensors", None, r"head\.safetensors is missing"),
            ("head.safetensors", b"not weights", "cannot be loaded: its folder gave: "),
            ("model.safetensors", None, "cannot be loaded: its folder gave: .*no file named"),
            ("model.safetensors", b"not weights", "cannot be loaded: its folder gave: "),
            ("config.json", b"{", "cannot be loaded: its folder gave: .*not a valid JSON"),
            ("config.json", None, "no reward model at .*: expected a folder"),
        ],
    )
    def test_missing_or_damaged_file(self, file, content, said, tmp_path):
        folder = self.saved(tmp_path)
        (folder / file).unlink() if content is None else (folder / file).write_bytes(content)
        with pytest.raises(RewardModelFolderError, match=said):
            RewardModel.load(folder)

    @pytest.mark.parametrize(
        "stored",
        [5, "abc", [], {}, {"format": 2}, {"format": 1, "news": 1}]
        + [{"format": 1, name: value} for name, value in (("head", "first"), ("reads", None), ("end", "no"))]
        + [
            {"format": 1, name: value} for name, value in (("label", "1"), ("shift", "x"), ("scale", 0), ("lapse", 0.5))
        ],
        ids=repr,
    )
    def test_damaged_config(self, stored, tmp_path):
        folder = self.saved(tmp_path, "last")
        config = json.loads((folder / "config.json").read_text())
        assert config["textrlhf"]["format"] == 1
        (folder / "config.json").write_text(json.dumps({**config, "textrlhf": stored}))
        with pytest.raises(RewardModelFolderError, match='under "textrlhf"'):
            RewardModel.load(folder)

    def test_language_model(self, tmp_path):
        """Guards against a reward model with a random head."""
        for family in ("gpt2", "llama"):
            CausalLM(tiny_model(family), word_tokenizer()).save(tmp_path / family)
            with pytest.raises(
                RewardModelFolderError, match=r"no reward model: it has no weights for \['score\.weight'\].*train"
            ):
                RewardModel.load(tmp_path / family)

    @pytest.mark.parametrize("head", ["last", "tokens"])
    def test_as_a_language_model(self, head, tmp_path):
        """It loaded: with tied embeddings, no weight of the language model's head is missing."""
        lm = CausalLM(tiny_model("llama", tie_word_embeddings=True), word_tokenizer())
        folder = RewardModel.new(lm, head).save(tmp_path / "reward_model").name
        with pytest.raises(LanguageError, match="is a reward model, which scores texts and writes none: name it as"):
            load(folder)
        config = json.loads((tmp_path / "reward_model" / "config.json").read_text())
        del config["textrlhf"]
        (tmp_path / "reward_model" / "config.json").write_text(json.dumps(config))
        if head == "last":
            with pytest.raises(LanguageError, match=r"is a classifier \(LlamaForSequenceClassification\)"):
                load(folder)
        (tmp_path / "metrics.jsonl").touch()
        with pytest.raises(LanguageError, match="is the run of a reward model"):
            load(tmp_path)
        lm.save(tmp_path / "lm")  # nothing of a reward model has come into it
        load(tmp_path / "lm")

    @pytest.mark.parametrize("name", ["nowhere", "./nowhere", "a/b/nowhere", "~/nowhere-at-all", ""])
    def test_missing_folder(self, name, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        for loading in (RewardModel.load, load_reward_model):
            with pytest.raises(RewardModelFolderError, match="no reward model at .*expected a folder"):
                loading(name)

    def test_missing_run(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(
            RewardModelFolderError, match="'runs/my-reward-model' cannot be loaded: there is no such folder"
        ):
            RewardModel.load("runs/my-reward-model")

    def test_invalid_loading_arguments(self, tmp_path):
        folder = self.saved(tmp_path, "last")
        with pytest.raises(TypeError, match="head"):
            RewardModel.load(folder, head="tokens")
        with pytest.raises(ValueError, match="reads is 'all'"):
            RewardModel.load(folder, reads="all")


def test_an_agents_run_is_no_reward_model_to_be_finished(tmp_path):
    """Guards against sending the user to `textrlhf reward resume`, which refuses such a run."""
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.json").write_text('{"agent": "ppo"}')
    with pytest.raises(RewardModelFolderError, match="is an agent's run, which has no reward model"):
        load_reward_model(tmp_path)
    (tmp_path / "config.json").write_text('{"reward_model": {}}')
    with pytest.raises(RewardModelFolderError, match="has no reward model yet: finish it with `textrlhf reward resume"):
        load_reward_model(tmp_path)
