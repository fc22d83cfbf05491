"""The residual: a small network that corrects the logits of a frozen latent dynamics (ReDRAW, arXiv 2504.02252).

Corrected logits are u + e, with u from the frozen dynamics (z, belief, action) and e from the residual; the corrected
probabilities are the belief that is carried on. Deviations, each a setting: the published residual sees (z, action),
starts from a random output layer and never mixes with the uniform distribution again (`PAPER`); ours sees the belief as
well and starts from nothing changed.
"""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from worldshift.models.draw import UNIMIX, Draw, Latent, mlp
from worldshift.nn import MLP


@dataclass(frozen=True)
class ResidualConfig:
    """The correcting network."""

    width: int = 256
    zero_init: bool = True
    """Start from no correction at all, exactly; otherwise from a random output layer."""
    belief: bool = True
    """Give the network the belief as well."""
    unimix: float = UNIMIX
    """Share of the uniform distribution in the corrected probabilities."""


PAPER = ResidualConfig(zero_init=False, belief=False, unimix=0.0)


class Corrected(eqx.Module):
    """A frozen model whose next logits are corrected, or with `replace` given by the network alone."""

    model: Draw
    network: MLP
    config: ResidualConfig = eqx.field(static=True)
    replace: bool = eqx.field(static=True)

    def __init__(
        self, model: Draw, config: ResidualConfig = ResidualConfig(), *, replace: bool = False, key: PRNGKeyArray
    ):
        n_in = model.latent_dim * (2 if config.belief else 1) + model.action_dim
        last = 0.0 if config.zero_init and not replace else None
        self.model, self.config, self.replace = model, config, replace
        self.network = mlp(n_in, config.width, 1, model.latent_dim, key=key, last_scale=last)

    @property
    def unimix(self) -> float:
        """Share of the uniform distribution in what is sampled."""
        return self.config.unimix

    def predict(self, latent: Latent, action: Float[Array, "*B A"]) -> Float[Array, "*B Z"]:
        """Corrected logits of the next moment's classes; a gradient reaches the network alone."""
        latent = jax.lax.stop_gradient(latent)
        inputs = [jnp.clip(action, -1, 1), latent.z] + ([latent.belief] if self.config.belief else [])
        correction = self.network(jnp.concatenate(inputs, -1))
        if self.replace:
            return correction
        return jax.lax.stop_gradient(self.model.predict(latent, action)) + correction

    def advance(self, latent: Latent, action: Float[Array, "*B A"], key: PRNGKeyArray) -> Latent:
        """Imagines one step in the target."""
        return self.model.settle(self.predict(latent, action), self.config.unimix, key)
