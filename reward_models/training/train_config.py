"""The settings of a reward model's training."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...language.lora import Lora
from ...records.checks import one_of

OVERFLOWS = ("error", "drop")
LINES = ("linear", "learned")


@dataclass(frozen=True)
class TrainConfig:
    """How to train a reward model."""

    epochs: float = 3.0
    """passes over the judgements; with more than a few, label noise is memorised"""
    batch_size: int | None = None
    """judgements per step; None: 32, and of fewer than 512 judgements a sixteenth, at least 4"""
    learning_rate: float | None = None
    """of the trunk; None sets it by size: 1e-3 up to a million weights, 2e-5 at 100 million, 1e-5 above 225 million;
    of adapters ten times that, up to 1e-3"""
    head_learning_rate: float | None = None
    """of the head, which is new; None: 1e-3 for states of up to 128 numbers, and for wider ones less in proportion, so
    that a step changes scores about as much at any size"""
    token_learning_rate: float = 0.02
    """of the token values of the "tokens" head: each is seen rarely"""
    frozen: bool = False
    """train the head alone: logistic regression on the trunk's states"""
    dropout: float = 0.5
    """dropout of the states in front of the head"""
    lapse: float = 0.1
    """label noise: how often annotators choose the wrong response by accident; below 0.5"""
    centring: float = 0.0
    """weight of a penalty on the squared mean of a judgement's scores"""
    ratings: str = "learned"
    """how ratings relate to scores: "linear" (the scale is [-1, 1]) or by a "learned" line"""
    overflow: str = "error"
    """judgements with a text longer than the model's positions: "error" or "drop" them; nothing is truncated"""
    weight_decay: float = 0.01
    """on matrices"""
    warmup: float = 0.05
    """share of the steps over which the learning rate rises"""
    max_grad_norm: float = 1.0
    """clip the global gradient norm to this"""
    checkpoints: int = 10
    """number of checkpoints over the run, to resume from; fewer where writing them takes more than 5% of the time"""
    bf16: bool = False
    """compute in bfloat16"""
    lora_rank: int = 0
    """train adapters of this rank (LoRA) beside the trunk's weights, which stay as they are; 0 trains all weights"""
    lora_alpha: float | None = None
    """scale of the adapters' outputs, times the rank; None: twice the rank"""
    lora_target_modules: tuple[str, ...] | None = None
    """names of the layers with adapters, such as ("q_proj", "v_proj"); None: all linear ones of the trunk"""
    gradient_checkpointing: bool = False
    """compute activations again in the backward pass instead of keeping them: less memory, a third more time"""
    tokens_at_once: int | None = None
    """tokens that a forward reads, padding included; of larger batches the gradients add up. If None, chosen by the
    model's size (on a GPU by the free memory), and recorded"""
    seed: int = 0
    """of the head, the order of the judgements and dropout"""

    def __post_init__(self) -> None:
        one_of("overflow", self.overflow, OVERFLOWS)
        one_of("ratings", self.ratings, LINES)
        if self.seed < 0 or (self.batch_size is not None and self.batch_size < 1):
            raise ValueError(f"batch_size is {self.batch_size}, seed {self.seed}: expected at least 1, and at least 0")
        for name in ("epochs", "head_learning_rate", "token_learning_rate"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value!r}: expected a positive number")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout!r}: expected 0 to below 1")
        if not 0 <= self.lapse < 0.5:
            raise ValueError(f"lapse is {self.lapse!r}: expected 0 to below 0.5, at which choices are random")
        if not (math.isfinite(self.centring) and self.centring >= 0):
            raise ValueError(f"centring is {self.centring!r}: expected a finite number, 0 or more")
        if self.lora_target_modules is not None:  # a list, if it was read from a file
            object.__setattr__(self, "lora_target_modules", tuple(self.lora_target_modules))
        if self.lora and self.frozen:
            raise ValueError(f"frozen=True trains the head alone, lora_rank={self.lora_rank} the trunk: choose one")

    @property
    def lora(self) -> Lora | None:
        """The settings of the adapters, if there are any."""
        return Lora(self.lora_rank, self.lora_alpha, self.lora_target_modules) if self.lora_rank else None
