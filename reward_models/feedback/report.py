"""What became of the rows of a data set: none is left out silently."""

from __future__ import annotations

from collections import Counter
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

    def refuse(self, reason: str, place: str) -> None:
        """Count a row that was refused."""
        self.refused.setdefault(reason, Refusal(0, place)).count += 1

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
        return found + [f"{one.count:,} refused: {reason}, first {one.first}" for reason, one in self.refused.items()]

    def as_json(self) -> dict[str, Any]:
        """The report as plain JSON."""
        refused = {reason: {"rows": one.count, "first": one.first} for reason, one in self.refused.items()}
        counts = {name: getattr(self, name) for name in ("read", "kept", "tied", "context")}
        return {**counts, "refused": self.refusals, "reasons": refused, "schemas": dict(self.schemas)}
