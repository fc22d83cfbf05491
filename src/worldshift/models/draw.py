"""DRAW's networks: encoder, posterior of one observation, belief-carrying MLP dynamics, decoder, reward, continue.

ReDRAW (arXiv 2504.02252): DreamerV3 without recurrence, so that a latent means the same thing in source and target.
An observation is a row of numbers; with `pixels` it begins with those of an image, and everything else is the same.
Sizes of the published code as `paper`; the smaller ones are ours. The decoder of vectors predicts symlog values.
Deviation: observations can be standardised first, by numbers that never train.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from worldshift.maths import log_unimix, sample_one_hot, straight_through, symexp, symlog, two_hot_inverse
from worldshift.models.vision import PIXELS, Picture, Senses, Vision
from worldshift.nn import MLP


class Size(NamedTuple):
    """Widths and depths. A depth counts hidden layers."""

    groups: int
    classes: int
    units: int
    """Of posterior, dynamics, and heads."""
    dynamics_layers: int
    head_layers: int
    vector_units: int
    vector_layers: int
    bins: int
    """Of the two-hot reward and value heads."""
    span: float
    """The bins go from -span to span in symlog space."""
    vision: Vision


SIZES = {
    "nano": Size(32, 4, 64, 2, 1, 64, 2, 41, 6.0, Vision("patch", 32, 64)),
    "tiny": Size(32, 4, 128, 2, 1, 128, 2, 41, 6.0, Vision("patch", 32, 128)),
    "small": Size(64, 4, 128, 2, 1, 128, 2, 41, 6.0, Vision("patch", 64, 256)),
    "paper": Size(256, 4, 512, 3, 2, 1024, 5, 255, 20.0, Vision("conv", 32, 0)),
}
UNIMIX = 0.01
"""Share of the uniform distribution in what latents are sampled from."""


class Latent(NamedTuple):
    """The state of the world model at one moment."""

    z: Float[Array, "*B Z"]
    """Sampled classes, one-hot, the groups side by side."""
    belief: Float[Array, "*B Z"]
    """Class probabilities that the dynamics gave to this moment, without unimix."""


class Seen(NamedTuple):
    """What a model makes of a window."""

    latent: Latent  # leading axes (T, B)
    log_posterior: Float[Array, "T B G C"]
    log_prior: Float[Array, "T B G C"]
    embedding: Float[Array, "T B E"]


def mlp(n_in: int, units: int, layers: int, n_out: int, *, key: PRNGKeyArray, last_scale: float | None = None) -> MLP:
    """An MLP of DreamerV3's blocks: SiLU, LayerNorm eps 1e-3, initialised by fans."""
    return MLP(
        n_in, [units] * layers, n_out, key=key, activation=jax.nn.silu, scale=None, last_scale=last_scale, eps=1e-3
    )


