"""Human judgements: their types, reading and writing them, and a simulated annotator."""

from __future__ import annotations

from ...records.jsonl import DataError as DataError
from .annotator import SimulatedAnnotator as SimulatedAnnotator
from .formats import ImportedJudgements as ImportedJudgements
from .formats import import_judgements as import_judgements
from .formats import read_judgements as read_judgements
from .judgements import Judgement as Judgement
from .judgements import Labelled as Labelled
from .judgements import Ranked as Ranked
from .judgements import Rated as Rated
from .judgements import Tied as Tied
from .judgements import UnusableError as UnusableError
from .report import ReadReport as ReadReport
from .writing import described as described
from .writing import write_judgements as write_judgements
