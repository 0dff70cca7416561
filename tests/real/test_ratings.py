"""A reward model on a real encoder learns from real ratings."""

from __future__ import annotations

import numpy as np
import pytest

from real_models import MINILM, RATINGS, needs_material
from textrlhf.reward_models import RewardModel, TrainConfig, import_judgements, read_judgements, train

pytestmark = [needs_material, pytest.mark.slow]
FILE = RATINGS / "movieReviewSnippets_anonDataRatings.txt"


def test_every_rating_of_the_archive_is_read() -> None:
    imported = import_judgements(str(FILE))
    assert imported.report.kept == 10_605


def test_a_few_ratings_teach_an_encoder_something() -> None:
    """Sign, scale and reading: by chance a correlation over 512 new texts is beyond .13 once in 300 times."""
    every = read_judgements(str(FILE), None)
    learned, new = every[:256], every[5000:5512]
    reward_model = RewardModel.new(str(MINILM), reads="text", device="cpu")
    train(reward_model, learned, TrainConfig(epochs=4, learning_rate=1e-4, batch_size=16), show=False)
    scores = reward_model.raw([one.prompt for one in new], [one.response for one in new])
    assert np.corrcoef(scores, [one.rating for one in new])[0, 1] > 0.2
