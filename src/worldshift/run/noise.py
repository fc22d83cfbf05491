"""Noise that a body notices, in bursts between stretches of a policy: it covers what a policy alone never shows."""

import numpy as np

POLICY_STRETCH, NOISE_BURST = 150, 100
"""Decisions of a mixed episode that are the policy's, and then noise, in turn."""
LONGEST_HOLD = 50
"""Decisions for which a noisy action is held at most; log-uniform, so that noise is both fast and strong."""


class Noise:
    """Actions that are held for a while: white noise averages out before a body has noticed it.

    In bursts between stretches of a policy, each body at its own times.
    """

    def __init__(self, shape: tuple[int, int], rng: np.random.Generator):
        self.rng, self.action, self.left = rng, np.zeros(shape), np.zeros(shape[0], int)
        self.offset = rng.integers(0, POLICY_STRETCH + NOISE_BURST, shape[0])

    def bursts(self, t: int) -> np.ndarray:
        """Whether decision `t` of an episode is within a burst, (N,)."""
        return (t + self.offset) % (POLICY_STRETCH + NOISE_BURST) >= POLICY_STRETCH

    def __call__(self) -> np.ndarray:
        """Of the next decision, (N, A)."""
        over = self.left == 0
        drawn = np.clip(self.rng.normal(size=self.action.shape), -1, 1)
        hold = np.exp(self.rng.uniform(0, np.log(LONGEST_HOLD), len(over))).astype(int)
        self.action[over], self.left[over] = drawn[over], hold[over]
        self.left -= 1
        return self.action
