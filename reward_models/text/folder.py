"""A reward model's folder.

A head that reads at the last token is saved as Hugging Face saves a sequence classifier, so it loads there too; one
that sums over tokens as a trunk with `head.safetensors` beside it. Under "textrlhf" `config.json` has what scores mean.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ...language.causal_lm import no_progress_bars, pick_device
from ...records.folder import check_replaceable, recovered, whole_folder
from .heads import TokenValues
from .network import RewardNetwork, state_width
from .reward_model import RewardModel, RewardModelConfig, forget

if TYPE_CHECKING:
    from ..ensemble import Ensemble

ASSETS = Path(__file__).parent.parent / "assets"
KEY = "textrlhf"  # in config.json
IN_A_RUN = "reward_model"  # the folder of a run in which its reward model lies


class RewardModelFolderError(ValueError):
    """A folder that holds no reward model that could serve, and what to do about it."""


def shipped_reward_models() -> list[str]:
    """The names of the reward models that come with the package."""
    return sorted(folder.name for folder in ASSETS.iterdir() if folder.is_dir()) if ASSETS.is_dir() else []


def find_reward_model(name: str | os.PathLike[str]) -> str:
    """Where a reward model lies: its folder as an absolute path, or a hub id as it is."""
    given = os.fspath(name)
    if given in shipped_reward_models():
        return str(ASSETS / given)
    place = Path(os.path.abspath(os.path.expanduser(given)))
    if (place / "checkpoints").is_dir() and not (place / IN_A_RUN).is_dir():
        raise RewardModelFolderError(
            f"the run {given} has no reward model yet: `textrlhf reward resume {given}` finishes it"
        )
    for folder in (place / IN_A_RUN, place):
        if any((recovered(folder) / file).is_file() for file in ("config.json", "ensemble.json")):
            return str(folder)
    known = f"one of the shipped reward models {shipped_reward_models()}"
    elsewhere = given.count("/") == 1 and not given.startswith((".", "~")) and not os.path.isabs(given)
    if place.exists() or not elsewhere or os.path.isdir(os.path.dirname(given)):
        raise RewardModelFolderError(
            f"no reward model at {given}: expected a folder that RewardModel.save() or `textrlhf reward train` "
            "wrote, a "
            f'sequence classifier\'s folder or hub id ("owner/name"), or {known}'
        )
    return given


def load_any(place: str, device: str, reading: dict[str, Any]) -> RewardModel | Ensemble:
    """Load whatever reward model lies at a place that `find_reward_model` found."""
    from ..ensemble import Ensemble

    if (Path(place) / "ensemble.json").is_file():
        return Ensemble.load(place, load_member=lambda folder: read_reward_model(folder, device, {}))
    return read_reward_model(place, device, reading)


def save_reward_model(reward_model: RewardModel, path: str | os.PathLike[str]) -> RewardModel:
    """Write a reward model's folder, whole or not at all; return the reward model that is named by it."""
    check_replaceable(path, "config.json")
    _check_a_judges(Path(path) / "config.json")
    network = reward_model.network
    network.model.config.__dict__[KEY] = {"format": 1, **dataclasses.asdict(reward_model.config)}
    with whole_folder(path) as folder, no_progress_bars():
        network.model.save_pretrained(folder)
        reward_model.tokenizer.save_pretrained(folder)
        if network.values is not None:
            save_file(
                {name: value.detach().contiguous() for name, value in network.values.state_dict().items()},
                folder / "head.safetensors",
            )
        for file in folder.iterdir():
            file.chmod(0o644)  # weights are written for their owner only
    name = os.path.abspath(path)
    forget(name)
    return RewardModel(network, reward_model.tokenizer, reward_model.config, name)


def _check_a_judges(file: Path) -> None:
    """Refuse to write a reward model over a language model, say."""
    try:
        known = not file.is_file() or KEY in json.loads(file.read_text())
    except (ValueError, TypeError):
        known = False
    if not known:
        raise FileExistsError(
            f"{file.parent} holds something else than a reward model that was saved here: name a new folder"
        )


def read_reward_model(name: str | os.PathLike[str], device: str, reading: dict[str, Any]) -> RewardModel:
    """Load a reward model of ours, or a sequence classifier from elsewhere."""
    from transformers import AutoConfig, AutoTokenizer

    place = find_reward_model(name)
    try:
        config = AutoConfig.from_pretrained(place)
        told = getattr(config, KEY, None)
        reward_model_config = _reward_model_config(place, told, reading)
        network = (
            _tokens_network(place)
            if reward_model_config.head == "tokens"
            else _classifier_network(place, reward_model_config)
        )
        tokenizer = AutoTokenizer.from_pretrained(place)
    except RewardModelFolderError:
        raise
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        first = str(error).strip().split("\n")[0]
        why = "its folder gave" if os.path.isdir(place) else "it is no folder here, and as a hub id it gave"
        raise RewardModelFolderError(
            f"the reward model {os.fspath(name)!r} cannot be loaded: {why}: {first}"
        ) from error
    if told is None:
        reward_model_config = _as_usual(reward_model_config, network, tokenizer, reading)
    network.float().requires_grad_(False).to(pick_device(device))
    reward_model = RewardModel(network, tokenizer, reward_model_config, place)
    reward_model.reading = reading
    return reward_model


