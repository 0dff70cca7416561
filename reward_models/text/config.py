"""Settings of reward models, without importing torch: how texts are read, what scores mean, names of files."""

from __future__ import annotations

from dataclasses import dataclass

from ...language.no_language_model import ENSEMBLE as ENSEMBLE_FILE
from ...language.no_language_model import REWARD_MODEL_FOLDER as MODEL_FOLDER
from ...records.checks import finite, one_of

__all__ = ["ADAPTER_FOLDER", "ENSEMBLE_FILE", "HEADS", "MODEL_FOLDER", "READS", "RewardModelConfig"]

HEADS = ("last", "tokens")
READS = ("text", "pair", "response")
ADAPTER_FOLDER = "adapter"  # with what was trained of it, where that are adapters


@dataclass(frozen=True)
class RewardModelConfig:
    """Settings of a reward model, saved with its weights."""

    head: str = "last"  # "last": read at the last token, as Hugging Face's classifiers do; "tokens": summed over tokens
    reads: str = "text"  # what of prompt and response is read, see TextReader
    end: bool = False  # append the end-of-text token to the response
    label: int | None = None  # of a classifier with several labels: the one whose log-odds are the score
    normalised: bool = False  # whether shift and scale were measured, by RewardModel.normalise
    shift: float = 0.0  # score = (raw − shift) / scale
    scale: float = 1.0
    lapse: float = 0.0  # P(first is preferred) = lapse + (1 − 2 lapse) · sigmoid(raw − raw of the second)
    offset: float = 0.0  # P(good) = sigmoid(raw + offset)
    templated: float | None = None  # share of the training prompts with special tokens, as chat templates write them
    joined: float | None = None  # share of the training texts with no white space between prompt and response

    def __post_init__(self) -> None:
        one_of("head", self.head, HEADS)
        one_of("reads", self.reads, READS)
        for name in ("end", "normalised"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} is {getattr(self, name)!r}: expected True or False")
        if self.label is not None and type(self.label) is not int:
            raise ValueError(f"label is {self.label!r}: expected the index of a label, or None")
        for name in ("shift", "scale", "lapse", "offset"):
            finite(name, getattr(self, name))
        for name in ("templated", "joined"):
            if getattr(self, name) is not None:
                finite(name, getattr(self, name))
        if self.scale <= 0:
            raise ValueError(f"scale is {self.scale}: expected a number above 0")
        if not 0 <= self.lapse < 0.5:
            raise ValueError(f"lapse is {self.lapse}: expected 0 to below 0.5")
