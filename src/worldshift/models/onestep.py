"""A one-step observation model for calibrated reflexes: (s, u) -> s' with a state-dependent standard deviation.

Not in the paper: RWM uses the agent's own latent dynamics F. A reflex inside an episode needs a smaller one-step error
and an honest account of it than F offers (F is trained for three-step consistency in a moving latent space).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from worldshift.nn import MLP

MIN_LOG_STD, MAX_LOG_STD = -6.0, 1.0


class OneStep(eqx.Module):
    """Predicts the change of the observation, in units of each channel's one-step standard deviation."""

    network: MLP
    obs_mean: Float[Array, " O"]
    obs_std: Float[Array, " O"]
    change_std: Float[Array, " O"]

    def __init__(
        self,
        obs: Float[Array, "N O"],
        change: Float[Array, "N O"],
        action_dim: int,
        *,
        width: int = 256,
        key: PRNGKeyArray,
    ):
        """Untrained; normalised by the statistics of `obs` and of `change` = s' - s."""
        dim = obs.shape[-1]
        self.network = MLP(dim + action_dim, [width, width], 2 * dim, key=key)
        floor = lambda x: jnp.maximum(jnp.std(x, axis=0), 1e-3)  # noqa: E731 - a constant channel must not divide by 0
        self.obs_mean, self.obs_std, self.change_std = jnp.mean(obs, axis=0), floor(obs), floor(change)

    def change(
        self, obs: Float[Array, "*B O"], action: Float[Array, "*B A"]
    ) -> tuple[Float[Array, "*B O"], Float[Array, "*B O"]]:
        """Mean and log standard deviation of s' - s, both in units of `change_std`."""
        scaled = jnp.clip((obs - self.obs_mean) / self.obs_std, -10, 10)
        mean, log_std = jnp.split(self.network(jnp.concatenate([scaled, action], -1)), 2, axis=-1)
        return mean, jnp.clip(log_std, MIN_LOG_STD, MAX_LOG_STD)

    def innovation(
        self, obs: Float[Array, "*B O"], action: Float[Array, "*B A"], next_obs: Float[Array, "*B O"]
    ) -> Float[Array, "*B O"]:
        """What happened minus what was predicted, in predicted standard deviations."""
        mean, log_std = self.change(obs, action)
        return ((next_obs - obs) / self.change_std - mean) * jnp.exp(-log_std)

    def linearise(
        self, obs: Float[Array, " O"], action: Float[Array, " A"]
    ) -> tuple[Float[Array, " O"], Float[Array, "O A"], Float[Array, " O"]]:
        """Mean change, its Jacobian in the action, and the log standard deviation."""
        (mean, log_std), push = jax.linearize(lambda a: self.change(obs, a), action)
        jacobian = jax.vmap(lambda direction: push(direction)[0], out_axes=1)(jnp.eye(len(action)))
        return mean, jacobian, log_std
