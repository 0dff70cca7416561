"""Adam over all parameters of a network as one flat tensor: a few operations instead of dozens.

For a 64-64 network a step of `torch.optim.Adam` with `clip_grad_norm_` takes about as long as the backward pass. For
millions of weights, what counts is that nothing of that size is allocated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from ...records.run import DivergedError

BETA1, BETA2 = 0.9, 0.999


class FlatAdam:
    """Adam with gradient-norm clipping over a network's trainable parameters, which become views of one tensor."""

    def __init__(self, network: nn.Module, eps: float = 1e-8) -> None:
        parameters = [p for p in network.parameters() if p.requires_grad]
        self.parameters, at = parameters, 0
        self.flat = parameters[0].new_empty(sum(parameter.numel() for parameter in parameters)).detach()  # (P,)
        for parameter in parameters:  # each is freed as it is copied, so that the weights are never there twice
            span = slice(at, at + parameter.numel())
            parameter.data = self.flat[span].view_as(parameter).copy_(parameter.data)
            at = span.stop
        self.gradient, self.mean, self.square = (torch.zeros_like(self.flat) for _ in range(3))
        self.eps, self.steps = eps, torch.zeros((), device=self.flat.device)
        self.norms = torch.zeros((), device=self.flat.device)  # sum of the gradients' norms: finite if all of them are
        for parameter, gradient in zip(parameters, self.gradient.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = gradient.view_as(parameter)

    def zero(self) -> None:
        """Set the gradient to zero; RuntimeError if the network's parameters are no longer those of the flat tensor."""
        for parameter in (self.parameters[0], self.parameters[-1]):
            if parameter.untyped_storage().data_ptr() != self.flat.untyped_storage().data_ptr():
                raise RuntimeError(
                    "the network was moved or its parameters were replaced after its optimizer was made, so that no "
                    "step would reach them: pass device=… to the agent instead"
                )
        self.gradient.zero_()

    def add(self, loss: Tensor, share: float = 1.0) -> None:
        """Add the gradient of `share * loss`, and free its graph."""
        (loss if share == 1 else loss * share).backward()

    def step(self, learning_rate: float, max_grad_norm: float) -> None:
        """Clip the gradient norm to `max_grad_norm`, then take a step."""
        norm = torch.linalg.vector_norm(self.gradient)
        self.norms += norm
        self.gradient.mul_((max_grad_norm / (norm + 1e-6)).clamp_max_(1.0))
        self.descend(learning_rate)

    @torch.no_grad()
    def descend(self, learning_rate: float) -> None:
        """One step of Adam (Kingma & Ba, 2015)."""
        adam(
            [self.flat],
            [self.gradient],
            [self.mean],
            [self.square],
            [],
            [self.steps],
            fused=True,
            amsgrad=False,
            beta1=BETA1,
            beta2=BETA2,
            lr=learning_rate,
            weight_decay=0.0,
            eps=self.eps,
            maximize=False,
        )

    def check_finite(self, when: str) -> None:
        """Raise DivergedError if a gradient since the last call was NaN or infinite."""
        norms = float(self.norms)
        self.norms.zero_()
        if not math.isfinite(norms):
            raise DivergedError(f"a gradient {when} is not finite")

    def tensors(self) -> dict[str, Tensor]:
        """Adam's moments, (P,) each, and its step count."""
        return {"mean": self.mean, "square": self.square, "steps": self.steps}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore `tensors`."""
        if tensors["mean"].shape != self.flat.shape:
            raise ValueError(f"Adam's moments have {len(tensors['mean'])} entries for {len(self.flat)} parameters")
        self.mean.copy_(tensors["mean"])
        self.square.copy_(tensors["square"])
        self.steps.fill_(int(tensors["steps"]))


def own_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Weights and buffers by name; tied tensors once, under their first name."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in network.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            found[name] = tensor.detach()
    return found


@torch.no_grad()
def load_own_tensors(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Restore `own_tensors`."""
    own = own_tensors(network)
    for name in own.keys() ^ tensors.keys():
        raise ValueError(f"{name!r} is in the network or the checkpoint, but not in both")
    for name, tensor in own.items():
        if tensor.shape != tensors[name].shape:
            raise ValueError(f"{name!r} has shape {tuple(tensors[name].shape)}, the network's {tuple(tensor.shape)}")
        tensor.copy_(tensors[name])
