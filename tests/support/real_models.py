"""Where the real models and ratings are that `make material` fetches; tests that need them are skipped without."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import textrlhf

ROOT = Path(textrlhf.__file__).parent
MATERIAL = Path(os.environ.get("TEXTRLHF_MATERIAL", ROOT / "runs" / "real" / "material"))
GGUF = MATERIAL / "smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf"
MINILM = MATERIAL / "minilm"
RATINGS = MATERIAL / "vader-3.3.2"

needs_material = pytest.mark.skipif(
    not (GGUF.exists() and MINILM.exists() and RATINGS.exists()),
    reason=f"no real models in {MATERIAL}: make material fetches them",
)


def smollm2() -> Path:
    """SmolLM2-135M as a plain Hugging Face folder, unpacked once beside the GGUF file."""
    from textrlhf.language import load

    plain = MATERIAL / "smollm2-float32"
    if not (plain / "config.json").exists():
        load(GGUF).save(plain)
    return plain
