"""`python -m textrlhf` is the command `textrlhf`."""

from __future__ import annotations

from .pipeline.commands.main import main

if __name__ == "__main__":
    main()
