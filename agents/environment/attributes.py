"""Attributes and methods of the environments inside any vector environment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gymnasium.vector import SyncVectorEnv, VectorEnv


class EnvAttributes:
    """Reads, sets and calls attributes through wrappers and worker processes.

    A native vector environment has one attribute for all slots; Sync- and AsyncVectorEnv have one per environment.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        self.base: Any = env.unwrapped
        self.native = not callable(getattr(self.base, "call", None))

    def has(self, name: str) -> bool:
        """Whether every environment has the attribute."""
        if self.native:
            return hasattr(self.base, name)
        return all(self.base.call("has_wrapper_attr", name))

    def get(self, name: str) -> Any:
        """The attribute of a native vector environment, else of the first environment."""
        return getattr(self.base, name) if self.native else self.base.get_attr(name)[0]

    def set(self, name: str, values: Any) -> None:
        """Set the attribute; `values` has one entry per environment."""
        if self.native:
            setattr(self.base, name, values)
        else:
            self.base.set_attr(name, list(values))

    def call(self, name: str) -> Any:
        """Call a method without arguments; the result has one entry per environment."""
        return getattr(self.base, name)() if self.native else self.base.call(name)

    def call_each(self, name: str, arguments: Sequence[Any]) -> bool:
        """Call a method with one argument per environment; False if that is impossible (worker processes)."""
        if self.native:
            getattr(self.base, name)(arguments)
        elif isinstance(self.base, SyncVectorEnv):
            for env, argument in zip(self.base.envs, arguments, strict=True):
                env.get_wrapper_attr(name)(argument)
        else:
            return False
        return True
