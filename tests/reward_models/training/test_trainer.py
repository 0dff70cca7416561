"""Training reward models: every kind of judgement is learned, runs resume with the same bits, errors."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from tokenizers import processors
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import AutoModel

from textrlhf.language import CausalLM
from textrlhf.records.checkpoint import CheckpointError
from textrlhf.records.metrics import read_metrics
from textrlhf.reward_models import Labelled, Ranked, Rated, RewardModel, Tied, TrainConfig, train
from textrlhf.reward_models.training import trainer
from textrlhf.reward_models.training.judgement_dataset import JudgementDataset, Learner
from textrlhf.reward_models.training.trainer import chosen_for
from tiny_models import V, tiny_model, word_tokenizer

pytestmark = pytest.mark.slow

QUICK = TrainConfig(epochs=6, batch_size=16, dropout=0.1)
GOOD, FAIR, BAD = "a5", "a6", "a7"  # the decisive word
SCALE = (1.0, 5.0)


def reward_model(head="tokens", family="gpt2", **options):
    return RewardModel.new(CausalLM(tiny_model(family), word_tokenizer()), head, **options)


def words(rng, n):
    return [f"a{i}" for i in rng.integers(8, V, n)]


def responses(rng, kinds):
    """One response of each kind, the decisive word somewhere among others."""
    texts = []
    for kind in kinds:
        text = words(rng, rng.integers(2, 6))
        text.insert(rng.integers(len(text) + 1), kind)
        texts.append(" " + " ".join(text))
    return tuple(texts)


def judgements(what, n=96, seed=0):
    rng, found = np.random.default_rng(seed), []
    for i in range(n):
        prompt = " ".join(words(rng, rng.integers(1, 5)))
        kind = what if what != "mix" else ("pairs", "rankings", "labels", "ratings")[i % 4]
        best, fair, worst = responses(rng, (GOOD, FAIR, BAD))
        place = f"some.jsonl, line {i + 1}"
        if kind == "pairs":
            found.append(Ranked(prompt, (best, worst), place=place))
        elif kind == "rankings":
            found.append(Ranked(prompt, (best, fair, worst), place=place))
        elif kind == "labels":
            found.append(Labelled(prompt, *((best, True) if rng.random() < 0.5 else (worst, False)), place=place))
        else:
            text, rating = [(best, 5.0), (fair, 3.0), (worst, 1.0)][rng.integers(3)]
            found.append(Rated(prompt, text, rating, SCALE, place=place))
    return found


def accuracy(one, n=150):
    pairs = judgements("pairs", n, seed=99)
    prompts = [pair.prompt for pair in pairs]
    first, second = (one.raw(prompts, [pair.responses[i] for pair in pairs]) for i in (0, 1))
    return float((first > second).mean())


def weights(one):
    return {name: tensor.clone() for name, tensor in one.network.state_dict().items()}


def assert_same_weights(one, other):
    mine, theirs = weights(one), weights(other)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in mine.items())


def bert(folder):
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    model = AutoModel.from_config(
        CONFIG_MAPPING["bert"](vocab_size=V, max_position_embeddings=64, pad_token_id=1, **shape)
    )
    model.save_pretrained(folder)
    tokenizer = word_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        "$A <eos>", "$A <eos> $B:1 <eos>:1", [("<eos>", 1)]
    )
    tokenizer.save_pretrained(folder)
    return folder


class TestLearning:
    @pytest.mark.parametrize("what", ["pairs", "rankings", "labels", "ratings", "mix"])
    def test_learns_the_decisive_word(self, what):
        one = reward_model()
        assert accuracy(one) < 0.7
        train(one, judgements(what), QUICK, show=False)
        assert accuracy(one) > 0.95

    @pytest.mark.parametrize("what", ["pairs", "mix"])
    def test_last_head(self, what):
        one = reward_model("last", "llama")
        config = dataclasses.replace(QUICK, epochs=8, learning_rate=5e-3, head_learning_rate=5e-3)
        train(one, judgements(what, 160), config, show=False)
        assert accuracy(one) > 0.9

    @pytest.mark.parametrize("head", ["last", "tokens"])
    def test_encoder(self, head, tmp_path):
        one = RewardModel.new(bert(tmp_path), head)
        config = dataclasses.replace(QUICK, epochs=8, learning_rate=5e-3)
        train(one, judgements("mix"), config, show=False)
        assert accuracy(one) > 0.9

    @pytest.mark.parametrize("what", ["pairs", "labels", "ratings"])
    def test_shuffled_judgements_are_not_learned(self, what):
        """Sabotage: guards against data that is learned whatever the judgements are."""
        rng, shuffled = np.random.default_rng(1), []
        for one in judgements(what):
            if isinstance(one, Ranked):
                shuffled.append(dataclasses.replace(one, responses=one.responses[:: rng.choice([1, -1])]))
            elif isinstance(one, Labelled):
                shuffled.append(dataclasses.replace(one, good=bool(rng.integers(2))))
            else:
                shuffled.append(dataclasses.replace(one, rating=float(rng.choice([1, 3, 5]))))
        one = reward_model()
        train(one, shuffled, QUICK, show=False)
        assert accuracy(one) < 0.9

    def test_reversed_judgements(self):
        for what in ("pairs", "labels", "ratings"):
            reversed_ = []
            for one in judgements(what):
                if isinstance(one, Ranked):
                    reversed_.append(dataclasses.replace(one, responses=one.responses[::-1]))
                elif isinstance(one, Labelled):
                    reversed_.append(dataclasses.replace(one, good=not one.good))
                else:
                    reversed_.append(dataclasses.replace(one, rating=6 - one.rating))
            other = reward_model()
            train(other, reversed_, QUICK, show=False)
            assert accuracy(other) < 0.05

    def test_margin(self):
        pairs = judgements("pairs")
        leads = []
        for by in (0.0, 4.0):
            one = reward_model()
            config = dataclasses.replace(QUICK, lapse=0, token_learning_rate=0.1, epochs=8)
            train(one, [dataclasses.replace(pair, margin=by) for pair in pairs], config, show=False)
            prompts = [pair.prompt for pair in pairs]
            scores = [one.raw(prompts, [pair.responses[i] for pair in pairs]) for i in (0, 1)]
            leads.append(float((scores[0] - scores[1]).mean()))
        assert leads[1] > leads[0] + 1

    def test_bf16(self):
        one = reward_model("last", "llama")
        trained = train(one, judgements("mix", 32), dataclasses.replace(QUICK, epochs=1, bf16=True), show=False)
        assert math.isfinite(trained.metrics["loss"])
        assert one.network.trunk.dtype == torch.float32


class TestResult:
    def test_training_resets_the_scale(self):
        one, data = reward_model(), judgements("mix")
        texts = [data[0].prompt] * 3, data[1].responses
        one.network.values.values.data.normal_(generator=torch.Generator().manual_seed(0))
        one.normalise(*texts)
        trained = train(one, data, dataclasses.replace(QUICK, lapse=0.2), show=False)
        assert trained.reward_model is one
        assert not one.normalised
        assert (one.config.shift, one.config.scale, one.config.lapse) == (0.0, 1.0, 0.2)
        assert one.config.offset != 0
        assert not any(parameter.requires_grad for parameter in one.network.parameters())

    def test_training_resets_the_name(self, tmp_path):
        """Guards against a pickle of a trained reward model that restores the untrained one."""
        one = reward_model().save(tmp_path / "reward_model")
        train(one, judgements("pairs", 16), dataclasses.replace(QUICK, epochs=1), show=False)
        assert one.name is None

    def test_offset(self):
        """Four in five are good whatever the text: the offset learns it, not the scores."""
        rng = np.random.default_rng(0)
        data = [Labelled("a9", responses(rng, (FAIR,))[0], bool(i % 5)) for i in range(160)]
        one = reward_model()
        train(one, data, dataclasses.replace(QUICK, epochs=8, token_learning_rate=1e-5), show=False)
        assert one.config.offset == pytest.approx(math.log(4), abs=0.2)

    def test_heldout_loss_matches_the_probabilities(self, tmp_path):
        one, pairs = reward_model(), judgements("pairs", 40, seed=7)
        config = dataclasses.replace(QUICK, lapse=0.2, checkpoints=3)
        trained = train(one, judgements("pairs"), config, heldout=pairs, run=tmp_path, show=False)
        prompts = [pair.prompt for pair in pairs]
        scores = [one.raw(prompts, [pair.responses[i] for pair in pairs]) for i in (0, 1)]
        expected = -np.log(one.probability(scores[0] - scores[1])).mean()
        assert trained.metrics["heldout_loss"] == pytest.approx(expected, abs=1e-5)
        watched = [row["heldout_loss"] for row in read_metrics(tmp_path / "metrics.jsonl") if "heldout_loss" in row]
        assert len(watched) == 3
        assert watched[-1] == trained.metrics["heldout_loss"] < watched[0]


class TestReproducible:
    @pytest.mark.parametrize("head", ["last", "tokens"])
    def test_seed(self, head):
        data, config = judgements("mix", 48), dataclasses.replace(QUICK, epochs=2)
        one, same, other = reward_model(head), reward_model(head), reward_model(head)
        for made, seed in ((one, 3), (same, 3), (other, 4)):
            before = torch.get_rng_state()
            train(made, data, dataclasses.replace(config, seed=seed), show=False)
            assert torch.equal(torch.get_rng_state(), before)
        assert_same_weights(one, same)
        assert one.config == same.config
        with pytest.raises(AssertionError):
            assert_same_weights(one, other)

    @pytest.mark.parametrize(("head", "frozen"), [("last", False), ("tokens", False), ("last", True), ("tokens", True)])
    def test_resumed_equals_never_interrupted(self, head, frozen, tmp_path, monkeypatch):
        """To the bit, with dropout."""
        data, heldout = judgements("mix", 72), judgements("mix", 12, seed=5)
        config = TrainConfig(epochs=4, batch_size=16, checkpoints=5, frozen=frozen)  # 20 steps, dropout as it is
        whole = reward_model(head)
        metrics = train(whole, data, config, heldout=heldout, run=tmp_path / "whole", show=False).metrics

        class Killed(Exception):
            pass

        loss, calls = JudgementDataset.loss, []

        def mortal(self, which):
            calls.append(which)
            if len(calls) == 14:
                raise Killed
            return loss(self, which)

        with monkeypatch.context() as patched, pytest.raises(Killed):
            patched.setattr(JudgementDataset, "loss", mortal)
            train(reward_model(head), data, config, heldout=heldout, run=tmp_path / "run", show=False)
        again = reward_model(head)
        seen = train(again, data, config, heldout=heldout, run=tmp_path / "run", resume=True, show=False).metrics
        assert_same_weights(whole, again)
        assert whole.config == again.config
        assert seen == metrics
        rows = [
            [
                (row["step"], row.get("loss"), row.get("heldout_loss"))
                for row in read_metrics(tmp_path / run / "metrics.jsonl")
            ]
            for run in ("whole", "run")
        ]
        assert rows[0] == rows[1]

    def test_resume_needs_the_same_settings(self, tmp_path):
        data = judgements("pairs", 32)
        train(reward_model(), data, QUICK, run=tmp_path, show=False)
        with pytest.raises(FileExistsError, match="already holds a run"):
            train(reward_model(), data, QUICK, run=tmp_path, show=False)
        for changed, examples in ((dataclasses.replace(QUICK, lapse=0.2), data), (QUICK, data[:-1])):
            with pytest.raises(CheckpointError, match="other settings or examples"):
                train(reward_model(), examples, changed, run=tmp_path, resume=True, show=False)
        with pytest.raises(CheckpointError, match="another model"):
            train(reward_model("last"), data, QUICK, run=tmp_path, resume=True, show=False)


class TestFrozen:
    @pytest.mark.parametrize("head", ["last", "tokens"])
    def test_trunk_is_unchanged(self, head):
        for frozen in (True, False):
            one = reward_model(head)
            before = {name: tensor.clone() for name, tensor in one.network.trunk.state_dict().items()}
            config = dataclasses.replace(QUICK, epochs=1, frozen=frozen)
            train(one, judgements("mix", 48), config, show=False)
            after = one.network.trunk.state_dict()
            assert all(torch.equal(tensor, after[name]) for name, tensor in before.items()) == frozen

    def test_logistic_regression_on_the_states(self):
        """Against Newton's method in float64 on the same features, which are not separable."""
        one, rng = reward_model("last", "llama"), np.random.default_rng(2)
        pairs = [
            Ranked("a9", pair[:: -1 if rng.random() < 0.3 else 1])
            for pair in (responses(rng, (GOOD, BAD)) for _ in range(300))
        ]
        with torch.no_grad():
            texts = [one.tokenizer(pair.prompt + text)["input_ids"] for pair in pairs for text in pair.responses]
            states = [one.network.trunk(torch.tensor([ids])).last_hidden_state[0, -1] for ids in texts]
        features = torch.stack(states).double().numpy().reshape(300, 2, -1)
        apart = features[:, 0] - features[:, 1]  # (n, d)
        best = np.zeros(apart.shape[1])
        for _ in range(30):
            p = 1 / (1 + np.exp(apart @ best))  # of the other one
            hessian = (apart * (p * (1 - p))[:, None]).T @ apart + 1e-9 * np.eye(len(best))
            best += np.linalg.solve(hessian, apart.T @ p)
        assert np.abs(apart.T @ (1 / (1 + np.exp(apart @ best)))).max() < 1e-6
        config = TrainConfig(
            epochs=150,
            batch_size=300,
            frozen=True,
            dropout=0,
            lapse=0,
            weight_decay=0,
            learning_rate=1e-3,
            head_learning_rate=0.1,
            max_grad_norm=1e9,
        )
        train(one, pairs, config, show=False)
        found = one.network.model.score.weight[0].double().numpy()
        losses = [np.log1p(np.exp(-apart @ w)).mean() for w in (found, best, 0 * best)]
        assert losses[2] - losses[1] > 0.05  # there was something to find
        assert 0 <= losses[0] - losses[1] < 1e-4
        assert found @ best / np.linalg.norm(found) / np.linalg.norm(best) > 0.99

    @pytest.mark.parametrize("family", ["llama", "bloom"])
    def test_cached_features_give_the_same_loss(self, family):
        one, data = reward_model("last", family), judgements("mix", 30)
        config = TrainConfig(frozen=True, dropout=0, batch_size=4)
        learner = Learner(one.network, config)
        kept, read = (JudgementDataset(one, data, config, learner, training=True) for _ in range(2))
        kept.cache_features()
        for which in (range(30), [3, 17, 4], [29]):
            (total, count), (expected, as_many) = kept.loss(which), read.loss(which)
            assert count == as_many == len(which)
            assert float(total.detach()) == pytest.approx(float(expected.detach()), abs=1e-4)


