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
    """Predicts the change of the observation, in units of each channel's one-step standard deviation.

    With an `encoder`, the channels S are those of its latent, and it stays as it is.
    """

    network: MLP
    obs_mean: Float[Array, " S"]
    obs_std: Float[Array, " S"]
    change_std: Float[Array, " S"]
    encoder: MLP | None

    def __init__(
        self,
        obs: Float[Array, "N S"],
        change: Float[Array, "N S"],
        action_dim: int,
        *,
        width: int = 256,
        encoder: MLP | None = None,
        key: PRNGKeyArray,
    ):
        """Untrained; normalised by the statistics of `obs`, as the encoder sees it, and of `change` = s' - s."""
        dim = obs.shape[-1]
        self.network = MLP(dim + action_dim, [width, width], 2 * dim, key=key)
        floor = lambda x: jnp.maximum(jnp.std(x, axis=0), 1e-3)  # noqa: E731 - a constant channel must not divide by 0
        self.obs_mean, self.obs_std, self.change_std = jnp.mean(obs, axis=0), floor(obs), floor(change)
        self.encoder = encoder

    def see(self, obs: Float[Array, "*B O"]) -> Float[Array, "*B S"]:
        """The channels that are predicted: of the observation itself, or of its latent."""
        return obs if self.encoder is None else self.encoder(obs)

    def change(
        self, seen: Float[Array, "*B S"], action: Float[Array, "*B A"]
    ) -> tuple[Float[Array, "*B S"], Float[Array, "*B S"]]:
        """Mean and log standard deviation of s' - s, both in units of `change_std`."""
        scaled = jnp.clip((seen - self.obs_mean) / self.obs_std, -10, 10)
        mean, log_std = jnp.split(self.network(jnp.concatenate([scaled, action], -1)), 2, axis=-1)
        return mean, jnp.clip(log_std, MIN_LOG_STD, MAX_LOG_STD)

    def happened(self, obs: Float[Array, "*B O"], next_obs: Float[Array, "*B O"]) -> Float[Array, "*B S"]:
        """s' - s as it was, in units of `change_std`."""
        return (self.see(next_obs) - self.see(obs)) / self.change_std

    def innovation(
        self, obs: Float[Array, "*B O"], action: Float[Array, "*B A"], next_obs: Float[Array, "*B O"]
    ) -> Float[Array, "*B S"]:
        """What happened minus what was predicted, in predicted standard deviations."""
        mean, log_std = self.change(self.see(obs), action)
        return (self.happened(obs, next_obs) - mean) * jnp.exp(-log_std)

    def linearise(
        self, obs: Float[Array, " O"], action: Float[Array, " A"]
    ) -> tuple[Float[Array, " S"], Float[Array, "S A"], Float[Array, " S"]]:
        """Mean change, its Jacobian in the action, and the log standard deviation."""
        seen = self.see(obs)
        (mean, log_std), push = jax.linearize(lambda a: self.change(seen, a), action)
        jacobian = jax.vmap(lambda direction: push(direction)[0], out_axes=1)(jnp.eye(len(action)))
        return mean, jacobian, log_std


class InSteps(eqx.Module):
    """A one-step model in the place of a world model: its latent is what it sees, in units of a step's change."""

    model: OneStep

    @property
    def latent_dim(self) -> int:
        """Channels."""
        return len(self.model.change_std)

    def encode(self, obs: Float[Array, "*B O"]) -> Float[Array, "*B S"]:
        """What the model sees."""
        return self.model.see(obs) / self.model.change_std

    def predict(self, z: Float[Array, "*B S"], action: Float[Array, "*B A"]) -> Float[Array, "*B S"]:
        """The next one."""
        return z + self.model.change(z * self.model.change_std, action)[0]
