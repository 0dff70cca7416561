"""PPO on an environment of your own with action masks: python examples/own_environment.py

A robot on a ring of rooms must find the charger. Moving is not always possible: some doors are shut, and
`info["action_mask"]` has the allowed actions. PPO needs nothing else.
"""

import gymnasium as gym
import numpy as np

from textrlhf import PPO, evaluate


class Rooms(gym.Env):
    """Actions: 0 left, 1 right, 2 across. Reward −1 a step until the charger in room 0 is reached."""

    metadata = {"render_modes": []}

    def __init__(self, rooms: int = 24) -> None:
        self.rooms = rooms
        self.observation_space = gym.spaces.Discrete(rooms)
        self.action_space = gym.spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.room, self.steps = int(self.np_random.integers(1, self.rooms)), 0
        return self.room, self._doors()

    def step(self, action):
        self.room = int(self.room + (-1, 1, self.rooms // 2)[action]) % self.rooms
        self.steps += 1
        return self.room, -1.0, self.room == 0, self.steps >= 100, self._doors()

    def _doors(self):
        mask = np.array([self.room % 5 != 0, self.room % 7 != 0, self.room % 3 == 0])
        mask[1] |= not mask.any()
        return {"action_mask": mask}


gym.register("Rooms-v0", entry_point=Rooms)

if __name__ == "__main__":
    agent = PPO("Rooms-v0", n_envs=16, n_steps=64, learning_rate=3e-3, seed=0)
    print("before:", evaluate(agent))
    agent.learn(40_000)
    print("after: ", evaluate(agent))
