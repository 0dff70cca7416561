"""Policies: what acts and what is learned."""

from __future__ import annotations

from .gru import GRUPolicy
from .mlp import MLPPolicy
from .policy import Act, Evaluation, Memory, Policy

__all__ = ["Act", "Evaluation", "GRUPolicy", "MLPPolicy", "Memory", "Policy"]
