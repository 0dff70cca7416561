"""How people's judgements come in: what they are, reading and writing them, and somebody who stands in for a person."""

from __future__ import annotations

from ...records.jsonl import DataError
from .annotator import SimulatedAnnotator
from .formats import counts, read_judgements, write_judgements
from .judgements import Judgement, Labelled, Ranked, Rated

__all__ = [
    "DataError",
    "Judgement",
    "Labelled",
    "Ranked",
    "Rated",
    "SimulatedAnnotator",
    "counts",
    "read_judgements",
    "write_judgements",
]
