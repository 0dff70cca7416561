"""Checkpoint folders: tensors as safetensors, everything else as one JSON file. No pickle.

model.safetensors        the policy's weights
optimizer.safetensors    the optimiser's moments
state.json               config, counters, random states, and the size and hash of each file above
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from .folder import check_replaceable, recovered, sync, whole_folder

FORMAT = 1


class CheckpointError(ValueError):
    """A checkpoint that cannot be used."""


@dataclass
class Checkpoint:
    """The contents of a checkpoint folder."""

    path: Path
    state: dict[str, Any]
    tensors: dict[str, dict[str, Tensor]]
    before: str = ""  # the folder it was written to, which may have moved since


def save_checkpoint(
    path: str | os.PathLike[str], state: Mapping[str, Any], tensors: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Write `state` and each group of `tensors` (one file each) to the folder `path`, atomically."""
    check_replaceable(path, "state.json", "*.safetensors")
    with whole_folder(path) as folder, ThreadPoolExecutor(1) as disk:
        files, written = {}, []
        for name, group in tensors.items():
            file = folder / f"{name}.safetensors"
            save_file({key: t.detach().contiguous() for key, t in group.items()}, file)
            written.append(disk.submit(sync, file))  # while the file is hashed, which takes about as long
            files[file.name] = _fingerprint(file)
        for one in written:
            one.result()
        text = json.dumps(
            {"format": FORMAT, "files": files, "folder": os.path.abspath(path), **state}, indent=1, allow_nan=False
        )
        (folder / "state.json").write_text(text)


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read the folder `path`; `CheckpointError` if it is missing, damaged or altered."""
    folder = recovered(path)
    if not folder.is_dir():
        raise CheckpointError(f"no checkpoint at {folder}: expected a folder written by agent.save()")
    try:
        state = json.loads((folder / "state.json").read_text())
        files = dict(state.pop("files"))
        version, before = state.pop("format"), str(state.pop("folder", ""))
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder} has no state.json, so it is not a checkpoint (a run has none before its first one): pass a "
            "folder written by agent.save(), or a run's"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{folder / 'state.json'} is damaged ({error}): use another checkpoint") from None
    if version != FORMAT:
        raise CheckpointError(f"{folder} has format {version!r}, this version of textrlhf reads {FORMAT}")
    tensors = {}
    for name, fingerprint in files.items():
        if name != Path(name).name:
            raise CheckpointError(f"{folder / 'state.json'} names {name!r}, which is not a file of this folder")
        file = folder / name
        if not file.is_file() or _fingerprint(file) != fingerprint:
            raise CheckpointError(
                f"{file} is missing, cut short or altered (its size or hash differs from state.json): use another "
                "checkpoint"
            )
        try:
            tensors[file.stem] = load_file(file)
        except SafetensorError as error:
            raise CheckpointError(f"{file} is not a safetensors file ({error})") from None
    return Checkpoint(folder, state, tensors, before)


def _fingerprint(file: Path) -> dict[str, Any]:
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
    return {"bytes": file.stat().st_size, "sha256": digest.hexdigest()}
