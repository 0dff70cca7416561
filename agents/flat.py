"""All parameters of a network in one tensor, so that clipping and Adam are a few operations instead of dozens.

On a 64-64 network a step of `torch.optim.Adam` with `clip_grad_norm_` costs about as much as the backward pass.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class FlatAdam:
    """Adam with gradient-norm clipping over a network's trainable parameters, which become views of one tensor."""

    def __init__(self, network: nn.Module, learning_rate: float, eps: float = 1e-8) -> None:
        parameters = [p for p in network.parameters() if p.requires_grad]
        self.flat = nn.Parameter(torch.cat([p.detach().flatten() for p in parameters]))
        self.gradient = self.flat.grad = torch.zeros_like(self.flat)
        at = 0
        for parameter in parameters:
            span = slice(at, at + parameter.numel())
            parameter.data = self.flat.data[span].view_as(parameter)
            parameter.grad = self.gradient[span].view_as(parameter)
            at = span.stop
        self.adam = torch.optim.Adam([self.flat], learning_rate, eps=eps, fused=True)

    def step(self, loss: Tensor, learning_rate: float, max_grad_norm: float) -> None:
        """Go down the gradient of `loss`, shortened to `max_grad_norm`."""
        self.gradient.zero_()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.linalg.vector_norm(self.gradient)
        self.gradient.mul_((max_grad_norm / (norm + 1e-6)).clamp_max(1.0))
        self.adam.param_groups[0]["lr"] = learning_rate
        self.adam.step()

    def tensors(self) -> dict[str, Tensor]:
        """Adam's moments, (P,) each, and its step."""
        return dict(self.adam.state[self.flat])

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `tensors` gave."""
        if tensors and tensors["exp_avg"].shape != self.flat.shape:
            raise ValueError(f"moments of {len(tensors['exp_avg'])} parameters for a network of {len(self.flat)}")
        self.adam.state[self.flat] = {name: tensor.to(self.flat.device) for name, tensor in tensors.items()}