class TestLoss:
    def test_loss_of_a_mixed_batch(self):
        """Against the formulas, from the scores of each text: guards against scores of another row."""
        one, data = reward_model(), judgements("mix", 24)
        data[0] = dataclasses.replace(data[0], margin=0.7)
        data[4] = Ranked("a9", (" a10", " a11 a12", " a13", " a14"))
        data[8] = Tied("a9", (" a10", " a11 a12"))
        data[3] = dataclasses.replace(data[3], weight=2.5)
        for parameter in one.network.values.parameters():
            parameter.data.normal_(0, 0.3, generator=torch.Generator().manual_seed(0))
        config = TrainConfig(lapse=0.1, centring=0.3)
        learner = Learner(one.network, config)
        learner.offset.data.fill_(0.4)
        learner.line.data.copy_(torch.tensor([-0.5, 0.2]))
        which = np.random.default_rng(0).permutation(24).tolist()
        terms = []
        for i in which:
            judgement = data[i]
            s = one.raw([judgement.prompt] * len(judgement.responses), judgement.responses)
            if isinstance(judgement, Ranked):
                left = s - np.array([judgement.margin, *[0.0] * (len(s) - 1)])
                shares = [np.exp(left[j]) / np.exp(left[j:]).sum() for j in range(len(s) - 1)]
                term = -sum(math.log(0.8 * p + 0.2 / (len(s) - j)) for j, p in enumerate(shares))
            elif isinstance(judgement, Tied):
                p = 1 / (1 + math.exp(s[1] - s[0]))
                term = -0.5 * (math.log(0.1 + 0.8 * p) + math.log(0.1 + 0.8 * (1 - p)))
            elif isinstance(judgement, Labelled):
                term = math.log1p(math.exp(-(s[0] + 0.4) * (1 if judgement.good else -1)))
            else:
                term = judgement.weight * (0.2 + math.exp(-0.5) * s[0] - (judgement.rating - 3) / 2) ** 2
            terms.append(term + 0.3 * (2 * s.mean()) ** 2)
        dataset = JudgementDataset(one, data, config, learner)
        total, count = dataset.loss(which)
        assert count == 24
        assert float(total.detach()) == pytest.approx(sum(terms), rel=1e-5)
        assert [float(dataset.loss([i])[0].detach()) for i in which] == pytest.approx(terms, rel=1e-4, abs=1e-4)

    def test_linear_ratings(self):
        """A score is a rating mapped to [−1, 1]."""
        one = reward_model()
        config = dataclasses.replace(QUICK, epochs=12, ratings="linear", dropout=0.0, token_learning_rate=0.05)
        train(one, judgements("ratings"), config, show=False)
        rng = np.random.default_rng(8)
        for kind, expected in ((GOOD, 1.0), (FAIR, 0.0), (BAD, -1.0)):
            texts = responses(rng, [kind] * 40)
            assert one.raw(["a9"] * 40, texts).mean() == pytest.approx(expected, abs=0.25)

    def test_dropout_in_training_only(self):
        one, data = reward_model(), judgements("mix", 16)
        for parameter in one.network.values.parameters():
            parameter.data.normal_(generator=torch.Generator().manual_seed(0))
        config = TrainConfig(dropout=0.5)
        learner = Learner(one.network, config)
        noisy, plain = (JudgementDataset(one, data, config, learner, training=on) for on in (True, False))
        seen = [float(kind.loss(range(16))[0].detach()) for kind in (noisy, noisy, plain, plain)]
        assert seen[0] == seen[1] != seen[2] == seen[3]
        other = JudgementDataset(one, data, dataclasses.replace(config, seed=1), learner, training=True)
        assert float(other.loss(range(16))[0].detach()) != seen[0]

    def test_learning_rates(self):
        config = TrainConfig(head_learning_rate=1e-2, token_learning_rate=0.1)
        one = reward_model("last")
        rates = Learner(one.network, config).rates(1e-3)
        names = [name for name, _ in Learner(one.network, config).named_parameters()]
        assert all(any(name.startswith(part) for name in names) for part in ("network.model.score", "offset", "line"))
        assert rates["network.model.score"] == pytest.approx(10)
        assert rates["network."] == 1
        assert rates["network.values.values"] == pytest.approx(100)
        assert Learner(one.network, dataclasses.replace(config, frozen=True)).rates(1e-3)["network."] == 0

    def test_heads_of_wide_trunks_take_small_steps(self, monkeypatch):
        """On SmolLM2, whose states are wide and long, scores began at ±2 and could move by .6 a step."""
        network = reward_model("last").network
        assert chosen_for(TrainConfig(), network, 100).head_learning_rate == 1e-3
        monkeypatch.setattr(trainer, "state_width", lambda trunk: 576)
        assert chosen_for(TrainConfig(), network, 100).head_learning_rate == pytest.approx(1e-3 * 128 / 576)
        assert chosen_for(TrainConfig(head_learning_rate=0.1), network, 100).head_learning_rate == 0.1
        assert float(network.model.score.weight.detach().std()) * network.model.score.weight.shape[1] == pytest.approx(
            1, abs=0.5
        )

    def test_few_judgements_make_small_batches(self):
        """22 pairs were fewer than the batch of 32."""
        sizes = [chosen_for(TrainConfig(), reward_model().network, n).batch_size for n in (1, 22, 200, 4000)]
        assert sizes == [1, 4, 12, 32]
        assert chosen_for(TrainConfig(batch_size=8), reward_model().network, 22).batch_size == 8


