"""Seeing and picturing frames of 64 x 64: encoders and decoders of images, and of an image beside a vector.

`conv` has the shapes of DreamerV3 (arXiv 2301.04104) as ReDRAW uses it (arXiv 2504.02252). `patch` is ours, for CPUs,
where convolutions are ten times slower: one linear map shared by all patches of 8 x 8, and a layer over all of them.
Images are flat rows of 64 * 64 * 3 numbers, differences from a mean image in units of the full range, top row first.
"""

from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from worldshift.nn import MLP, TRUNCATED_STD, Linear, NormedLinear

SIDE, COLOURS, PATCH = 64, 3, 8
PIXELS = SIDE * SIDE * COLOURS
_TILES = SIDE // PATCH
_STAGES = 4
_KERNEL = 4


class Vision(NamedTuple):
    """Shapes of the networks for images."""

    kind: Literal["patch", "conv"]
    channels: int
    """Of a patch, or of the first convolution; every further one doubles them."""
    units: int
    """Of the layer over all patches."""

    @property
    def features(self) -> int:
        """Length of what an encoder gives."""
        return self.units if self.kind == "patch" else self.channels * 2 ** (_STAGES - 1) * (SIDE // 2**_STAGES) ** 2


def _layer(n_in: int, n_out: int, key: PRNGKeyArray) -> NormedLinear:
    return NormedLinear(n_in, n_out, key=key, activation=jax.nn.silu, scale=None, eps=1e-3)


def coarse_error(error: Float[Array, "*B P"], grain: int) -> Float[Array, ""]:
    """Squared error of images whose pixels are off by `error`, summed over an image as if each of its squares of
    `grain` x `grain` pixels were off by its mean.
    """
    squares = error.reshape(-1, SIDE // grain, grain, SIDE // grain, grain, COLOURS)
    return grain**2 * jnp.sum(jnp.mean(squares, axis=(2, 4)) ** 2) / len(squares)


class PatchEncoder(eqx.Module):
    """Features of an image from its patches."""

    patch: NormedLinear
    whole: NormedLinear

    def __init__(self, vision: Vision, *, key: PRNGKeyArray):
        k_patch, k_whole = jax.random.split(key)
        self.patch = _layer(PATCH * PATCH * COLOURS, vision.channels, k_patch)
        self.whole = _layer(_TILES**2 * vision.channels, vision.units, k_whole)

    def __call__(self, image: Float[Array, "*B P"]) -> Float[Array, "*B E"]:
        tiles = image.reshape(-1, _TILES, PATCH, _TILES, PATCH * COLOURS).swapaxes(2, 3)
        tiles = self.patch(tiles.reshape(len(tiles), _TILES**2, -1))
        return self.whole(tiles.reshape(*image.shape[:-1], -1))


class PatchDecoder(eqx.Module):
    """An image from its patches."""

    whole: MLP
    patch: Linear

    def __init__(self, n_in: int, vision: Vision, *, key: PRNGKeyArray):
        k_whole, k_patch = jax.random.split(key)
        n_whole = _TILES**2 * vision.channels
        self.whole = MLP(
            *(n_in, [vision.units], n_whole),
            **{"key": k_whole, "activation": jax.nn.silu, "output": jax.nn.silu, "scale": None, "eps": 1e-3},
        )
        self.patch = Linear.create(vision.channels, PATCH * PATCH * COLOURS, key=k_patch, scale=0.0)

    def __call__(self, z: Float[Array, "*B Z"]) -> Float[Array, "*B P"]:
        tiles = self.whole(z)
        tiles = self.patch(tiles.reshape(-1, _TILES**2, tiles.shape[-1] // _TILES**2))
        tiles = tiles.reshape(-1, _TILES, _TILES, PATCH, PATCH * COLOURS).swapaxes(2, 3)
        return tiles.reshape(*z.shape[:-1], PIXELS)


class Convolution(eqx.Module):
    """4 x 4 with stride 2, halving or with `up` doubling the picture; channels last."""

    weight: Float[Array, "K K I O"]
    scale: Float[Array, " O"]
    shift: Float[Array, " O"]
    up: bool = eqx.field(static=True)
    last: bool = eqx.field(static=True)

    def __init__(self, n_in: int, n_out: int, *, up: bool = False, last: bool = False, key: PRNGKeyArray):
        """The `last` one has neither norm nor activation."""
        std = (2 / (_KERNEL**2 * (n_in + n_out))) ** 0.5 / TRUNCATED_STD
        self.weight = std * jax.random.truncated_normal(key, -2.0, 2.0, (_KERNEL, _KERNEL, n_in, n_out))
        self.scale, self.shift, self.up, self.last = jnp.ones(n_out), jnp.zeros(n_out), up, last

    def __call__(self, x: Float[Array, "N H W I"]) -> Float[Array, "N H2 W2 O"]:
        kind = ("NHWC", "HWIO", "NHWC")
        if self.up:
            x = jax.lax.conv_transpose(x, self.weight, (2, 2), "SAME", dimension_numbers=kind)
        else:
            x = jax.lax.conv_general_dilated(x, self.weight, (2, 2), "SAME", dimension_numbers=kind)
        if self.last:
            return x + self.shift
        centred = x - jnp.mean(x, axis=-1, keepdims=True)
        normed = centred * jax.lax.rsqrt(jnp.mean(centred**2, axis=-1, keepdims=True) + 1e-3)
        return jax.nn.silu(normed * self.scale + self.shift)


class ConvEncoder(eqx.Module):
    """Features of an image by four convolutions."""

    stages: list[Convolution]

    def __init__(self, vision: Vision, *, key: PRNGKeyArray):
        widths = [COLOURS, *(vision.channels * 2**n for n in range(_STAGES))]
        keys = jax.random.split(key, _STAGES)
        self.stages = [Convolution(widths[n], widths[n + 1], key=k) for n, k in enumerate(keys)]

    def __call__(self, image: Float[Array, "*B P"]) -> Float[Array, "*B E"]:
        x = image.reshape(-1, SIDE, SIDE, COLOURS)
        for stage in self.stages:
            x = stage(x)
        return x.reshape(*image.shape[:-1], -1)


class ConvDecoder(eqx.Module):
    """An image by four transposed convolutions."""

    first: Linear
    stages: list[Convolution]

    def __init__(self, n_in: int, vision: Vision, *, key: PRNGKeyArray):
        widths = [*(vision.channels * 2**n for n in reversed(range(_STAGES))), COLOURS]
        k_first, *keys = jax.random.split(key, _STAGES + 1)
        self.first = Linear.create(n_in, vision.features, key=k_first, scale=None)
        self.stages = [
            Convolution(widths[n], widths[n + 1], up=True, last=n == _STAGES - 1, key=k) for n, k in enumerate(keys)
        ]

    def __call__(self, z: Float[Array, "*B Z"]) -> Float[Array, "*B P"]:
        small = SIDE // 2**_STAGES
        x = self.first(z)
        x = x.reshape(-1, small, small, x.shape[-1] // small**2)
        for stage in self.stages:
            x = stage(x)
        return x.reshape(*z.shape[:-1], PIXELS)


class Senses(eqx.Module):
    """Encodes an image and the vector behind it, side by side."""

    image: PatchEncoder | ConvEncoder
    vector: MLP

    def __init__(self, vision: Vision, vector: MLP, *, key: PRNGKeyArray):
        self.image = (PatchEncoder if vision.kind == "patch" else ConvEncoder)(vision, key=key)
        self.vector = vector

    def __call__(self, obs: Float[Array, "*B O"]) -> Float[Array, "*B E"]:
        return jnp.concatenate([self.image(obs[..., :PIXELS]), self.vector(obs[..., PIXELS:])], axis=-1)


class Picture(eqx.Module):
    """Decodes an image and the vector behind it."""

    image: PatchDecoder | ConvDecoder
    vector: MLP

    def __init__(self, n_in: int, vision: Vision, vector: MLP, *, key: PRNGKeyArray):
        self.image = (PatchDecoder if vision.kind == "patch" else ConvDecoder)(n_in, vision, key=key)
        self.vector = vector

    def __call__(self, z: Float[Array, "*B Z"]) -> Float[Array, "*B O"]:
        return jnp.concatenate([self.image(z), self.vector(z)], axis=-1)
