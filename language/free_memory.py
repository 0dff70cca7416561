"""How much memory is free, and whether a model's weights fit into it."""

from __future__ import annotations

import math
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open


class TooLittleMemoryError(ValueError):
    """What is to be loaded or trained does not fit, and the remedy."""


def free_memory(device: torch.device) -> int | None:
    """The free bytes on a device; None where that cannot be told."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    return _free_on_host(Path("/")) if device.type == "cpu" else None


def check_room(folder: str | os.PathLike[str], dtype: torch.dtype) -> None:
    """Raise TooLittleMemoryError if the weights in a folder's safetensors do not fit into the main memory."""
    free, number = free_memory(torch.device("cpu")), _number_of_weights(Path(folder))
    size = number * dtype.itemsize
    if free is not None and size > free:
        half = (
            ', or load it in 16 bits, dtype="bfloat16" (and train adapters, lora_rank=16)' if dtype.itemsize > 2 else ""
        )
        raise TooLittleMemoryError(
            f"{folder} has {number:,} weights, {in_words(size)} in {str(dtype).removeprefix('torch.')}, and "
            f"{in_words(free)} of memory are free: close what else runs, take a smaller model{half}"
        )


def in_words(size: float) -> str:
    """A number of bytes as people write it."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"


def _number_of_weights(folder: Path) -> int:
    """The weights in the safetensors of a folder, by their headers; 0 where there are none."""
    found = 0
    for file in folder.glob("model*.safetensors"):
        try:
            with safe_open(file, "pt") as tensors:
                found += sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
        except (OSError, SafetensorError):  # loading will say what is wrong
            continue
    return found


def _free_on_host(root: Path) -> int | None:
    """The memory that is available by /proc/meminfo, or up to the limit of a container (cgroup, version 2 or 1)."""
    found: list[int] = []
    try:
        lines = dict(line.split(":", 1) for line in (root / "proc/meminfo").read_text().splitlines())
        found.append(int(lines["MemAvailable"].split()[0]) << 10)
    except (OSError, KeyError, ValueError):
        if hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
            found.append(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            found.append(int((root / "sys/fs/cgroup" / limit).read_text()) - _in_use(root / "sys/fs/cgroup", used))
        except (OSError, ValueError):  # no container, or no limit ("max")
            continue
    return min(found, default=None) if found else None


def _in_use(cgroup: Path, used: str) -> int:
    """What a container uses, without files that are only cached."""
    bytes_used = int((cgroup / used).read_text())
    try:
        stat = dict(line.split() for line in (cgroup / used).with_name("memory.stat").read_text().splitlines())
        return bytes_used - int(stat.get("inactive_file", 0))
    except (OSError, ValueError):
        return bytes_used
