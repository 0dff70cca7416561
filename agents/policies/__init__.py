"""Policies: actor and critic in one network."""

from __future__ import annotations

from .gru import GRUPolicy
from .language_model import LanguageModelPolicy
from .mlp import MLPPolicy
from .policy import Act, Evaluation, Memory, Policy

__all__ = ["Act", "Evaluation", "GRUPolicy", "LanguageModelPolicy", "MLPPolicy", "Memory", "Policy"]
