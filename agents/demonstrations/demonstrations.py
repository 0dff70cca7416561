"""Demonstrations: observations and actions of an expert's episodes, as plain arrays.

A file of them (`save`, `load`) is a NumPy .npz without pickled objects, with all episodes concatenated:

    format          1
    lengths         (E,) steps of each episode
    observations.k  (Σ steps, …) one array per leaf of the observation space, in its order
    actions         (Σ steps, …) as the environment takes them
    masks           (Σ steps, bytes) packed action masks; optional
    rewards         (E,) the return of each episode, NaN if unknown
    heldout         (E,) True for episodes that are not trained on; optional

Texts, which grow by one or more tokens per step, are stored as `tokens` (Σ lengths of the texts), `text_lengths` (E,)
and `prefixes` (Σ steps, the number of tokens that each step observed) instead of observations.
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...language import CausalLM
from ...language.sft_examples import Rows, read_sft_examples
from ...records.folder import write_file
from ...records.jsonl import DataError, shortened
from ..environment.spaces import Array, Flags, Ints, Leaves

FORMAT = 1


@dataclass(frozen=True, eq=False)
class Prefixes:
    """The observations of a growing text: step t observed the first `lengths[t]` tokens."""

    tokens: Ints  # (L,)
    lengths: Ints  # (T,)

    def rows(self, width: int) -> Ints:
        """The observation of each step, (T, width) right-padded with −1."""
        whole = np.full(width, -1, np.int64)
        whole[: len(self.tokens)] = self.tokens
        return np.where(np.arange(width) < self.lengths[:, None], whole, -1)

    @classmethod
    def of(cls, rows: Array) -> Prefixes:
        """The inverse of `rows`; each row must be a prefix of the next."""
        return cls(rows[-1][rows[-1] >= 0].astype(np.int64), (rows >= 0).sum(1))


@dataclass(frozen=True, eq=False)
class Episode:
    """T observations and the action taken after each, as in the environment's spaces."""

    observations: Leaves | Prefixes  # each leaf (T, *leaf shape)
    actions: Array  # (T, …)
    masks: NDArray[np.uint8] | None = None  # (T, bytes) action masks, packed by `agents.environment.masks.pack`
    reward: float = np.nan  # the return, if known

    def __post_init__(self) -> None:
        if not isinstance(self.observations, tuple | list | Prefixes):
            raise DataError(
                f"observations is {shortened(self.observations)}: expected a tuple with one array per leaf of the "
                "observation space, Episode((observations,), actions)"
            )

    def __len__(self) -> int:
        return len(self.actions)

    def named(self) -> list[tuple[str, Array]]:
        """The arrays with one entry per step, by name."""
        observations = self.observations
        leaves = (observations.lengths,) if isinstance(observations, Prefixes) else observations
        masks = [] if self.masks is None else [("masks", self.masks)]
        return [*(("observations", leaf) for leaf in leaves), ("actions", self.actions), *masks]


