"""Copies between host and device, one in place of several.

Each copy to or from a GPU costs some ten microseconds however little it carries, and one from the GPU makes the host
wait for all that was started before. A step that writes a token is hardly longer, so it should make one of each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ALIGNED = 8  # bytes: every part begins where a number of any type may lie


class PackedUpload:
    """Arrays that go to a device together: all those added so far, when the first of them is asked for."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._waiting: list[NDArray[Any]] = []
        self._arrived: list[Tensor] = []

    def add(self, array: NDArray[Any]) -> int:
        """Add an array; returns the key under which its tensor is found."""
        self._waiting.append(array)
        return len(self._arrived) + len(self._waiting) - 1

    def __getitem__(self, key: int) -> Tensor:
        """The tensor on the device, of the array's shape and type."""
        if key >= len(self._arrived):
            self._send()
        return self._arrived[key]

    def _send(self) -> None:
        arrays, self._waiting = self._waiting, []
        if self.device.type == "cpu" or len(arrays) == 1:
            self._arrived += [torch.from_numpy(array).to(self.device) for array in arrays]
            return
        sizes = [-(-array.nbytes // ALIGNED) * ALIGNED for array in arrays]
        packed = np.zeros(sum(sizes), np.uint8)
        for array, end, size in zip(arrays, np.cumsum(sizes).tolist(), sizes, strict=True):
            packed[end - size : end - size + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        for array, part in zip(arrays, torch.from_numpy(packed).to(self.device).split(sizes), strict=True):
            kind = torch.from_numpy(array[:0]).dtype
            self._arrived.append(part[: array.nbytes].view(kind).view(array.shape))


def to_host(*tensors: Tensor) -> tuple[NDArray[Any], ...]:
    """The tensors as arrays, in one copy; of tensors on the host the arrays share their memory."""
    if tensors[0].device.type == "cpu" or len(tensors) == 1:
        return tuple(tensor.cpu().numpy() for tensor in tensors)
    parts = [tensor.contiguous().view(-1).view(torch.uint8) for tensor in tensors]
    together = torch.cat(parts).cpu().split([len(part) for part in parts])
    return tuple(
        part.clone().view(tensor.dtype).view(tensor.shape).numpy()
        for part, tensor in zip(together, tensors, strict=True)
    )
