"""The files of Hutto and Gilbert (2014): …_GroundTruth.txt has texts, …_anonDataRatings.txt everybody's ratings.

id <tab> mean <tab> text
id <tab> mean <tab> standard deviation <tab> [rating, rating, …]
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from ...records.jsonl import DataError, shortened

TEXTS, RATINGS = "_GroundTruth.txt", "_anonDataRatings.txt"
SCALE = [-4, 4]


def is_vader(source: str | os.PathLike[str]) -> bool:
    """Whether a file is named like one of the two."""
    return str(source).endswith((TEXTS, RATINGS))


def files_of(source: str) -> list[str]:
    """Both files, of which one is named; of any other source itself."""
    if not is_vader(source):
        return [source]
    stem = source.removesuffix(TEXTS).removesuffix(RATINGS)
    return [stem + TEXTS, stem + RATINGS]


def read_vader(source: str | os.PathLike[str]) -> list[tuple[str, object]]:
    """The rows of both files, of which one is named, with their places in that of the texts."""
    of_texts, of_ratings = (Path(file) for file in files_of(str(source)))
    texts, ratings = _lines(of_texts, 3), _lines(of_ratings, 4)
    known = {cells[0]: (place, cells) for place, cells in ratings}
    rows: list[tuple[str, object]] = []
    for place, (name, _, text) in texts:
        if name not in known:
            raise DataError(f"{place}: {of_ratings} has no ratings of {name!r}: the files do not belong together")
        where, (*_, listed) = known[name]
        rows.append((place, {"text": text.strip(), "ratings": _ratings(where, listed), "scale": SCALE}))
    return rows


def _lines(path: Path, columns: int) -> list[tuple[str, list[str]]]:
    if not path.is_file():
        raise DataError(
            f"there is no file {path}: the texts ({TEXTS}) and their ratings ({RATINGS}) have to lie together"
        )
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252")  # as some of the published files are
    found = []
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        cells = line.split("\t", columns - 1)
        if line.strip():
            if len(cells) != columns:
                raise DataError(f"{path}, line {number}: {len(cells)} cells apart by tabs: expected {columns}")
            found.append((f"{path}, line {number}", cells))
    return found


def _ratings(place: str, listed: str) -> list[float]:
    try:
        values = json.loads(listed.strip())
    except ValueError:
        values = None
    if not isinstance(values, list) or not values:
        raise DataError(f"{place}: the ratings are {shortened(listed)}: expected a list of numbers")
    return values
