"""What one text and a batch of them offer alike, beside Gymnasium's own methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...language import CausalLM
from .engine import TextEngine
from .options import TextOptions
from .task import Prompt


class TextEnvBase:
    """A text engine behind an environment's face."""

    engine: TextEngine

    def _open(self, n: int, options: TextOptions) -> None:
        self.engine = TextEngine(n, options, self._feedback)
        self.policy_logprob: Any = None  # the agent's, of its next action; of a batch (N,)
        if self.engine.rules.active:  # elsewhere an agent need not ask
            self.action_masks = self._action_masks

    @property
    def reference_model(self) -> CausalLM:
        """The frozen model that an agent starts from and pays the penalty against."""
        return self.engine.lm

    @property
    def prompts(self) -> Sequence[Prompt]:
        """The prompts of this split, in the order that `reset(options={"prompt": i})` counts them."""
        return self.engine.prompts.records

    @property
    def kl_coef(self) -> float:
        """β, what a nat of difference from the reference costs."""
        return self.engine.kl_coef

    @kl_coef.setter
    def kl_coef(self, value: float) -> None:
        self.engine.set_kl_coef(value)

    def get_human_feedback(self, prompt: Prompt, turns: Sequence[str]) -> float | None:
        """Reward model the agent's latest turn of a dialogue: a number, or None. Override it, or pass `feedback=`."""
        given = self.engine.options.feedback
        return given(prompt, turns) if given is not None else self.engine.task.feedback(prompt, turns)

    def _feedback(self, prompt: Prompt, turns: Sequence[str]) -> float | None:
        return self.get_human_feedback(prompt, turns)

    def _action_masks(self) -> Any:
        raise NotImplementedError