def _reward_model_config(place: str, told: Any, reading: dict[str, Any]) -> RewardModelConfig:
    known = {field.name for field in dataclasses.fields(RewardModelConfig)}
    if unknown := set(reading) - {"reads", "end", "label"}:
        raise TypeError(f"unknown argument {min(unknown)!r}: a reward model's loading takes reads, end and label")
    if told is None:
        return RewardModelConfig(**reading)
    try:
        stored = dict(told)
        if stored.pop("format") != 1 or set(stored) - known:
            raise ValueError("of another format")
        return dataclasses.replace(RewardModelConfig(**stored), **reading)
    except (TypeError, ValueError, KeyError) as error:
        raise RewardModelFolderError(
            f'{place}/config.json has {told!r} under "{KEY}" ({error}): expected what this version of textrlhf writes; '
            "train the reward model again, or fetch it again"
        ) from error


def _tokens_network(place: str) -> RewardNetwork:
    from transformers import AutoModel

    with no_progress_bars():
        loaded: Any = AutoModel.from_pretrained(
            place, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
        )
    trunk, info = loaded
    _refuse_missing(place, info)
    file = Path(place) / "head.safetensors"
    if not file.is_file():
        raise RewardModelFolderError(f"{file} is missing: the folder's config says that its head sums over tokens")
    state = load_file(file)
    values = TokenValues(trunk.get_input_embeddings().weight.shape[0], state_width(trunk))
    wanted = {name: tuple(value.shape) for name, value in values.state_dict().items()}
    seen = {name: tuple(value.shape) for name, value in state.items()}
    if seen != wanted:
        raise RewardModelFolderError(
            f"{file} has a head of the shapes {seen}: expected {wanted}, as the trunk beside it"
        )
    values.load_state_dict(state)
    return RewardNetwork(trunk, values)


def _classifier_network(place: str, config: RewardModelConfig) -> RewardNetwork:
    from transformers import AutoModelForSequenceClassification

    with no_progress_bars():
        loaded: Any = AutoModelForSequenceClassification.from_pretrained(
            place, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
        )
    model, info = loaded
    _refuse_missing(place, info)
    labels = model.config.num_labels
    if labels > 2 and config.label is None:
        names = ", ".join(f"{i} {name}" for i, name in model.config.id2label.items())
        raise RewardModelFolderError(
            f"{place} is a classifier of {labels} labels ({names}): say whose log-odds are the score, "
            "RewardModel.load(…, label=…)"
        )
    if config.label is not None and not 0 <= config.label < labels:
        raise RewardModelFolderError(f"label is {config.label}: {place} has the labels 0 to {labels - 1}")
    return RewardNetwork(model, None, config.label)


def _as_usual(
    config: RewardModelConfig, network: RewardNetwork, tokenizer: Any, reading: dict[str, Any]
) -> RewardModelConfig:
    """How a classifier from elsewhere reads, where nothing is said: as its tokenizer writes texts."""
    if not network.causal and "reads" not in reading:
        config = dataclasses.replace(config, reads="pair")
    ids, end = tokenizer("a")["input_ids"], tokenizer.eos_token_id
    ends = len(ids) > 1 and ids[-1] == end
    if network.causal and network.model.config.get_text_config().pad_token_id == end:
        ends = False  # where it pads with the same token, a classifier reads before it
    return config if "end" in reading else dataclasses.replace(config, end=ends)


def _refuse_missing(place: str, info: dict[str, Any]) -> None:
    if missing := sorted(info["missing_keys"]):
        raise RewardModelFolderError(
            f"{place} is no reward model: it has no weights for {missing[:3]}, which would be random; if it is a "
            "language "
            "model, train a reward model on it (`textrlhf reward train`, or RewardModel.new() and train())"
        )
    if wrong := sorted(info["mismatched_keys"]):
        key, seen, wanted = wrong[0]
        raise RewardModelFolderError(
            f"{place} has {key} of the shape {tuple(seen)}: expected {tuple(wanted)}, as its config.json says; fetch "
            "it again, or save the reward model again"
        )
