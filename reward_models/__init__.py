"""Judges: what a text is worth. Nothing here knows of a world."""

from __future__ import annotations

from .judge import Composite, Judge, JudgeError, judged

__all__ = ["Composite", "Judge", "JudgeError", "judged"]
