"""A DRAW agent at work: how it acts, episode after episode, and what its model reads that it was paid.

What a model reads needs no reward. Adaptation leaves encoder and reward head as the source trained them, and they read
a body in the target as they read one in the source. The held-out error says whether the model is right; this says
whether the policy is good.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from worldshift.agents.draw_agent import DrawAgent, Memory
from worldshift.data.episodes import Episodes
from worldshift.models.draw import Draw


class Acting:
    """A function of (observations (N, O), step), for whoever runs episodes; actions are sampled as ReDRAW evaluates.

    Steps are asked for in order; step 0 begins an episode in every environment.

    Arguments:
        sample: else the policy's mean.
        reads: also adds up what the model reads that is paid.
    """

    def __init__(self, agent: DrawAgent, seed: int, *, sample: bool = True, reads: bool = False):
        self.agent, self.sample, self.reads = agent, sample, reads
        self._key, self._count = jax.random.fold_in(jax.random.key(seed), 5), 0
        self._memory: Memory | None = None
        self._read: list[np.ndarray] = []

    def __call__(self, obs: np.ndarray, t: int) -> np.ndarray:
        """Actions, (N, A)."""
        key = jax.random.fold_in(self._key, self._count)
        action, memory = self.agent.act(self._memory if t else None, obs, key, sample=self.sample)
        if self.reads:
            if not t:
                self._read.clear()
            self._read.append(np.asarray(_reward(self.agent.model, memory.latent.z)))
        self._count, self._memory = self._count + 1, memory
        return np.asarray(action)

    def returns(self, lengths: np.ndarray) -> Float[np.ndarray, " N"]:
        """What was read of the latest episodes, which took so many decisions each.

        What the last of them led to is not in it: nobody acted there.
        """
        rows = np.stack(self._read)[1:]  # nothing is paid for the first moment
        return np.sum(rows * (np.arange(1, len(rows) + 1)[:, None] < lengths), axis=0)


def read_returns(model: Draw, data: Episodes, seed: int = 0) -> Float[np.ndarray, " E"]:
    """The return of every recorded episode as the model reads it from what was seen; rewards are not looked at.

    Arguments:
        seed: of the latents, which are samples.

    Raises:
        ValueError: the data is of another body.
    """
    found = []
    for i, episode in enumerate(data.episodes):
        seen, action = episode.seen, episode.action
        model.check_body(seen, action)
        key = jax.random.fold_in(jax.random.key(seed), i)
        found.append(float(_read(model, jnp.asarray(seen), jnp.asarray(action), key)))
    return np.asarray(found)


@eqx.filter_jit
def _read(model: Draw, obs: Float[Array, "T1 O"], action: Float[Array, "T A"], key: PRNGKeyArray) -> Float[Array, ""]:
    latent = model.see(obs[:, None], action[:, None], key).latent
    return jnp.sum(model.reward(latent.z[1:]))


@eqx.filter_jit
def _reward(model: Draw, z: Float[Array, "N Z"]) -> Float[Array, " N"]:
    return model.reward(z)