class Draw(eqx.Module):
    """The world model. All calls take any leading axes."""

    encoder: MLP | Senses
    posterior: MLP
    dynamics: MLP
    initial: Float[Array, " Z"]
    decoder: MLP | Picture
    reward_head: MLP
    continue_head: MLP | None
    centre: Float[Array, " O"]
    """What an image and the vector behind it are read relative to; a constant, as `scale`."""
    scale: Float[Array, " V"]
    """Of the vector."""
    embed_dim: int = eqx.field(static=True)
    size: str = eqx.field(static=True)
    obs_dim: int = eqx.field(static=True)
    action_dim: int = eqx.field(static=True)
    pixels: bool = eqx.field(static=True)

    def __init__(
        self,
        obs_dim: int,
        action_dim: int,
        *,
        size: str = "tiny",
        episodic: bool = False,
        pixels: bool = False,
        memory: int = 0,
        key: PRNGKeyArray,
    ):
        """`size` is one of `SIZES`; `episodic` adds the head that predicts when an episode goes on.

        With `pixels` an observation is an image (64 * 64 * 3 intensities from 0 to 255) and a vector behind it. Decoder
        and heads read `memory` numbers beside the classes (a recurrent model's).

        Raises:
            ValueError: unknown size, or images that leave no room for a vector.
        """
        if size not in SIZES:
            raise ValueError(f"model size {size!r} is not one of {', '.join(SIZES)}.")
        vector = obs_dim - PIXELS if pixels else obs_dim
        if vector < 1:
            raise ValueError(f"an observation of pixels has more than {PIXELS} numbers, the image's, not {obs_dim}.")
        s, k = SIZES[size], jax.random.split(key, 6)
        latent, read = s.groups * s.classes, s.groups * s.classes + memory
        encoder = MLP(
            *(vector, [s.vector_units] * (s.vector_layers - 1), s.vector_units),
            **{"key": k[0], "activation": jax.nn.silu, "output": jax.nn.silu, "scale": None, "eps": 1e-3},
        )
        decoder = mlp(read, s.vector_units, s.vector_layers, vector, key=k[3])
        if pixels:
            self.encoder = Senses(s.vision, encoder, key=jax.random.fold_in(key, 1))
            self.decoder = Picture(read, s.vision, decoder, key=jax.random.fold_in(key, 2))
        else:
            self.encoder, self.decoder = encoder, decoder
        self.embed_dim = s.vector_units + (s.vision.features if pixels else 0)
        self.posterior = mlp(self.embed_dim, s.units, 1, latent, key=k[1])
        self.dynamics = mlp(2 * latent + action_dim, s.units, s.dynamics_layers, latent, key=k[2])
        self.initial = jnp.zeros(latent)
        self.reward_head = mlp(read, s.units, s.head_layers, s.bins, key=k[4], last_scale=0.0)
        self.continue_head = mlp(read, s.units, s.head_layers, 1, key=k[5]) if episodic else None
        self.centre = jnp.concatenate([jnp.full(obs_dim - vector, 127.5), jnp.zeros(vector)])
        self.scale = jnp.ones(vector)
        self.size, self.obs_dim, self.action_dim, self.pixels = size, obs_dim, action_dim, pixels

    @property
    def unimix(self) -> float:
        """Share of the uniform distribution in what is sampled."""
        return UNIMIX

    @property
    def image_dim(self) -> int:
        """Numbers of an observation that are its image: the first ones."""
        return PIXELS if self.pixels else 0

    @property
    def latent_dim(self) -> int:
        """Z: what heads and policies read, the groups side by side."""
        return self.initial.shape[-1]

    @property
    def belief_dim(self) -> int:
        """What is carried from moment to moment beside it."""
        return self.initial.shape[-1]

    @property
    def transition(self) -> tuple[Any, ...]:
        """The parts that predict the next latent: what a finetune of the dynamics trains."""
        return self.dynamics, self.initial

    def check_body(self, obs: np.ndarray, action: np.ndarray) -> None:
        """That recorded observations (T+1, O) and actions (T, A) can be of the body that the model knows.

        Raises:
            ValueError: they cannot.
        """
        if obs.shape[1:] != (self.obs_dim,) or action.shape[1:] != (self.action_dim,):
            raise ValueError(
                f"the data has {obs.shape[-1]} observations and {action.shape[-1]} actions, the model {self.obs_dim} "
                f"and {self.action_dim}: take the agent of this body."
            )

    def embed(self, obs: Float[Array, "*B O"]) -> Float[Array, "*B E"]:
        """Features of an observation; what Plan2Explore's ensemble predicts."""
        return self.encoder(self.standard(obs))

    def standard(self, obs: Float[Array, "*B O"]) -> Float[Array, "*B O"]:
        """What the encoder reads and the decoder predicts: symlog of the standardised vector, and a centred image."""
        centre, scale = jax.lax.stop_gradient((self.centre, self.scale))
        image, vector = jnp.split(obs - centre, [self.image_dim], axis=-1)
        return jnp.concatenate([image / 255, symlog(vector / scale)], axis=-1)

    def standardised(self, centre: Float[Array | np.ndarray, " O"], scale: Float[Array | np.ndarray, " V"]) -> "Draw":
        """The same model, reading (vector - centre) / scale from now on: metres weigh as much as metres per second.

        Of an image, what differs from the one in `centre`: of a scene that stands still, what moves.
        """
        return eqx.tree_at(lambda m: (m.centre, m.scale), self, (jnp.asarray(centre), jnp.asarray(scale)))

    def infer(self, embedding: Float[Array, "*B E"]) -> Float[Array, "*B G C"]:
        """Log-probabilities of the posterior, unimix included: from this one observation, from nothing before it."""
        return log_unimix(self.grouped(self.posterior(embedding)), UNIMIX)

    def encode(self, obs: Float[Array, "*B O"], key: PRNGKeyArray) -> Float[Array, "*B Z"]:
        """A sample of the posterior."""
        return self.flat(sample_one_hot(jnp.exp(self.infer(self.embed(obs))), key))

    def see(self, obs: Float[Array, "T B O"], action: Float[Array, "T1 B A"], key: PRNGKeyArray) -> Seen:
        """Posteriors of a window, each from its own observation, and the beliefs that the dynamics carries through."""
        embedding = self.embed(obs)
        log_posterior = self.infer(embedding)
        z = self.flat(straight_through(jnp.exp(log_posterior), key))
        first = jnp.broadcast_to(self.first_belief(), z[0].shape)

        def carry(belief: Array, row: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
            z, action = row
            logits = self.grouped(self.predict(Latent(z, belief), action))
            after = self.flat(jax.nn.softmax(logits))
            return after, (after, logits)

        _, (after, logits) = jax.lax.scan(carry, first, (z[:-1], action))
        belief = jnp.concatenate([first[None], after])
        log_prior = jnp.concatenate([log_posterior[:1], log_unimix(logits, UNIMIX)])  # nothing led to the first
        return Seen(Latent(z, belief), log_posterior, log_prior, embedding)

    def first(self, obs: Float[Array, "*B O"], key: PRNGKeyArray) -> Latent:
        """The latent of an episode's first moment."""
        z = self.encode(obs, key)
        return Latent(z, jnp.broadcast_to(self.first_belief(), z.shape))

    def after(
        self, latent: Latent, action: Float[Array, "*B A"], obs: Float[Array, "*B O"], key: PRNGKeyArray
    ) -> Latent:
        """The latent of the moment after: of its observation alone, so that nothing need be remembered to act."""
        return self.first(obs, key)

    def predict(self, latent: Latent, action: Float[Array, "*B A"]) -> Float[Array, "*B Z"]:
        """Logits of the next moment's classes. Actions beyond the bounds act like the bounds."""
        return self.dynamics(jnp.concatenate([jnp.clip(action, -1, 1), latent.belief, latent.z], -1))

    def advance(self, latent: Latent, action: Float[Array, "*B A"], key: PRNGKeyArray) -> Latent:
        """Imagines one step: the next latent, sampled with unimix, and the belief, without."""
        return self.settle(self.predict(latent, action), UNIMIX, key)

    def settle(self, logits: Float[Array, "*B Z"], unimix: float, key: PRNGKeyArray) -> Latent:
        """A latent from predicted logits."""
        grouped = self.grouped(logits)
        z = sample_one_hot(jnp.exp(log_unimix(grouped, unimix)), key)
        return Latent(self.flat(z), self.flat(jax.nn.softmax(grouped)))

    def first_belief(self) -> Float[Array, " Z"]:
        """The belief before anything was seen: the dynamics applied to the learned initial state and no action."""
        grouped = self.grouped(self.initial)
        mode = jax.nn.one_hot(jnp.argmax(grouped, -1), grouped.shape[-1])
        start = Latent(self.flat(mode), self.flat(jax.nn.softmax(grouped)))
        return self.flat(jax.nn.softmax(self.grouped(self.predict(start, jnp.zeros(self.action_dim)))))

    def decode(self, z: Float[Array, "*B Z"]) -> Float[Array, "*B O"]:
        """The observation that a latent stands for."""
        (image, vector), (backdrop, centre) = (
            jnp.split(x, [self.image_dim], axis=-1) for x in (self.decoder(z), self.centre)
        )
        image = jnp.clip(backdrop + 255 * image, 0, 255)
        return jnp.concatenate([image, centre + self.scale * symexp(vector)], axis=-1)

    def reward(self, z: Float[Array, "*B Z"]) -> Float[Array, "*B"]:
        """Reward of arriving in a latent."""
        span = SIZES[self.size].span
        return two_hot_inverse(self.reward_head(z), -span, span)

    def goes_on(self, z: Float[Array, "*B Z"]) -> Float[Array, "*B"]:
        """Probability that the episode does not end in a latent."""
        return jnp.ones(z.shape[:-1]) if self.continue_head is None else jax.nn.sigmoid(self.continue_head(z)[..., 0])

    def grouped(self, x: Float[Array, "*B Z"]) -> Float[Array, "*B G C"]:
        """The categoricals one by one."""
        s = SIZES[self.size]
        return x.reshape(*x.shape[:-1], s.groups, s.classes)

    def flat(self, x: Float[Array, "*B G C"]) -> Float[Array, "*B Z"]:
        """The categoricals side by side."""
        return x.reshape(*x.shape[:-2], -1)
