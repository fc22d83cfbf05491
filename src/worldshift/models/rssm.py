"""DreamerV3's recurrent world model (RSSM), the baseline beside DRAW: what happened before is remembered.

DreamerV3 (arXiv 2301.04104): a GRU carries a memory h through time; the posterior sees h and the observation, the prior
h alone, decoder and heads the classes and h. Encoder, decoder, heads and sizes are DRAW's, whose interface it keeps:
`Latent.z` is what heads and policies read (classes and h side by side), `Latent.belief` is h.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from worldshift.maths import log_unimix, straight_through
from worldshift.models.draw import SIZES, UNIMIX, Draw, Latent, Seen, mlp
from worldshift.nn import NormedLinear


def _as_it_is(x: Array) -> Array:
    return x


class Rssm(Draw):
    """The world model with a memory. All calls take any leading axes."""

    reader: NormedLinear
    """Of classes and action, before the GRU."""
    gates: NormedLinear

    def __init__(
        self,
        obs_dim: int,
        action_dim: int,
        *,
        size: str = "tiny",
        episodic: bool = False,
        pixels: bool = False,
        key: PRNGKeyArray,
    ):
        """As DRAW's; the memory is as wide as a layer.

        Raises:
            ValueError: as DRAW's.
        """
        memory = SIZES[size].units if size in SIZES else 0
        super().__init__(obs_dim, action_dim, size=size, episodic=episodic, pixels=pixels, memory=memory, key=key)
        s, k = SIZES[size], jax.random.split(jax.random.fold_in(key, 3), 4)
        classes = s.groups * s.classes
        self.posterior = mlp(self.embed_dim + memory, s.units, 1, classes, key=k[0])
        self.dynamics = mlp(memory, s.units, 1, classes, key=k[1])
        self.reader = NormedLinear(
            classes + action_dim, s.units, key=k[2], activation=jax.nn.silu, scale=None, eps=1e-3
        )
        self.gates = NormedLinear(s.units + memory, 3 * memory, key=k[3], activation=_as_it_is, scale=None, eps=1e-3)
        self.initial = jnp.zeros(memory)

    @property
    def classes_dim(self) -> int:
        """The groups side by side."""
        return SIZES[self.size].groups * SIZES[self.size].classes

    @property
    def latent_dim(self) -> int:
        """Z: what heads and policies read, the classes and the memory."""
        return self.classes_dim + self.belief_dim

    @property
    def transition(self) -> tuple[Any, ...]:
        """The parts that predict the next latent: the prior, and the memory that it reads."""
        return self.dynamics, self.initial, self.reader, self.gates

    def remember(self, latent: Latent, action: Float[Array, "*B A"]) -> Float[Array, "*B H"]:
        """The memory after an action: one step of the GRU."""
        read = self.reader(jnp.concatenate([latent.z[..., : self.classes_dim], jnp.clip(action, -1, 1)], -1))
        reset, candidate, update = jnp.split(self.gates(jnp.concatenate([read, latent.belief], -1)), 3, axis=-1)
        update = jax.nn.sigmoid(update - 1)  # begins with remembering
        return update * jnp.tanh(jax.nn.sigmoid(reset) * candidate) + (1 - update) * latent.belief

    def predict(self, latent: Latent, action: Float[Array, "*B A"]) -> Float[Array, "*B Z"]:
        """Logits of the next moment's classes."""
        return self.dynamics(self.remember(latent, action))

    def advance(self, latent: Latent, action: Float[Array, "*B A"], key: PRNGKeyArray) -> Latent:
        """Imagines one step."""
        memory = self.remember(latent, action)
        return self._at(log_unimix(self.grouped(self.dynamics(memory)), UNIMIX), memory, key)

    def recognise(self, memory: Float[Array, "*B H"], embedding: Float[Array, "*B E"]) -> Float[Array, "*B G C"]:
        """Log-probabilities of the posterior, from the memory and this observation."""
        return self.infer(jnp.concatenate([embedding, memory], -1))

    def first_belief(self) -> Float[Array, " H"]:
        """The memory before anything was seen, learned."""
        return jnp.tanh(self.initial)

    def encode(self, obs: Float[Array, "*B O"], key: PRNGKeyArray) -> Float[Array, "*B Z"]:
        """What heads and policies read of an episode's first moment."""
        return self.first(obs, key).z

    def see(self, obs: Float[Array, "T B O"], action: Float[Array, "T1 B A"], key: PRNGKeyArray) -> Seen:
        """Posteriors of a window one after another, each from the memory of those before."""
        embedding = self.embed(obs)
        first = jnp.broadcast_to(self.first_belief(), (obs.shape[1], self.belief_dim))
        padded = jnp.concatenate([action, jnp.zeros_like(action[:1])])  # nothing follows the last

        def carry(memory: Array, row: tuple[Array, Array, PRNGKeyArray]) -> tuple[Array, tuple]:
            embedding, action, key = row
            log_posterior = self.recognise(memory, embedding)
            latent = self._at(log_posterior, memory, key)
            log_prior = log_unimix(self.grouped(self.dynamics(memory)), UNIMIX)
            return self.remember(latent, action), (latent, log_posterior, log_prior)

        rows = (embedding, padded, jax.random.split(key, len(obs)))
        _, (latent, log_posterior, log_prior) = jax.lax.scan(carry, first, rows)
        return Seen(latent, log_posterior, jnp.concatenate([log_posterior[:1], log_prior[1:]]), embedding)

    def first(self, obs: Float[Array, "*B O"], key: PRNGKeyArray) -> Latent:
        """The latent of an episode's first moment."""
        memory = jnp.broadcast_to(self.first_belief(), (*obs.shape[:-1], self.belief_dim))
        return self._at(self.recognise(memory, self.embed(obs)), memory, key)

    def after(
        self, latent: Latent, action: Float[Array, "*B A"], obs: Float[Array, "*B O"], key: PRNGKeyArray
    ) -> Latent:
        """The latent of the moment after, from its observation and all that came before."""
        memory = self.remember(latent, action)
        return self._at(self.recognise(memory, self.embed(obs)), memory, key)

    def _at(self, log_probs: Float[Array, "*B G C"], memory: Float[Array, "*B H"], key: PRNGKeyArray) -> Latent:
        z = self.flat(straight_through(jnp.exp(log_probs), key))
        return Latent(jnp.concatenate([z, memory], -1), memory)
