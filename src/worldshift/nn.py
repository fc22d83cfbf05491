"""Layers shared by all networks: Linear on any leading axes, NormedLinear, SimNorm, MLP.

TD-MPC2 (arXiv 2310.16828): Linear -> LayerNorm -> Mish, SimNorm latents, truncated-normal initialisation (sigma 0.02).
DreamerV3 (arXiv 2301.04104): the same blocks with SiLU, eps 1e-3 and an initialisation by fan-in and fan-out.
Deviation: a layer can multiply in bfloat16, with float32 weights and a gradient rule that is fast on a CPU.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

TRUNCATED_STD = 0.8796
"""Standard deviation of a standard normal truncated at two sigma."""

Precision = Literal["float32", "bfloat16"]
TreeT = TypeVar("TreeT")


def mish(x: Array) -> Array:
    """x tanh(softplus(x)), written with a single exponential (the input is capped where mish(x) = x in float32)."""
    e = jnp.exp(jnp.minimum(x, 20.0))
    n = e * (e + 2.0)
    return x * n / (n + 2.0)


def simnorm(x: Float[Array, "*B Z"], group: int = 8) -> Float[Array, "*B Z"]:
    """Softmax over groups of `group` units: a latent of simplices, bounded and sparse."""
    return jax.nn.softmax(x.reshape(*x.shape[:-1], -1, group)).reshape(x.shape)


@jax.custom_vjp
def _dense_bfloat16(x: Array, weight: Array) -> Array:
    return jnp.matmul(x.astype(jnp.bfloat16), weight.astype(jnp.bfloat16), preferred_element_type=jnp.float32)


def _dense_forward(x: Array, weight: Array) -> tuple[Array, tuple[Array, Array]]:
    return _dense_bfloat16(x, weight), (x, weight)


def _dense_backward(residuals: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    # XLA's CPU bfloat16 kernels are slower than float32 for the transposed product of the weight gradient.
    x, weight = residuals
    dx = jnp.matmul(g.astype(jnp.bfloat16), weight.astype(jnp.bfloat16).T, preferred_element_type=jnp.float32)
    return dx, x.reshape(-1, x.shape[-1]).T @ g.reshape(-1, g.shape[-1])


_dense_bfloat16.defvjp(_dense_forward, _dense_backward)


class Linear(eqx.Module):
    """x @ weight + bias over the last axis, any leading axes of x. In an ensemble the weights lead with its axis K."""

    weight: Float[Array, "*K I O"]
    bias: Float[Array, "*K O"]
    precision: Precision = eqx.field(static=True, default="float32")

    @classmethod
    def create(cls, n_in: int, n_out: int, *, key: PRNGKeyArray, scale: float | None = 0.02) -> "Linear":
        """Weights from a normal of parameter `scale` truncated at two sigma (0 for a zero layer), bias 0.

        Without a scale they get the variance 1 / (mean of fan-in and fan-out), as in DreamerV3.
        """
        std = (2 / (n_in + n_out)) ** 0.5 / TRUNCATED_STD if scale is None else scale
        return cls(std * jax.random.truncated_normal(key, -2.0, 2.0, (n_in, n_out)), jnp.zeros(n_out))

    def __call__(self, x: Float[Array, "*B I"]) -> Float[Array, "*B O"]:
        product = _dense_bfloat16(x, self.weight) if self.precision == "bfloat16" else x @ self.weight
        return product + self.bias


class NormedLinear(eqx.Module):
    """Linear -> (dropout) -> LayerNorm -> activation."""

    linear: Linear
    scale: Float[Array, " O"]
    shift: Float[Array, " O"]
    activation: Callable[[Array], Array] = eqx.field(static=True)
    dropout: float = eqx.field(static=True)
    eps: float = eqx.field(static=True)

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        key: PRNGKeyArray,
        activation: Callable[[Array], Array] = mish,
        dropout: float = 0.0,
        scale: float | None = 0.02,
        eps: float = 1e-5,
    ):
        """`scale` initialises the weights (see `Linear.create`); `eps` is the LayerNorm's."""
        self.linear = Linear.create(n_in, n_out, key=key, scale=scale)
        self.scale, self.shift = jnp.ones(n_out), jnp.zeros(n_out)
        self.activation, self.dropout, self.eps = activation, dropout, eps

    def __call__(self, x: Float[Array, "*B I"], key: PRNGKeyArray | None = None) -> Float[Array, "*B O"]:
        """Dropout acts only when a key is given (training)."""
        x = self.linear(x)
        if self.dropout and key is not None:
            x = jnp.where(jax.random.bernoulli(key, 1 - self.dropout, x.shape), x / (1 - self.dropout), 0.0)
        centred = x - jnp.mean(x, axis=-1, keepdims=True)
        normed = centred * jax.lax.rsqrt(jnp.mean(centred**2, axis=-1, keepdims=True) + self.eps)
        return self.activation(normed * self.scale + self.shift)


class MLP(eqx.Module):
    """NormedLinear layers and a last layer: a plain Linear, or a NormedLinear when an output activation is given."""

    hidden: tuple[NormedLinear, ...]
    last: Linear | NormedLinear

    def __init__(
        self,
        n_in: int,
        widths: Sequence[int],
        n_out: int,
        *,
        key: PRNGKeyArray,
        activation: Callable[[Array], Array] = mish,
        output: Callable[[Array], Array] | None = None,
        dropout: float = 0.0,
        scale: float | None = 0.02,
        last_scale: float | None = 0.02,
        eps: float = 1e-5,
    ):
        """`dropout` is on the first hidden layer only; `scale` and `last_scale` initialise (see `Linear.create`)."""
        *keys, last = jax.random.split(key, len(widths) + 1)
        sizes = [n_in, *widths]
        self.hidden = tuple(
            NormedLinear(i, o, key=k, activation=activation, dropout=dropout if n == 0 else 0.0, scale=scale, eps=eps)
            for n, (i, o, k) in enumerate(zip(sizes[:-1], sizes[1:], keys, strict=True))
        )
        if output is None:
            self.last = Linear.create(sizes[-1], n_out, key=last, scale=last_scale)
        else:
            self.last = NormedLinear(sizes[-1], n_out, key=last, activation=output, scale=scale, eps=eps)

    def __call__(self, x: Float[Array, "*B I"], key: PRNGKeyArray | None = None) -> Float[Array, "*B O"]:
        for n, layer in enumerate(self.hidden):
            x = layer(x, key if n == 0 else None)
        return self.last(x)


def with_precision(tree: TreeT, precision: Precision) -> TreeT:
    """The same networks, every `Linear` multiplying in `precision`. Master weights and gradients stay float32."""

    def recast(node: Any) -> Any:
        return dataclasses.replace(node, precision=precision) if isinstance(node, Linear) else node

    return jax.tree.map(recast, tree, is_leaf=lambda node: isinstance(node, Linear))


def stepped(tree: TreeT, step: PyTree, rate: Float[Array, ""] | float) -> TreeT:
    """The same networks after `rate` times an optimiser's step: as if its learning rate had been so much smaller."""
    return eqx.apply_updates(tree, jax.tree.map(lambda leaf: rate * leaf, step))
