"""The ids exist after `import textrlhf`, which imports no torch."""

import subprocess
import sys

import gymnasium as gym

import textrlhf  # noqa: F401
from textrlhf.envs.registration import ABOUT, TEXT_ENVS


def test_every_id_is_registered_and_described():
    assert all(env_id in gym.registry for env_id in ABOUT)
    assert all(gym.spec(env_id).vector_entry_point for env_id in TEXT_ENVS)


def test_registering_imports_neither_torch_nor_transformers():
    code = (
        "import sys, warnings; warnings.simplefilter('error'); import textrlhf; "
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_id_with_a_module_needs_no_import():
    code = "import gymnasium; print(gymnasium.make('textrlhf:Maze-v0').spec.id)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "Maze-v0"
