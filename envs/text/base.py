"""What the single text environment and the batch share, beside Gymnasium's own methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ...language import CausalLM
from ...records.checks import not_negative
from .engine import TextEngine
from .options import make_options
from .task import Prompt


class TextEnvBase:
    """An environment around a text engine."""

    engine: TextEngine
    path_arguments: ClassVar[tuple[str, ...]] = ("model", "prompts", "reward_model")  # a run stores them as full paths

    def _open(self, n: int, options: Mapping[str, Any]) -> None:
        self.engine = TextEngine(n, make_options(options), self.get_human_feedback)
        self.policy_logprob: Any = None  # set by the agent before a step; of a batch (N,)
        if self.engine.rules.active:  # without a mask there is no such method
            self.action_masks = self._action_masks

    @property
    def reference_model(self) -> CausalLM:
        """The frozen reference of the KL penalty, and the model that an agent starts from."""
        return self.engine.lm

    @property
    def prompts(self) -> Sequence[Prompt]:
        """The prompts of this split, numbered as in `reset(options={"prompt": i})`."""
        return self.engine.prompts.records

    @property
    def split(self) -> str:
        """Which prompts are used, "train" or "heldout"."""
        return self.engine.options.split

    @property
    def kl_penalty(self) -> str:
        """When the KL penalty is paid: "token", "deferred" or "none"."""
        return self.engine.options.kl_penalty

    @property
    def kl_coef(self) -> float:
        """β, the coefficient of the KL penalty; may be set at any time."""
        return self.engine.kl_coef

    @kl_coef.setter
    def kl_coef(self, value: float) -> None:
        self.engine.kl_coef = not_negative("kl_coef", value)

    def pay_scores_at_once(self) -> None:
        """No score waits for `settle()`, only deferred KL penalties do."""
        self.engine.credit.may_wait = False

    def stop_settling(self) -> None:
        """Nobody will call `settle()` any more: texts are paid when they end, and what is pending is dropped."""
        self.engine.stop_settling()

    def get_human_feedback(self, prompt: Prompt, turns: Sequence[str]) -> float | None:
        """Return the reward of the agent's latest turn of a dialogue, or None. Override it, or pass `feedback=`."""
        feedback = self.engine.options.feedback or self.engine.task.feedback
        return feedback(prompt, turns)

    def _action_masks(self) -> Any:  # (N, V)
        """True where a token may be written next."""
        return self.engine.rules.masks(self.engine.taken)
