"""Human judgements: their types, reading and writing them, and a simulated annotator."""

from __future__ import annotations

from ...records.jsonl import DataError
from .annotator import SimulatedAnnotator
from .formats import described, read_judgements, write_judgements
from .judgements import Judgement, Labelled, Ranked, Rated

__all__ = [
    "DataError",
    "Judgement",
    "Labelled",
    "Ranked",
    "Rated",
    "SimulatedAnnotator",
    "described",
    "read_judgements",
    "write_judgements",
]
