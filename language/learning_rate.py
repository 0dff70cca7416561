"""The learning rate that a pretrained model of some size takes."""

from __future__ import annotations

from torch import nn

LARGEST, LEAST = 1e-3, 1e-5
ADAPTERS = 10  # times the rate of all weights, at any size (Schulman et al., 2025, "LoRA without regret")


def fine_tuning_rate(model: nn.Module, *, adapters: bool = False) -> float:
    """A learning rate of Adam for fine-tuning all weights of a model, or adapters (LoRA) beside them.

    1e-3 up to a million weights, and less with size: 1.5e-5 at 135 million, 1e-5 above 225 million. From 100 million
    weights on that is what is published: BERT (110M) was fine-tuned with 2e-5 at least, the reward models of Stiennon
    et al. (2020; 1.3B) with 1.5e-5, those of Llama 2 (2023; 7B to 13B) with 1e-5. Small models were tuned here.
    """
    size = sum(weights.numel() for name, weights in model.named_parameters() if ".lora_" not in name)
    rate: float = min(max(LARGEST * (1e6 / max(size, 1)) ** 0.85, LEAST), LARGEST)
    return min(ADAPTERS * rate, LARGEST) if adapters else rate
