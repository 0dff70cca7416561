"""Demonstrations: episodes of somebody worth imitating, what was observed and what was done, as plain arrays.

A file of them (`save`, `load`) is NumPy's .npz without pickled objects, every episode end to end:

    format          1
    lengths         (E,) steps of each episode
    observations.k  (Σ steps, …) one array a leaf of the observation space, in its own order
    actions         (Σ steps, …) as the environment takes them
    masks           (Σ steps, bytes) which actions were allowed, packed; left out where none were told
    rewards         (E,) the return of each episode, NaN where unknown
    heldout         (E,) True where an episode must not be learned from; left out where nobody has said

Of texts, which grow by a token or more a step, `tokens` (Σ lengths of the texts), `text_lengths` (E,) and `prefixes`
(Σ steps, how many tokens each step saw) stand in place of the observations.
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
from ..environment.spaces import Array, Leaves

Ints = NDArray[np.int64]
FORMAT = 1


@dataclass(frozen=True, eq=False)
class Prefixes:
    """A text as it grew: each step saw the first `lengths[t]` of its tokens."""

    tokens: Ints  # (L,)
    lengths: Ints  # (T,)

    def rows(self, width: int) -> Ints:
        """What each step observed, (T, width) right-padded with −1."""
        whole = np.full(width, -1, np.int64)
        whole[: len(self.tokens)] = self.tokens
        return np.where(np.arange(width) < self.lengths[:, None], whole, -1)

    @classmethod
    def of(cls, rows: Array) -> Prefixes:
        """Take `rows` back, of which each is the beginning of the next."""
        return cls(rows[-1][rows[-1] >= 0].astype(np.int64), (rows >= 0).sum(1))


@dataclass(frozen=True, eq=False)
class Episode:
    """What was observed before each of T actions, and the actions, as the environment gives and takes them."""

    seen: Leaves | Prefixes  # each leaf (T, *its shape)
    actions: Array  # (T, …)
    masks: NDArray[np.uint8] | None = None  # (T, bytes) `agents.masks.pack` of which actions were allowed
    reward: float = np.nan  # the return, where it is known

    def __len__(self) -> int:
        return len(self.actions)

    def named(self) -> list[tuple[str, Array]]:
        """Everything that has one entry a step."""
        leaves = (self.seen.lengths,) if isinstance(self.seen, Prefixes) else self.seen
        masks = [] if self.masks is None else [("masks", self.masks)]
        return [*(("observations", leaf) for leaf in leaves), ("actions", self.actions), *masks]


@dataclass(frozen=True, eq=False)
class Demonstrations:
    """Episodes to learn from; `source` is what errors call them."""

    episodes: Sequence[Episode]
    heldout: NDArray[np.bool_] | None = None  # (E,) which must not be learned from, where somebody has said
    source: str = "demonstrations"

    def __post_init__(self) -> None:
        if not len(self.episodes):
            raise DataError(f"{self.source} holds no episodes: expected at least one")
        if self.heldout is not None and len(self.heldout) != len(self):
            raise DataError(f"{self.source} holds {len(self)} episodes and says of {len(self.heldout)} who learns them")
        for i, episode in enumerate(self.episodes):
            problem = _problem(episode)
            if problem is None and _form(episode) != (first := _form(self.episodes[0])):
                problem = f"it is {_form(episode)}, but episode 0 is {first}: all must be alike"
            if problem:
                raise DataError(f"{self.source}, episode {i}: {problem}")

    def __len__(self) -> int:
        return len(self.episodes)

    def __repr__(self) -> str:
        known = [episode.reward for episode in self.episodes if np.isfinite(episode.reward)]
        worth = f", mean return {np.mean(known):.1f}" if known else ""
        return f"<{self.source}: {len(self):,} episodes, {self.n_steps:,} steps{worth}>"

    @property
    def n_steps(self) -> int:
        """Steps of all episodes."""
        return sum(map(len, self.episodes))

    @classmethod
    def from_texts(cls, rows: Rows, lm: CausalLM, context: int | None = None) -> Demonstrations:
        """Read prompts and responses, a JSONL file or a list (see `textrlhf.language.sft_examples`), as tokens of
        `lm`.
        """
        examples = read_sft_examples(rows, lm, context)
        heldout = np.array([example.split == "heldout" for example in examples])
        return cls(
            [
                Episode(
                    Prefixes(example.tokens[: example.learned[-1]], example.learned), example.tokens[example.learned]
                )
                for example in examples
            ],
            heldout if any(example.split for example in examples) else None,
            str(rows) if isinstance(rows, str | os.PathLike) else "demonstrations",
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write them to a .npz, whole or not at all."""
        if Path(path).suffix != ".npz":
            raise ValueError(f"path is {str(path)!r}: expected a name that ends in .npz")
        stream = io.BytesIO()
        np.savez_compressed(stream, **dict(self._columns()))  # type: ignore[arg-type]
        write_file(path, stream.getvalue())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Demonstrations:
        """Read what `save` wrote; DataError names the file and what is wrong with it."""
        if not Path(path).is_file():
            raise DataError(
                f"demonstrations is {str(path)!r}, where there is no file: expected a .npz that Demonstrations.save "
                "wrote, or for a environment of texts a .jsonl"
            )
        try:
            file = np.load(io.BytesIO(Path(path).read_bytes()), allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("it is one array, without names")
            columns = {name: file[name] for name in file.files}
        except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(
                f"{path} cannot be read ({str(error).splitlines()[0]}): expected a .npz that Demonstrations.save wrote"
            ) from None
        try:
            heldout = columns["heldout"].astype(bool) if "heldout" in columns else None
            return cls(_episodes(columns), heldout, str(path))
        except KeyError as error:
            raise DataError(
                f"{path} has no {error}, only {', '.join(columns) or 'nothing'}: expected what Demonstrations.save "
                "writes (its arrays are listed in textrlhf.agents.demonstrations.demonstrations)"
            ) from None
        except _MisfitError as error:
            raise DataError(f"{path}: {error}") from None

    def fingerprint(self) -> str:
        """A hash of all there is to learn, by which a run knows its demonstrations again."""
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
        texts = [episode.seen for episode in every if isinstance(episode.seen, Prefixes)]
        if texts:
            yield "tokens", np.concatenate([text.tokens for text in texts])
            yield "text_lengths", np.array([len(text.tokens) for text in texts])
            yield "prefixes", np.concatenate([text.lengths for text in texts])
        else:
            leaves = [episode.seen for episode in every if not isinstance(episode.seen, Prefixes)]
            for k, column in enumerate(zip(*leaves, strict=True)):
                yield f"observations.{k}", np.concatenate(column)
        yield "actions", np.concatenate([episode.actions for episode in every])
        masks = [episode.masks for episode in every if episode.masks is not None]
        if masks:
            yield "masks", np.concatenate(masks)
        yield "rewards", np.array([episode.reward for episode in every], np.float64)
        if self.heldout is not None:
            yield "heldout", self.heldout


class _MisfitError(ValueError):
    """Arrays of a file that do not belong together."""


def _episodes(columns: Mapping[str, Array]) -> list[Episode]:
    if columns["format"].size != 1 or columns["format"].item() != FORMAT:
        raise _MisfitError(f"it has format {columns['format']}, this version of textrlhf reads {FORMAT}")
    lengths = columns["lengths"]
    actions = _cut("actions", columns["actions"], lengths)
    seen: Sequence[Prefixes | Leaves]
    if "tokens" in columns:
        tokens = _cut("tokens", columns["tokens"], columns["text_lengths"])
        prefixes = _cut("prefixes", columns["prefixes"], lengths)
        if len(tokens) != len(prefixes):
            raise _MisfitError(f"it has {len(prefixes)} episodes and {len(tokens)} texts")
        seen = [Prefixes(*pair) for pair in zip(tokens, prefixes, strict=True)]
    else:
        names = sorted((name for name in columns if name.startswith("observations.")), key=lambda n: (len(n), n))
        if not names:
            raise KeyError("observations.0")
        seen = list(zip(*(_cut(name, columns[name], lengths) for name in names), strict=True))
    masks: list[Any] = [None] * len(lengths)
    if "masks" in columns:
        masks = _cut("masks", columns["masks"], lengths)
    rewards = columns.get("rewards", np.full(len(lengths), np.nan))
    if len(rewards) != len(lengths):
        raise _MisfitError(f"it has {len(lengths)} episodes and {len(rewards)} rewards")
    return [
        Episode(what, action, mask, float(reward))
        for what, action, mask, reward in zip(seen, actions, masks, rewards, strict=True)
    ]


def _cut(name: str, column: Array, lengths: Array) -> list[Array]:
    if not (lengths.ndim == 1 and np.issubdtype(lengths.dtype, np.integer) and (lengths >= 0).all()):
        raise _MisfitError("its lengths are not whole numbers of at least 0, one an episode")
    if column.ndim < 1 or len(column) != lengths.sum():
        rows = len(column) if column.ndim else "no"
        raise _MisfitError(f"{name} has {rows} entries, but the lengths add up to {lengths.sum()}")
    return np.split(column, np.cumsum(lengths)[:-1]) if len(lengths) else []


def _form(episode: Episode) -> str:
    if isinstance(episode.seen, Prefixes):
        seen = "a text"
    else:
        seen = "observations of shape " + " and ".join(str(leaf.shape[1:]) for leaf in episode.seen)
    return (
        f"{seen} with actions of shape {episode.actions.shape[1:]}, {'no' if episode.masks is None else 'with'} masks"
    )


def _problem(episode: Episode) -> str | None:
    """What is wrong with an episode, whatever it is an episode of."""
    for what, array in episode.named():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf" or not array.ndim:
            return f"its {what} are {shortened(array)}: expected an array of numbers, one entry a step"
        if len(array) != len(episode):
            return f"it has {len(array)} {what} and {len(episode)} actions: expected one of each a step"
    if not len(episode):
        return "it has no steps: drop it"
    for what, array in episode.named():
        broken = ~np.isfinite(array.reshape(len(array), -1)).all(1)
        if broken.any():
            return f"its {what} at step {int(np.flatnonzero(broken)[0])} are not finite numbers"
    if isinstance(episode.seen, Prefixes):
        lengths, tokens = episode.seen.lengths, episode.seen.tokens
        if tokens.dtype.kind not in "iu" or tokens.ndim != 1 or (tokens < 0).any():
            return "its tokens are not whole numbers of at least 0"
        if (
            lengths.dtype.kind not in "iu"
            or lengths[0] < 1
            or lengths[-1] > len(tokens)
            or (np.diff(lengths) < 0).any()
        ):
            return f"its prefixes {shortened(lengths.tolist())} do not grow from 1 or more to at most {len(tokens)}"
    return None