@dataclass(frozen=True, eq=False)
class Demonstrations:
    """Episodes to imitate; `source` names them in errors."""

    episodes: Sequence[Episode]
    heldout: Flags | None = None  # (E,) episodes that are not trained on; None leaves the choice to the agent
    source: str = "demonstrations"

    def __post_init__(self) -> None:
        if not len(self.episodes):
            raise DataError(f"{self.source} has no episodes: expected at least one")
        if self.heldout is not None and len(self.heldout) != len(self):
            raise DataError(f"{self.source}: heldout has {len(self.heldout)} entries for {len(self)} episodes")
        for i, episode in enumerate(self.episodes):
            problem = _problem(episode)
            if problem is None and _form(episode) != (first := _form(self.episodes[0])):
                problem = f"it has {_form(episode)}, but episode 0 has {first}: expected the same of all episodes"
            if problem:
                raise DataError(f"{self.source}, episode {i}: {problem}")

    def __len__(self) -> int:
        return len(self.episodes)

    def __repr__(self) -> str:
        known = [episode.reward for episode in self.episodes if np.isfinite(episode.reward)]
        mean_return = f", mean return {np.mean(known):.1f}" if known else ""
        return f"<{self.source}: {len(self):,} episodes, {self.n_steps:,} steps{mean_return}>"

    @property
    def n_steps(self) -> int:
        """Number of steps."""
        return sum(map(len, self.episodes))

    @classmethod
    def from_texts(cls, rows: Rows, lm: CausalLM, context: int | None = None) -> Demonstrations:
        """Tokenize prompts and responses, a data file or a list of rows (see `textrlhf.language.sft_examples`)."""
        examples = read_sft_examples(rows, lm, context)
        heldout = np.array([example.split == "heldout" for example in examples])
        episodes = [Episode(Prefixes(e.tokens[: e.learned[-1]], e.learned), e.tokens[e.learned]) for e in examples]
        source = str(rows) if isinstance(rows, str | os.PathLike) else "demonstrations"
        return cls(episodes, heldout if any(example.split for example in examples) else None, source)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a .npz, atomically."""
        if Path(path).suffix != ".npz":
            raise ValueError(f"path is {str(path)!r}: expected a name ending in .npz")
        stream = io.BytesIO()
        np.savez_compressed(stream, **dict(self._columns()))  # type: ignore[arg-type]
        write_file(path, stream.getvalue())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Demonstrations:
        """Read a .npz written by `save`; DataError if it is damaged or incomplete."""
        if not Path(path).is_file():
            raise DataError(
                f"demonstrations is {str(path)!r}, where there is no file: expected a .npz written by "
                "Demonstrations.save, or a .jsonl for text environments"
            )
        try:
            file = np.load(io.BytesIO(Path(path).read_bytes()), allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("it is a single array")
            columns = {name: file[name] for name in file.files}
        except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(
                f"{path} cannot be read ({str(error).splitlines()[0]}): expected a .npz written by Demonstrations.save"
            ) from None
        try:
            heldout = columns["heldout"].astype(bool) if "heldout" in columns else None
            return cls(_episodes(columns), heldout, str(path))
        except KeyError as error:
            raise DataError(
                f"{path} has no {error}, only {', '.join(columns) or 'nothing'}: expected the arrays listed in "
                "textrlhf.agents.demonstrations.demonstrations"
            ) from None
        except DataError:
            raise
        except ValueError as error:
            raise DataError(f"{path}: {error}") from None

    def fingerprint(self) -> str:
        """A hash of everything but the returns: a resumed run checks that its demonstrations are the same."""
        digest = hashlib.sha256()
        for name, column in self._columns():
            if name != "rewards":
                digest.update(f"{name} {column.dtype.str} {column.shape}".encode())
                digest.update(np.ascontiguousarray(column).tobytes())
        return digest.hexdigest()

    def _columns(self) -> Iterator[tuple[str, Array]]:
        every = self.episodes
        yield "format", np.array(FORMAT)
        yield "lengths", np.array([len(episode) for episode in every])
        texts = [episode.observations for episode in every if isinstance(episode.observations, Prefixes)]
        if texts:
            yield "tokens", np.concatenate([text.tokens for text in texts])
            yield "text_lengths", np.array([len(text.tokens) for text in texts])
            yield "prefixes", np.concatenate([text.lengths for text in texts])
        else:
            leaves = [episode.observations for episode in every]
            for k, column in enumerate(zip(*leaves, strict=True)):
                yield f"observations.{k}", np.concatenate(column)
        yield "actions", np.concatenate([episode.actions for episode in every])
        masks = [episode.masks for episode in every if episode.masks is not None]
        if masks:
            yield "masks", np.concatenate(masks)
        yield "rewards", np.array([episode.reward for episode in every], np.float64)
        if self.heldout is not None:
            yield "heldout", self.heldout


def _episodes(columns: Mapping[str, Array]) -> list[Episode]:
    if columns["format"].size != 1 or columns["format"].item() != FORMAT:
        raise ValueError(f"it has format {columns['format']}, this version of textrlhf reads {FORMAT}")
    lengths = columns["lengths"]
    actions = _cut("actions", columns["actions"], lengths)
    observations: Sequence[Prefixes | Leaves]
    if "tokens" in columns:
        tokens = _cut("tokens", columns["tokens"], columns["text_lengths"])
        prefixes = _cut("prefixes", columns["prefixes"], lengths)
        if len(tokens) != len(prefixes):
            raise ValueError(f"it has {len(prefixes)} episodes and {len(tokens)} texts")
        observations = [Prefixes(*pair) for pair in zip(tokens, prefixes, strict=True)]
    else:
        names = sorted((name for name in columns if name.startswith("observations.")), key=lambda n: (len(n), n))
        if not names:
            raise KeyError("observations.0")
        observations = list(zip(*(_cut(name, columns[name], lengths) for name in names), strict=True))
    masks: list[Any] = [None] * len(lengths)
    if "masks" in columns:
        masks = _cut("masks", columns["masks"], lengths)
    rewards = columns.get("rewards", np.full(len(lengths), np.nan))
    if len(rewards) != len(lengths):
        raise ValueError(f"it has {len(lengths)} episodes and {len(rewards)} rewards")
    rows = zip(observations, actions, masks, map(float, rewards), strict=True)
    return [Episode(*row) for row in rows]


def _cut(name: str, column: Array, lengths: Array) -> list[Array]:
    if not (lengths.ndim == 1 and np.issubdtype(lengths.dtype, np.integer) and (lengths >= 0).all()):
        raise ValueError("its lengths are not integers of at least 0, one per episode")
    if column.ndim < 1 or len(column) != lengths.sum():
        rows = len(column) if column.ndim else "no"
        raise ValueError(f"{name} has {rows} entries, but the sum of lengths is {lengths.sum()}")
    return np.split(column, np.cumsum(lengths)[:-1]) if len(lengths) else []


def _form(episode: Episode) -> str:
    observations = "a text"
    if not isinstance(episode.observations, Prefixes):
        observations = "observations of shape " + " and ".join(str(leaf.shape[1:]) for leaf in episode.observations)
    masks = "no masks" if episode.masks is None else "masks"
    return f"{observations}, actions of shape {episode.actions.shape[1:]} and {masks}"


def _problem(episode: Episode) -> str | None:
    """What is wrong with an episode, in any environment."""
    for what, array in episode.named():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf" or not array.ndim:
            return f"its {what} are {shortened(array)}: expected an array of numbers, one entry per step"
        if len(array) != len(episode):
            return f"it has {len(array)} {what} and {len(episode)} actions: expected one of each per step"
    if not len(episode):
        return "it has no steps: drop it"
    for what, array in episode.named():
        broken = ~np.isfinite(array.reshape(len(array), -1)).all(1)
        if broken.any():
            return f"its {what} at step {int(np.flatnonzero(broken)[0])} are not finite"
    if isinstance(episode.observations, Prefixes):
        lengths, tokens = episode.observations.lengths, episode.observations.tokens
        if tokens.dtype.kind not in "iu" or tokens.ndim != 1 or (tokens < 0).any():
            return "its tokens are not integers of at least 0"
        growing = lengths.dtype.kind in "iu" and (np.diff(lengths) >= 0).all()
        if not (growing and lengths[0] >= 1 and lengths[-1] <= len(tokens)):
            return f"its prefixes {shortened(lengths.tolist())} do not grow from 1 or more to at most {len(tokens)}"
    return None
