"""Hyperparameters as keyword arguments, for type checkers and editors. Written by `make keywords`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypedDict

from .config import Schedule


class Keywords(TypedDict, total=False):
    """Hyperparameters of `Config`."""

    n_envs: int
    seed: int | None
    device: str
    torch_threads: int | None
    checkpoints: int
    checkpoint_every: int | None


class PolicyKeywords(Keywords, total=False):
    """Hyperparameters of `PolicyConfig`."""

    policy: Literal["auto", "mlp", "gru", "lm"] | Callable[..., Any]
    net_arch: tuple[int, ...]
    activation: Literal["tanh", "relu", "silu"]
    memory_size: int
    separate_critic: bool
    bf16: bool
    lora_rank: int
    lora_alpha: float | None
    lora_target_modules: tuple[str, ...] | None
    gradient_checkpointing: bool
    tokens_at_once: int | None
    log_std_init: float
    normalize_observation: bool


class OnPolicyKeywords(PolicyKeywords, total=False):
    """Hyperparameters of `OnPolicyConfig`."""

    n_steps: int
    learning_rate: float
    lr_schedule: Schedule
    gamma: float
    gae_lambda: float
    normalize_reward: bool
    normalize_advantage: bool
    ent_coef: float
    vf_coef: float
    max_grad_norm: float


class PPOKeywords(OnPolicyKeywords, total=False):
    """Hyperparameters of `PPOConfig`."""

    n_epochs: int
    batch_size: int
    clip_range: float
    clip_range_vf: float | None
    target_kl: float | None
    clip_schedule: Schedule


class REINFORCEKeywords(OnPolicyKeywords, total=False):
    """Hyperparameters of `REINFORCEConfig`."""

    gae_lambda: float
    baseline: Literal["critic", "mean"]


class CloneKeywords(PolicyKeywords, total=False):
    """Hyperparameters of `CloneConfig`."""

    n_envs: int
    demonstrations: str | None
    batch_size: int
    learning_rate: float
    lr_schedule: Schedule
    warmup: int
    max_grad_norm: float
    heldout: float
    heldout_checks: int