class TestBadInput:
    def refused(self, data, match, config=QUICK, **options):
        one = reward_model()
        before = weights(one)
        with pytest.raises(ValueError, match=match):
            train(one, data, config, show=False, **options)
        assert all(torch.equal(tensor, before[name]) for name, tensor in weights(one).items())

    def test_fewer_than_a_batch(self):
        self.refused([], "there are 0 judgements, fewer than a batch of 16")
        self.refused(judgements("pairs", 15), "there are 15 judgements")

    def test_no_judgements_for_an_encoder(self, tmp_path):
        with pytest.raises(ValueError, match="there are 0 judgements"):
            train(RewardModel.new(bert(tmp_path)), [], QUICK, show=False)

    @pytest.mark.parametrize("good", [True, False])
    def test_labels_of_one_class(self, good):
        rng = np.random.default_rng(0)
        same = [Labelled("a9", responses(rng, (GOOD,))[0], good) for _ in range(10)]
        self.refused(same + judgements("pairs"), f"all 10 labels are '{'good' if good else 'bad'}'")

    def test_equal_ratings(self):
        rng = np.random.default_rng(0)
        same = [Rated("a9", responses(rng, (GOOD,))[0], 4.0, SCALE) for _ in range(20)]
        self.refused(same, "all 20 ratings are 4.0")

    def test_too_long_text(self):
        data = judgements("pairs", 20)
        data[7] = dataclasses.replace(data[7], responses=(data[7].responses[0], " a9" * 128))
        self.refused(
            data, r"^some\.jsonl, line 8: the text has 1\d\d tokens, the reward model 128 positions.*overflow='drop'"
        )
        self.refused(judgements("pairs", 20), r"^some\.jsonl, line 8: the text has", heldout=data)

    def test_overflow_drop(self):
        """Guards against a pair of which one text is left, and against truncation."""
        data, long = judgements("mix", 40), " a9" * 130
        data += [Ranked("a9", (" a5", long)), Labelled("a9", long, True), Rated(long, " a5", 2.0, SCALE)]
        config = dataclasses.replace(QUICK, epochs=1, overflow="drop")
        one, same = reward_model(), reward_model()
        trained = train(one, data, config, heldout=data[38:], show=False)
        assert trained.dropped == 3
        assert train(same, data[:40], config, heldout=data[38:40], show=False).metrics == trained.metrics
        assert_same_weights(one, same)
        self.refused(data[-3:] * 10, r"there are 0 judgements \(30 were too long", config)

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"batch_size": 0}, "batch_size is 0"),
            ({"seed": -1}, "seed -1"),
            ({"epochs": 0}, "epochs is 0: expected a positive number"),
            ({"epochs": math.nan}, "epochs is nan"),
            ({"head_learning_rate": math.inf}, "head_learning_rate is inf"),
            ({"token_learning_rate": -1.0}, "token_learning_rate is -1"),
            ({"dropout": 1.0}, "dropout is 1.0"),
            ({"lapse": 0.5}, "lapse is 0.5"),
            ({"centring": -1.0}, "centring is -1"),
            ({"ratings": "curved"}, "ratings is 'curved': expected one of 'linear', 'learned'"),
            ({"overflow": "cut"}, "overflow is 'cut': expected one of 'error', 'drop'"),
        ],
        ids=str,
    )
    def test_invalid_config(self, wrong, message):
        with pytest.raises(ValueError, match=message):
            TrainConfig(**wrong)

    def test_learning_rate_of_zero(self):
        self.refused(
            judgements("pairs"),
            "learning_rate is 0.0: expected a positive",
            dataclasses.replace(QUICK, learning_rate=0.0),
        )

    def test_nan_weights(self, tmp_path):
        one = reward_model()
        next(one.network.trunk.parameters()).data.fill_(math.nan)
        with pytest.raises(FloatingPointError, match="the loss is nan at step 0"):
            train(one, judgements("pairs"), QUICK, run=tmp_path, show=False)
        assert not (tmp_path / "checkpoints").exists()
