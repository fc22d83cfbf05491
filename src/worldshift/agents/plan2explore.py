"""Plan2Explore: an ensemble that predicts what will be seen next, and the reward of going where it disagrees.

Plan2Explore (arXiv 2005.05960) as in ReDRAW's code (arXiv 2504.02252): K MLPs from (belief, z, action) to the encoder's
features of the next observation, squared error; the explorer is paid the standard deviation over the ensemble.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from worldshift.models.draw import SIZES, Draw, Latent, mlp
from worldshift.nn import MLP


class Ensemble(eqx.Module):
    """K predictors, one after another: batched products of K sets of weights are slower on a CPU than K products."""

    members: tuple[MLP, ...]

    def __init__(self, model: Draw, members: int, units: int, *, key: PRNGKeyArray):
        s = SIZES[model.size]
        n_in = 2 * model.latent_dim + model.action_dim
        keys = jax.random.split(key, members)
        self.members = tuple(mlp(n_in, units, s.head_layers, s.vector_units, key=k) for k in keys)

    def __call__(self, latent: Latent, action: Float[Array, "*B A"]) -> Float[Array, "K *B E"]:
        """What each member expects of the next observation's features."""
        x = jnp.concatenate([latent.belief, latent.z, jnp.clip(action, -1, 1)], -1)
        return jnp.stack([member(x) for member in self.members])

    def loss(self, latent: Latent, action: Float[Array, "*B A"], embedding: Float[Array, "*B E"]) -> Float[Array, ""]:
        """Squared error against the features that followed, summed over members."""
        wanted = jax.lax.stop_gradient(embedding)
        seen = jax.lax.stop_gradient(latent)
        return jnp.mean(jnp.sum(jnp.mean((self(seen, action) - wanted) ** 2, axis=-1), axis=0))

    def disagreement(self, latent: Latent, action: Float[Array, "*B A"]) -> Float[Array, "*B"]:
        """Standard deviation over the members, mean over the features."""
        return jnp.mean(jnp.std(self(latent, action), axis=0), axis=-1)
