"""What a camera sees and, behind it in one row, the task's own vector of that moment: for whoever learns from both."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class StateBeside(gymnasium.ObservationWrapper[np.ndarray, np.ndarray, np.ndarray]):
    """Observations (O + S,): the environment's own, and then its state.

    Attributes:
        seen: O, the numbers of an observation that are the environment's own.
    """

    def __init__(self, env: gymnasium.Env[np.ndarray, np.ndarray]):
        """Wraps a dm_control task that is seen by its camera.

        Raises:
            ValueError: an environment without images, or without a state to put beside them.
        """
        super().__init__(env)
        bare: Any = env.unwrapped
        if not getattr(bare, "pixels", False):
            raise ValueError("there are no images to learn to see in: name a task of pixels, as pixels:cup-catch.")
        shape = env.observation_space.shape
        assert shape is not None
        self.seen = shape[0]
        self.observation_space = spaces.Box(-np.inf, np.inf, (self.seen + bare.state().size,), np.float32)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        """Both, float32."""
        bare: Any = self.env.unwrapped
        return np.concatenate([observation, bare.state()], dtype=np.float32)
