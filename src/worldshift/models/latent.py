"""TD-MPC2's networks: encoder, latent dynamics, reward, Q ensemble, Gaussian policy, optional termination.

TD-MPC2 (arXiv 2310.16828), architecture and sizes as in the published code with the initialisation of its 2026 fix
(truncated normal 0.02 everywhere, reward and Q heads zero). State observations only. No optimiser here.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from worldshift.maths import gaussian_log_prob, two_hot_inverse
from worldshift.nn import MLP, simnorm


class Size(NamedTuple):
    """One of TD-MPC2's five model sizes, named by millions of parameters."""

    enc_dim: int
    mlp_dim: int
    latent_dim: int
    enc_layers: int
    num_q: int


SIZES = {
    1: Size(256, 384, 128, 2, 2),
    5: Size(256, 512, 512, 2, 5),
    19: Size(1024, 1024, 768, 3, 5),
    48: Size(1792, 1792, 768, 4, 5),
    317: Size(4096, 4096, 1376, 5, 8),
}
BINS, LOW, HIGH = 101, -10.0, 10.0
LOG_STD_MIN, LOG_STD_RANGE = -10.0, 12.0

HeadPair = tuple[int | Int[Array, ""], int | Int[Array, ""]]


class Policy(NamedTuple):
    """A sampled policy output: action in (-1, 1), its mean action, and what the entropy bonus needs."""

    action: Float[Array, "*B A"]
    mean: Float[Array, "*B A"]
    scaled_entropy: Float[Array, "*B"]


class WorldModel(eqx.Module):
    """Encoder, dynamics and everything read off the latent. All calls take any leading axes."""

    encoder: MLP
    dynamics: MLP
    reward_head: MLP
    policy_head: MLP
    q_heads: MLP  # leading axis K on every leaf
    termination_head: MLP | None
    obs_dim: int = eqx.field(static=True)
    action_dim: int = eqx.field(static=True)
    latent_dim: int = eqx.field(static=True)
    num_q: int = eqx.field(static=True)

    def __init__(self, obs_dim: int, action_dim: int, *, size: int = 1, episodic: bool = False, key: PRNGKeyArray):
        """`size` in millions of parameters, one of `SIZES`; `episodic` adds the termination head.

        Raises:
            ValueError: unknown size.
        """
        if size not in SIZES:
            raise ValueError(f"model size {size} is not one of {sorted(SIZES)}.")
        s = SIZES[size]
        k = jax.random.split(key, 6)
        z, hidden = s.latent_dim, [s.mlp_dim, s.mlp_dim]
        self.encoder = MLP(obs_dim, [s.enc_dim] * max(s.enc_layers - 1, 1), z, output=simnorm, key=k[0])
        self.dynamics = MLP(z + action_dim, hidden, z, output=simnorm, key=k[1])
        self.reward_head = MLP(z + action_dim, hidden, BINS, key=k[2], last_scale=0.0)
        self.policy_head = MLP(z, hidden, 2 * action_dim, key=k[3])
        self.q_heads = eqx.filter_vmap(
            lambda key: MLP(z + action_dim, hidden, BINS, key=key, dropout=0.01, last_scale=0.0)
        )(jax.random.split(k[4], s.num_q))
        self.termination_head = MLP(z, hidden, 1, key=k[5]) if episodic else None
        self.obs_dim, self.action_dim, self.latent_dim, self.num_q = obs_dim, action_dim, z, s.num_q

    def encode(self, obs: Float[Array, "*B O"]) -> Float[Array, "*B Z"]:
        """SimNorm latent of an observation."""
        return self.encoder(obs)

    def predict(self, z: Float[Array, "*B Z"], action: Float[Array, "*B A"]) -> Float[Array, "*B Z"]:
        """Next latent F(z, a); differentiable in the action."""
        return self.dynamics(jnp.concatenate([z, action], -1))

    def reward(self, z: Float[Array, "*B Z"], action: Float[Array, "*B A"]) -> Float[Array, "*B"]:
        """Predicted reward of an agent step."""
        return two_hot_inverse(self.reward_head(jnp.concatenate([z, action], -1)), LOW, HIGH)

    def policy(self, z: Float[Array, "*B Z"], key: PRNGKeyArray) -> Policy:
        """Squashed Gaussian policy. The scaled entropy is -A times the pre-squash log-density (published code)."""
        mean, raw = jnp.split(self.policy_head(z), 2, axis=-1)
        log_std = LOG_STD_MIN + 0.5 * LOG_STD_RANGE * (jnp.tanh(raw) + 1)
        noise = jax.random.normal(key, mean.shape)
        entropy = -self.action_dim * gaussian_log_prob(noise, log_std)
        return Policy(jnp.tanh(mean + jnp.exp(log_std) * noise), jnp.tanh(mean), entropy)

    def mean_action(self, z: Float[Array, "*B Z"]) -> Float[Array, "*B A"]:
        """The policy's mean action, in (-1, 1)."""
        return jnp.tanh(self.policy_head(z)[..., : self.action_dim])

    def q_logits(
        self,
        heads: MLP,
        index: int | Int[Array, ""],
        z: Float[Array, "*B Z"],
        action: Float[Array, "*B A"],
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, "*B C"]:
        """Two-hot logits of head `index` of an ensemble (`self.q_heads` or its target copy)."""
        head = jax.tree.map(lambda leaf: leaf[index] if eqx.is_array(leaf) else leaf, heads)
        return head(jnp.concatenate([z, action], -1), key)

    def q_value(
        self, heads: MLP, index: int | Int[Array, ""], z: Float[Array, "*B Z"], action: Float[Array, "*B A"]
    ) -> Float[Array, "*B"]:
        """Scalar action value of head `index`."""
        return two_hot_inverse(self.q_logits(heads, index, z, action), LOW, HIGH)

    def q_average(self, pair: HeadPair, z: Float[Array, "*B Z"], action: Float[Array, "*B A"]) -> Float[Array, "*B"]:
        """Mean action value of two of the online heads."""
        first, second = (self.q_value(self.q_heads, head, z, action) for head in pair)
        return 0.5 * (first + second)

    def random_pair(self, key: PRNGKeyArray) -> HeadPair:
        """Two different heads of the ensemble at random."""
        first, second = jax.random.choice(key, self.num_q, (2,), replace=False)
        return first, second
