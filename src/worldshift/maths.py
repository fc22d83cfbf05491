"""The numbers of TD-MPC2 and DreamerV3: symlog, two-hot coding, Gaussians, groups of categoricals, lambda-returns.

TD-MPC2 (arXiv 2310.16828) section 3 and appendix; DreamerV3 (arXiv 2301.04104) for unimix, straight-through samples
and returns. No deviation.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


def annealed(done: float, share: float) -> Float[Array, ""]:
    """Factor on learning rates after `done` of a run (0 to 1): 1, over its last `share` falling linearly to a tenth."""
    return jnp.clip((1 - done) / share, 0.1, 1.0) if share else jnp.ones(())


def symlog(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """sign(x) ln(1 + |x|): compresses magnitudes, keeps sign and zero."""
    return jnp.sign(x) * jnp.log1p(jnp.abs(x))


def symexp(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Inverse of `symlog`."""
    return jnp.sign(x) * jnp.expm1(jnp.abs(x))


def two_hot(x: Float[Array, "..."], low: float, high: float, bins: int) -> Float[Array, "... C"]:
    """Soft class target of a scalar: symlog(x), clipped to [low, high], split between its two nearest bins."""
    position = (jnp.clip(symlog(x), low, high) - low) / (high - low) * (bins - 1)
    return jnp.maximum(0.0, 1.0 - jnp.abs(position[..., None] - jnp.arange(bins)))


def two_hot_inverse(logits: Float[Array, "... C"], low: float, high: float) -> Float[Array, "..."]:
    """Scalar read-out of two-hot logits: symexp of the expected bin value."""
    values = jnp.linspace(low, high, logits.shape[-1])
    return symexp(jax.nn.softmax(logits) @ values)


def soft_cross_entropy(
    logits: Float[Array, "... C"], target: Float[Array, "..."], low: float, high: float
) -> Float[Array, "..."]:
    """Cross-entropy of two-hot `logits` against the scalar `target`."""
    return -jnp.sum(two_hot(target, low, high, logits.shape[-1]) * jax.nn.log_softmax(logits), axis=-1)


def gaussian_log_prob(noise: Float[Array, "... A"], log_std: Float[Array, "... A"]) -> Float[Array, "..."]:
    """Log-density of mean + exp(log_std) * noise under that diagonal Gaussian, summed over the last axis."""
    return jnp.sum(-0.5 * noise**2 - log_std - 0.5 * jnp.log(2 * jnp.pi), axis=-1)


def log_unimix(logits: Float[Array, "*B G C"], share: float) -> Float[Array, "*B G C"]:
    """Log-probabilities of classes: softmax mixed with `share` of the uniform distribution (DreamerV3)."""
    if share == 0:
        return jax.nn.log_softmax(logits)
    return jnp.log((1 - share) * jax.nn.softmax(logits) + share / logits.shape[-1])


def sample_one_hot(probabilities: Float[Array, "*B G C"], key: PRNGKeyArray) -> Float[Array, "*B G C"]:
    """A one-hot sample of each categorical, with one uniform number for each (inverse of the cumulative sum)."""
    classes = probabilities.shape[-1]
    below = probabilities @ jnp.triu(jnp.ones((classes, classes)))
    uniform = jax.random.uniform(key, probabilities.shape[:-1])[..., None]
    passed = (uniform < below).at[..., -1].set(True)  # rounding must not leave a categorical without a class
    before = jnp.pad(passed[..., :-1], [(0, 0)] * (passed.ndim - 1) + [(1, 0)])
    return (passed & ~before).astype(probabilities.dtype)


def straight_through(probabilities: Float[Array, "*B G C"], key: PRNGKeyArray) -> Float[Array, "*B G C"]:
    """A one-hot sample whose gradient is that of the probabilities."""
    sample = sample_one_hot(jax.lax.stop_gradient(probabilities), key)
    return sample + probabilities - jax.lax.stop_gradient(probabilities)


def categorical_kl(log_p: Float[Array, "*B G C"], log_q: Float[Array, "*B G C"]) -> Float[Array, "*B"]:
    """KL(p || q) in nats, summed over the G categoricals."""
    return jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=(-2, -1))


def categorical_entropy(log_p: Float[Array, "*B G C"]) -> Float[Array, "*B"]:
    """In nats, summed over the G categoricals."""
    return -jnp.sum(jnp.exp(log_p) * log_p, axis=(-2, -1))


def lambda_returns(
    reward: Float[Array, "H B"], discount: Float[Array, "H B"], value: Float[Array, "H1 B"], lam: float
) -> Float[Array, "H B"]:
    """R_t = r_t + discount_t ((1 - lam) v_{t+1} + lam R_{t+1}), with R_H = v_H; row t belongs to the action at t."""

    def back(later: Float[Array, " B"], row: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        reward, discount, after = row
        now = reward + discount * ((1 - lam) * after + lam * later)
        return now, now

    return jax.lax.scan(back, value[-1], (reward, discount, value[1:]), reverse=True)[1]
