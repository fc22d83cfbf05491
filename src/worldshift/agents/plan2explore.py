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
        n_in = model.belief_dim + model.latent_dim + model.action_dim
        keys = jax.random.split(key, members)
        self.members = tuple(mlp(n_in, units, s.head_layers, model.embed_dim, key=k) for k in keys)

    def __call__(self, latent: Latent, action: Float[Array, "*B A"]) -> list[Float[Array, "*B E"]]:
        """What each member expects of the next observation's features."""
        x = jnp.concatenate([latent.belief, latent.z, jnp.clip(action, -1, 1)], -1)
        return [member(x) for member in self.members]

    def loss(self, latent: Latent, action: Float[Array, "*B A"], embedding: Float[Array, "*B E"]) -> Float[Array, ""]:
        """Squared error against the features that followed, summed over members."""
        wanted = jax.lax.stop_gradient(embedding)
        expected = self(jax.lax.stop_gradient(latent), action)
        return sum((jnp.mean((each - wanted) ** 2) for each in expected), jnp.zeros(()))

    def disagreement(self, latent: Latent, action: Float[Array, "*B A"]) -> Float[Array, "*B"]:
        """Standard deviation over the members, mean over the features."""
        expected = self(latent, action)
        mean = sum(expected[1:], expected[0]) / len(expected)  # reducing a stack's first axis takes twice as long
        variance = sum(((each - mean) ** 2 for each in expected[1:]), (expected[0] - mean) ** 2) / len(expected)
        return jnp.mean(jnp.sqrt(variance), axis=-1)
