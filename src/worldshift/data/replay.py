"""Replay of finished episodes: uniform sub-sequences of H+1 observations that never cross an episode's end.

TD-MPC2 (arXiv 2310.16828): uniform slices of whole episodes. Storage is flat NumPy, grown in place up to a capacity;
sampling is a function of the generator given to it, so that a resumed run draws the same batches.
"""

from typing import Any, NamedTuple

import numpy as np


class Batch(NamedTuple):
    """Sub-sequences, time first: row t holds s_t, and what followed from a_t. Leading axes may be added in front.

    NumPy arrays as they are sampled, JAX arrays inside an update.
    """

    obs: Any  # (H+1, B, O)
    action: Any  # (H, B, A)
    reward: Any  # (H, B)
    terminated: Any  # (H, B) 1.0 where the episode ended in a terminal state


class Replay:
    """Flat storage. An episode of T actions takes T+1 rows: the last row holds only its last observation."""

    def __init__(self, obs_dim: int, action_dim: int, capacity: int = 1_000_000, *, image: int = 0):
        """`capacity` in rows; the oldest episodes are dropped when it is full.

        The first `image` numbers of an observation are intensities from 0 to 255, and kept as bytes.
        """
        self.capacity, self._image = capacity, image
        self._rows = {
            "image": np.empty((0, image), np.uint8),
            "obs": np.empty((0, obs_dim - image), np.float32),
            "action": np.empty((0, action_dim), np.float32),
            "reward": np.empty(0, np.float32),
            "terminated": np.empty(0, np.float32),
        }
        self._end = 0
        self._lengths: list[int] = []  # actions per stored episode, oldest first

    @property
    def transitions(self) -> int:
        """Number of stored transitions."""
        return sum(self._lengths)

    def add(self, obs: np.ndarray, action: np.ndarray, reward: np.ndarray, terminated: bool) -> None:
        """Adds a finished episode: obs (T+1, O), action (T, A), reward (T,), and whether it ended terminally.

        Raises:
            ValueError: lengths that do not match, or a non-finite value; nothing is stored then.
        """
        obs, action, reward = (np.asarray(rows, np.float32) for rows in (obs, action, reward))
        steps = len(action)
        if steps < 1 or len(obs) != steps + 1 or len(reward) != steps:
            raise ValueError(
                f"an episode of T actions has T+1 observations and T rewards, with T at least 1: "
                f"not {len(obs)} observations and {len(reward)} rewards to {steps} actions."
            )
        if not (np.isfinite(obs).all() and np.isfinite(action).all() and np.isfinite(reward).all()):
            raise ValueError("an episode with NaN or infinite values was offered to the replay; it was not stored.")
        if steps + 1 > self.capacity:
            raise ValueError(f"an episode of {steps} steps does not fit into a replay of {self.capacity} rows.")
        while self._end + steps + 1 > self.capacity:
            self._drop_oldest()
        self._reserve(self._end + steps + 1)
        here = slice(self._end, self._end + steps + 1)
        flags = np.zeros(steps, np.float32)
        flags[-1] = float(terminated)
        self._rows["image"][here], self._rows["obs"][here] = np.split(obs, [self._image], axis=1)
        for name, value in {"action": action, "reward": reward, "terminated": flags}.items():
            self._rows[name][here] = np.concatenate([value, np.zeros_like(value[:1])])  # the last row has no action
        self._end += steps + 1
        self._lengths.append(steps)

    def sample(self, rng: np.random.Generator, batch: int, horizon: int, count: int = 1) -> Batch:
        """`count` batches at once: fields of shape (count, H+1 or H, batch, ...).

        Raises:
            ValueError: no stored episode is as long as the horizon.
        """
        lengths = np.asarray(self._lengths)
        starts = np.concatenate([[0], np.cumsum(lengths + 1)[:-1]]) if len(lengths) else np.zeros(0, int)
        slots = np.maximum(lengths - horizon + 1, 0)
        if slots.sum() == 0:
            raise ValueError(
                f"no episode in the replay has {horizon} steps yet: add longer ones, or shorten the horizon."
            )
        ends = np.cumsum(slots)
        pick = rng.integers(0, ends[-1], (count, batch))
        episode = np.searchsorted(ends, pick, side="right")
        first = starts[episode] + pick - (ends[episode] - slots[episode])
        rows = first[:, None, :] + np.arange(horizon + 1)[None, :, None]
        short = rows[:, :-1]
        get = self._rows
        obs = get["obs"][rows]
        if self._image:
            obs = np.concatenate([get["image"][rows], obs], axis=-1)
        return Batch(obs, get["action"][short], get["reward"][short], get["terminated"][short])

    def spread(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean of the stored observations, (O,), and the standard deviation of what is no image, (V,)."""
        obs, image = (self._rows[name][: self._end] for name in ("obs", "image"))
        return np.concatenate([image.mean(0, dtype=np.float32), obs.mean(0)]), obs.std(0)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything stored, for a checkpoint."""
        return {k: v[: self._end] for k, v in self._rows.items()} | {"lengths": np.asarray(self._lengths, np.int64)}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Replaces the content by what `arrays` gave."""
        self._end, self._lengths = len(arrays["obs"]), [int(n) for n in arrays["lengths"]]
        self._rows = {name: np.array(arrays[name]) for name in self._rows}

    def _reserve(self, rows: int) -> None:
        if rows > len(self._rows["obs"]):
            grown = min(self.capacity, max(rows, 2 * len(self._rows["obs"]), 1024))
            self._rows = {
                k: np.concatenate([v, np.zeros((grown - len(v), *v.shape[1:]), v.dtype)]) for k, v in self._rows.items()
            }

    def _drop_oldest(self) -> None:
        gone = self._lengths.pop(0) + 1
        for rows in self._rows.values():
            rows[: self._end - gone] = rows[gone : self._end]
        self._end -= gone
