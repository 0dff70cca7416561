"""The checkpoint folder: tensors as safetensors, everything else as one JSON file. Never pickle.

    model.safetensors        the policy's weights
    optimizer.safetensors    the optimiser's moments
    state.json               config, counters, random states, and the size and hash of each file above

`state.json` vouches for the others, so a folder that was cut short or altered is recognised before it is used.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from .folder import recovered, whole_folder

FORMAT = 1


class CheckpointError(ValueError):
    """A checkpoint that cannot be used, and what to do about it."""


@dataclass
class Checkpoint:
    """What a checkpoint folder holds."""

    path: Path
    state: dict[str, Any]
    tensors: dict[str, dict[str, Tensor]]


def save_checkpoint(
    path: str | os.PathLike[str], state: Mapping[str, Any], tensors: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Write `state` and each group of `tensors` (a file of that name) into the folder `path`, or nothing."""
    _refuse_to_replace(Path(path))
    with whole_folder(path) as folder:
        for name, group in tensors.items():
            save_file({key: t.detach().contiguous() for key, t in group.items()}, folder / f"{name}.safetensors")
        files = {file.name: _fingerprint(file) for file in sorted(folder.iterdir())}
        text = json.dumps({"format": FORMAT, "files": files, **state}, indent=1, allow_nan=False)
        (folder / "state.json").write_text(text)


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read the folder `path`; raise `CheckpointError` when anything about it is not as it was written."""
    folder = recovered(path)
    if not folder.is_dir():
        raise CheckpointError(f"no checkpoint at {folder}: expected a folder written by agent.save()")
    try:
        state = json.loads((folder / "state.json").read_text())
        files = dict(state.pop("files"))
        version = state.pop("format")
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder} holds no state.json, so it is not a checkpoint; pass a folder written by agent.save()"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{folder / 'state.json'} is damaged ({error}); use another checkpoint") from None
    if version != FORMAT:
        raise CheckpointError(f"{folder} has format {version!r}, this version of textrlhf reads {FORMAT}")
    tensors = {}
    for name, fingerprint in files.items():
        if name != Path(name).name:
            raise CheckpointError(f"{folder / 'state.json'} names {name!r}, which is not a file of this folder")
        file = folder / name
        if not file.is_file() or _fingerprint(file) != fingerprint:
            raise CheckpointError(
                f"{file} is missing, cut short or altered (its size or hash is not the one in state.json); "
                "use another checkpoint"
            )
        try:
            tensors[file.stem] = load_file(file)
        except SafetensorError as error:
            raise CheckpointError(f"{file} is not a safetensors file ({error})") from None
    return Checkpoint(folder, state, tensors)


def _refuse_to_replace(folder: Path) -> None:
    """Only a checkpoint (or nothing) may be replaced by one: never a run, never somebody's work."""
    names = {file.name for file in folder.iterdir()} if folder.is_dir() else set()
    foreign = sorted(name for name in names if name != "state.json" and not name.endswith(".safetensors"))
    if foreign or (names and "state.json" not in names) or (folder.exists() and not folder.is_dir()):
        seen = f"it holds {', '.join(foreign[:3])}" if foreign else "it is a file" if not names else "it is none"
        raise FileExistsError(f"{folder} exists and is not a checkpoint ({seen}): name a folder of its own inside it")


def _fingerprint(file: Path) -> dict[str, Any]:
    with file.open("rb") as stream:
        digest = hashlib.sha256()
        while block := stream.read(1 << 20):
            digest.update(block)
    return {"bytes": file.stat().st_size, "sha256": digest.hexdigest()}
