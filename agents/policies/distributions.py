"""Action distributions, without the overhead of `torch.distributions`."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...language.sampling import inverse_cdf

NEVER = -1e9  # logit of a forbidden action: probability 0, and finite, so that its share of the entropy is 0


class Categorical(nn.Module):
    """One discrete choice, or several independent ones.

    Outputs (M, Σn) are split into K choices of n_k options; ragged ones are padded to the widest. Action masks
    are bool (M, Σn), True where the option is allowed.
    """

    slots: Tensor

    def __init__(self, choices: list[int]) -> None:
        super().__init__()
        self.n_choices, self.width = len(choices), max(choices)
        self.n_outputs = sum(choices)
        self.ragged = len(set(choices)) > 1
        slots = [k * self.width + i for k, n in enumerate(choices) for i in range(n)]
        self.register_buffer("slots", torch.tensor(slots), persistent=False)

    def log_probs(self, outputs: Tensor, masks: Tensor | None = None) -> Tensor:  # -> (M·K, n)
        """Log-probabilities of every option of every choice."""
        if masks is not None:
            outputs = outputs.masked_fill(~masks, NEVER)
        if self.ragged:
            grid = outputs.new_full((len(outputs), self.n_choices * self.width), NEVER)
            outputs = grid.index_copy(1, self.slots, outputs)
        return outputs.view(-1, self.width).log_softmax(-1)

    def sample(
        self,
        outputs: Tensor,
        *,
        deterministic: bool = False,
        generator: torch.Generator | None = None,
        masks: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Sample actions, (M,) or (M, K), and their log-probabilities (M,)."""
        log_probs = self.log_probs(outputs, masks)
        if deterministic:
            action = log_probs.argmax(-1, keepdim=True)
        else:
            uniform = torch.rand(len(log_probs), generator=generator, device=log_probs.device)
            action = inverse_cdf(log_probs, uniform)[:, None]
        log_prob = self._joint(log_probs.gather(-1, action).squeeze(-1))
        action = action.squeeze(-1)
        return (action if self.n_choices == 1 else action.view(-1, self.n_choices)), log_prob

    def evaluate(self, outputs: Tensor, action: Tensor, masks: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Log-probabilities of given actions and the entropy, both (M,)."""
        log_probs = self.log_probs(outputs, masks)
        chosen = -F.nll_loss(log_probs, action.flatten(), reduction="none")
        entropy = -(log_probs.exp() * log_probs).sum(-1)
        return self._joint(chosen), self._joint(entropy)

    def _joint(self, per_choice: Tensor) -> Tensor:  # (M·K,) -> (M,)
        return per_choice if self.n_choices == 1 else per_choice.view(-1, self.n_choices).sum(-1)


class DiagonalGaussian(nn.Module):
    """Independent normal distributions; the network outputs the means, log_std does not depend on the state."""

    def __init__(self, size: int, log_std_init: float = 0.0) -> None:
        super().__init__()
        self.n_outputs = size
        self.log_std = nn.Parameter(torch.full((size,), log_std_init))

    def sample(
        self,
        outputs: Tensor,
        *,
        deterministic: bool = False,
        generator: torch.Generator | None = None,
        masks: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Sample actions (M, D) and their log-probabilities (M,)."""
        if deterministic:
            action = outputs
        else:
            noise = torch.randn(outputs.shape, generator=generator, device=outputs.device)
            action = outputs + self.log_std.exp() * noise
        return action, self._log_prob(outputs, action)

    def evaluate(self, outputs: Tensor, action: Tensor, masks: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Log-probabilities of given actions and the entropy, both (M,)."""
        entropy = (self.log_std + 0.5 * (1 + math.log(2 * math.pi))).sum()
        return self._log_prob(outputs, action), entropy.expand(len(outputs))

    def _log_prob(self, mean: Tensor, action: Tensor) -> Tensor:
        z = (action - mean) * (-self.log_std).exp()
        return -(0.5 * z * z + self.log_std + 0.5 * math.log(2 * math.pi)).sum(-1)
