"""What became of the rows of a data set: none is left out silently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Refusal:
    """Rows that were refused for the same reason."""

    count: int
    first: str  # place


@dataclass
class ReadReport:
    """How many rows were read, and what they were: read = kept + tied + context + refused."""

    read: int = 0
    kept: int = 0
    tied: int = 0  # rows whose judgements are all ties
    context: int = 0  # rows that are only part of prompts
    schemas: Counter[str] = field(default_factory=Counter)  # rows by the schema they were recognised as
    refused: dict[str, Refusal] = field(default_factory=dict)  # by reason
    left_out: dict[str, Refusal] = field(default_factory=dict)  # answers and annotations of rows that were kept

    def refuse(self, reason: str, place: str) -> None:
        """Count a row that was refused."""
        self.refused.setdefault(reason, Refusal(0, place)).count += 1

    def leave_out(self, reason: str, place: str) -> None:
        """Count a part of a row that was left out."""
        self.left_out.setdefault(reason, Refusal(0, place)).count += 1

    @property
    def refusals(self) -> int:
        """How many rows were refused."""
        return sum(one.count for one in self.refused.values())

    def lines(self) -> list[str]:
        """The report in words: one line for what was recognised and kept, one for each reason of refusal."""
        kinds = ", ".join(f"{name} ({count:,})" for name, count in self.schemas.most_common())
        parts = {"kept": self.kept, "tied": self.tied, "part of prompts": self.context, "refused": self.refusals}
        counts = ", ".join(f"{count:,} {name}" for name, count in parts.items() if count)
        found = [f"recognised as {kinds}", f"{self.read:,} rows read: {counts or 'none kept'}"]
        found += [f"{one.count:,} refused: {reason}, first {one.first}" for reason, one in self.refused.items()]
        parts_out = self.left_out.items()
        return found + [f"{one.count:,} left out of rows: {reason}, first {one.first}" for reason, one in parts_out]

    def as_json(self) -> dict[str, Any]:
        """The report as plain JSON."""
        counts = {name: getattr(self, name) for name in ("read", "kept", "tied", "context")}
        parts = {"reasons": _as_json(self.refused), "left_out": _as_json(self.left_out), "schemas": dict(self.schemas)}
        return {**counts, "refused": self.refusals, **parts}


def _as_json(reasons: Mapping[str, Refusal]) -> dict[str, Any]:
    return {reason: {"count": one.count, "first": one.first} for reason, one in reasons.items()}
