"""Checkpoint folders: round trips, damage, and pickles that must not run."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from textrlhf.agents.training.optimizer import FlatAdam
from textrlhf.records.checkpoint import CheckpointError, load_checkpoint, save_checkpoint

STATE = {"agent": "ppo", "steps": 7, "nested": {"none": None, "floats": [0.1, 1e-300], "big": 2**120}}


def tensors() -> dict[str, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return {
        "model": {
            "float32": torch.randn(3, 4, generator=generator),
            "float64": torch.randn(5, generator=generator, dtype=torch.float64),
            "int64": torch.randint(-(2**40), 2**40, (2, 3), generator=generator),
            "scalar": torch.tensor(3.0, dtype=torch.float64),
            "transposed": torch.randn(4, 3, generator=generator).T,
            "odd values": torch.tensor([0.0, -0.0, torch.inf, -torch.inf, torch.nan, 1e-45]),
        },
        "optimizer": {},
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "runs" / "checkpoint"
    save_checkpoint(path, STATE, tensors())
    return path


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().numpy().tobytes()


def test_round_trip_is_bit_identical(folder: Path) -> None:
    loaded = load_checkpoint(folder)
    assert loaded.path == folder
    assert loaded.state == STATE
    assert loaded.tensors.keys() == tensors().keys()
    for name, group in tensors().items():
        assert loaded.tensors[name].keys() == group.keys()
        for key, tensor in group.items():
            found = loaded.tensors[name][key]
            assert (found.dtype, found.shape, bits(found)) == (tensor.dtype, tensor.shape, bits(tensor)), key


def test_views_of_one_tensor_are_saved_separately(tmp_path: Path) -> None:
    """Parameters are views of one tensor: neither refused as shared, nor each written with all of it."""
    network = nn.Sequential(nn.Linear(50, 40), nn.Tanh(), nn.Linear(40, 3))
    optimizer = FlatAdam(network)
    optimizer.add(network(torch.ones(2, 50)).square().sum())
    optimizer.step(1e-3, 0.5)
    storages = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    assert len(storages) == 1  # the case this test is about
    save_checkpoint(tmp_path / "c", {}, {"model": network.state_dict(), "optimizer": optimizer.tensors()})
    loaded = load_checkpoint(tmp_path / "c").tensors
    for key, tensor in network.state_dict().items():
        assert torch.equal(loaded["model"][key], tensor)
    for key, tensor in optimizer.tensors().items():
        assert torch.equal(loaded["optimizer"][key], tensor)
    payload = 4 * sum(parameter.numel() for parameter in network.parameters())
    assert payload < (tmp_path / "c" / "model.safetensors").stat().st_size < payload + 1000


def test_invalid_json_leaves_the_old_checkpoint(folder: Path) -> None:
    for bad in (float("nan"), {1, 2}):
        with pytest.raises((ValueError, TypeError)):
            save_checkpoint(folder, {"steps": bad}, {})
    assert load_checkpoint(folder).state == STATE


def cut_short(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def alter_a_byte(folder: Path) -> None:
    file = folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    state = json.loads((folder / "state.json").read_text())
    change(state)
    (folder / "state.json").write_text(json.dumps(state))


def fingerprint(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def smuggle(folder: Path, name: str, content: bytes) -> None:
    """Put a file there and let state.json vouch for it."""
    (folder / name).write_bytes(content)
    edit(folder, lambda state: state["files"].__setitem__(name, fingerprint(content)))


def point_outside(folder: Path, name: str) -> None:
    target = folder / name
    if not target.exists():
        target.write_bytes((folder / "model.safetensors").read_bytes())
    edit(folder, lambda state: state["files"].__setitem__(name, fingerprint(target.read_bytes())))


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "cut short": (cut_short, "model.safetensors is missing, cut short or altered"),
    "one altered byte": (alter_a_byte, "model.safetensors is missing, cut short or altered"),
    "a missing file": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing"),
    "no state.json": (lambda f: (f / "state.json").unlink(), "has no state.json"),
    "empty state.json": (lambda f: (f / "state.json").write_text(""), "state.json is damaged"),
    "state.json not JSON": (lambda f: (f / "state.json").write_text("{'a': 1}"), "state.json is damaged"),
    "state.json not text": (lambda f: (f / "state.json").write_bytes(b"\xff\xfe\x00"), "state.json is damaged"),
    "state.json a list": (lambda f: (f / "state.json").write_text("[1]"), "state.json is damaged"),
    "state.json too deep": (lambda f: (f / "state.json").write_text("[" * 100_000), "state.json is damaged"),
    "no list of files": (lambda f: edit(f, lambda state: state.pop("files")), "state.json is damaged"),
    "another format": (lambda f: edit(f, lambda state: state.update(format=99)), "has format 99"),
    "../x": (lambda f: point_outside(f, "../x"), r"state\.json names '\.\./x'"),
    "an absolute path": (
        lambda f: point_outside(f, str(f.parent / "y.safetensors")),
        r"state\.json names '.*y\.safetensors'",
    ),
    "a detour to its own file": (
        lambda f: point_outside(f, "../checkpoint/model.safetensors"),
        r"state\.json names '\.\./checkpoint/model\.safetensors'",
    ),
    "the folder itself": (lambda f: edit(f, lambda s: s["files"].update({"..": {}})), "is missing|names"),
    "an empty file": (lambda f: smuggle(f, "model.safetensors", b""), "model.safetensors is not a safetensors file"),
    "text": (lambda f: smuggle(f, "extra.safetensors", b"hello" * 99), "extra.safetensors is not a safetensors file"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_reported(name: str, folder: Path) -> None:
    damage, message = DAMAGES[name]
    load_checkpoint(folder)  # whole until now
    damage(folder)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(folder)
    assert str(folder) in str(caught.value)


def test_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*nowhere: expected a folder written by agent.save"):
        load_checkpoint(tmp_path / "nowhere")


class Payload:
    """What a pickle can do: call anything."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("how", ["pickle", "torch.save"])
def test_disguised_pickle_is_not_run(how: str, folder: Path, tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    disguised = tmp_path / "payload"
    if how == "pickle":
        disguised.write_bytes(pickle.dumps({"weight": Payload(marker)}))
    else:
        torch.save({"weight": Payload(marker)}, disguised)
    smuggle(folder, "model.safetensors", disguised.read_bytes())
    with pytest.raises(CheckpointError, match="model.safetensors is not a safetensors file"):
        load_checkpoint(folder)
    assert not marker.exists()
    torch.load(disguised, weights_only=False) if how == "torch.save" else pickle.loads(disguised.read_bytes())
    assert marker.exists()  # the payload was live


def test_checkpoint_set_aside_by_a_killed_writer_is_found(folder: Path) -> None:
    folder.rename(folder.with_name(f".{folder.name}.previous"))
    assert load_checkpoint(folder).state == STATE
