"""Scalar transforms of TD-MPC2 and DreamerV3: symlog, two-hot coding of scalars, Gaussian log-probability.

TD-MPC2 (arXiv 2310.16828) section 3 and appendix; two-hot with 101 bins over symlog space as in its published code.
No deviation.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


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
