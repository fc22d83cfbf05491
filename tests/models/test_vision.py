"""Images: patches are cut and put together where they belong, and both kinds of network have the shapes they should."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldshift.agents.draw import DrawConfig, model_loss
from worldshift.data.replay import Batch
from worldshift.models.draw import SIZES, Draw
from worldshift.models.vision import (
    PATCH,
    PIXELS,
    SIDE,
    ConvDecoder,
    ConvEncoder,
    PatchDecoder,
    PatchEncoder,
    Vision,
    coarse_error,
)

SMALL = Vision("patch", 4, 8)
CONV = Vision("conv", 2, 0)


@pytest.mark.parametrize(("make", "vision"), [(PatchEncoder, SMALL), (ConvEncoder, CONV)])
def test_features_of_an_image(make, vision):
    encoder = make(vision, key=jax.random.key(0))
    image = jax.random.uniform(jax.random.key(1), (2, 3, PIXELS)) - 0.5
    assert encoder(image).shape == (2, 3, vision.features)
    np.testing.assert_allclose(encoder(image)[1, 2], encoder(image[1, 2]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("make", "vision"), [(PatchDecoder, SMALL), (ConvDecoder, CONV)])
def test_an_image_of_a_latent(make, vision):
    decoder = make(5, vision, key=jax.random.key(0))
    assert decoder(jnp.ones((2, 3, 5))).shape == (2, 3, PIXELS)
    assert decoder(jnp.ones(5)).shape == (PIXELS,)


def test_a_patch_is_a_square_of_the_image():
    """A change inside one square of 8 x 8 reaches one patch, and no other."""
    encoder = PatchEncoder(SMALL, key=jax.random.key(0))
    seen = []
    encoder = eqx.tree_at(lambda e: e.whole, encoder, replace=lambda tiles: seen.append(tiles) or tiles)
    image = np.zeros((SIDE, SIDE, 3), np.float32)
    encoder(jnp.asarray(image.ravel()))
    image[PATCH * 2 : PATCH * 3, PATCH * 5 : PATCH * 6] = 0.4
    encoder(jnp.asarray(image.ravel()))
    changed = np.abs(np.asarray(seen[1] - seen[0])).reshape(SIDE // PATCH, SIDE // PATCH, SMALL.channels).max(-1) > 1e-6
    assert changed[2, 5] and changed.sum() == 1


def test_a_drawn_patch_is_a_square_of_the_image():
    decoder = PatchDecoder(5, SMALL, key=jax.random.key(0))
    tiles = np.zeros((SIDE // PATCH, SIDE // PATCH, SMALL.channels), np.float32)
    tiles[3, 1] = 1.0
    trained = jnp.ones_like(decoder.patch.weight)  # of a new decoder it is zero
    parts = (lambda z: jnp.asarray(tiles.ravel()), trained)
    decoder = eqx.tree_at(lambda d: (d.whole, d.patch.weight), decoder, replace=parts)
    image = np.asarray(decoder(jnp.ones(5))).reshape(SIDE, SIDE, 3)
    drawn = np.abs(image).max(-1) > 1e-6
    assert drawn[24:32, 8:16].all() and drawn.sum() == PATCH * PATCH


def test_patches_of_the_backdrop_are_drawn_before_training():
    """What a new model pictures is the image it reads relative to, whatever the latent: nothing has to be unlearned."""
    backdrop = np.random.default_rng(0).uniform(0, 255, PIXELS + 1).astype(np.float32)
    model = Draw(PIXELS + 1, 1, pixels=True, key=jax.random.key(0)).standardised(backdrop, np.ones(1, np.float32))
    z = jax.random.normal(jax.random.key(1), (2, model.latent_dim))
    np.testing.assert_allclose(model.decode(z)[:, :PIXELS], np.stack([backdrop[:PIXELS]] * 2), atol=1e-3)
    np.testing.assert_allclose(model.standard(jnp.asarray(backdrop))[:PIXELS], 0, atol=1e-6)


def test_convolutions_have_the_published_sizes():
    """ReDRAW: 4096 features from 0.69 million parameters, and 4.89 million in the decoder."""
    vision = SIZES["paper"].vision
    assert vision.features == 4096
    count = lambda module: sum(x.size for x in jax.tree.leaves(eqx.filter(module, eqx.is_array)))  # noqa: E731
    shapes = eqx.filter_eval_shape(lambda key: ConvEncoder(vision, key=key), jax.random.key(0))
    assert sum(x.size for x in jax.tree.leaves(shapes) if hasattr(x, "size")) == pytest.approx(0.69e6, rel=0.01)
    assert count(ConvDecoder(1024, vision, key=jax.random.key(0))) == pytest.approx(4.89e6, rel=0.01)


def test_a_model_of_pixels_is_the_same_model():
    model = Draw(PIXELS + 2, 1, pixels=True, key=jax.random.key(0))
    obs = jnp.concatenate([jnp.full((3, PIXELS), 255.0), jnp.ones((3, 2))], -1)
    z = model.encode(obs, jax.random.key(1))
    assert model.embed(obs).shape == (3, model.embed_dim) and z.shape == (3, model.latent_dim)
    drawn = np.asarray(model.decode(z))
    assert drawn.shape == obs.shape and drawn[:, :PIXELS].min() >= 0 and drawn[:, :PIXELS].max() <= 255
    np.testing.assert_allclose(model.standard(obs)[:, :PIXELS], 0.5)
    with pytest.raises(ValueError, match="more than 12288 numbers"):
        Draw(100, 1, pixels=True, key=jax.random.key(0))


def test_constants_of_the_vector_are_undone():
    """A perfect decoder of what was standardised gives the observation back."""
    model = Draw(3, 1, key=jax.random.key(0)).standardised(jnp.array([1.0, -2.0, 0.0]), jnp.array([0.1, 5.0, 1.0]))
    obs = jax.random.normal(jax.random.key(1), (4, 3))
    perfect = eqx.tree_at(lambda m: m.decoder, model, replace=lambda z: model.standard(obs))
    np.testing.assert_allclose(perfect.decode(jnp.zeros((4, model.latent_dim))), obs, rtol=1e-4, atol=1e-5)
    grad = eqx.filter_grad(lambda m: jnp.sum(m.embed(obs)))(model)
    assert not np.asarray(grad.centre).any() and not np.asarray(grad.scale).any(), "they never train"


def test_a_share_of_the_moments_is_decoded_and_stands_for_all_of_them():
    """What differs from draw to draw is the loss of the image, and its mean is that of all moments."""
    model = Draw(PIXELS + 1, 1, size="tiny", episodic=False, pixels=True, key=jax.random.key(0))
    rows = np.random.default_rng(0).uniform(0, 255, (8, 1, PIXELS + 1)).astype(np.float32)
    rows *= np.linspace(0, 1, 8, dtype=np.float32)[:, None, None]  # moments that differ much
    none = jnp.zeros((7, 1))
    batch = Batch(jnp.asarray(rows), jnp.zeros((7, 1, 1)), none, none)
    loss = eqx.filter_jit(
        lambda key, share: model_loss(model, batch, DrawConfig(image_share=share), key)[1][1]["image"]
    )
    keys = jax.random.split(jax.random.key(1), 16)
    few, whole = (np.asarray([loss(key, share) for key in keys]) for share in (0.25, 1.0))
    assert few.std() > 10 * whole.std()
    assert abs(few.mean() - whole.mean()) < 3 * few.std() / len(keys) ** 0.5


@pytest.mark.parametrize("grain", [1, 4, 16, 64])
def test_images_are_compared_by_means_over_squares(grain):
    error = np.random.default_rng(0).normal(size=(2, 3, SIDE, SIDE, 3)).astype(np.float32)
    squares = [
        error[:, :, i : i + grain, j : j + grain].mean((2, 3))
        for i in range(0, SIDE, grain)
        for j in range(0, SIDE, grain)
    ]
    expected = grain**2 * sum((square**2).sum(-1) for square in squares).mean()
    found = coarse_error(jnp.asarray(error.reshape(2, 3, PIXELS)), grain)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_coarse_error_grows_with_the_distance():
    """A thin bar that is just beside where it was, and one that is far off: pixel by pixel both are as wrong."""
    bar = np.zeros((3, SIDE, SIDE, 3), np.float32)
    for image, left in zip(bar, (14, 18, 40), strict=True):
        image[:, left : left + 4] = 1.0
    here, near, far = jnp.asarray(bar.reshape(3, PIXELS))
    assert coarse_error(far - here, 1) == coarse_error(near - here, 1)
    np.testing.assert_allclose(coarse_error(far - here, 16), 3 * coarse_error(near - here, 16), rtol=1e-5)


def test_squares_fill_an_image():
    with pytest.raises(ValueError, match="image_grain must divide 64, the pixels of a side; 5 does not"):
        DrawConfig(image_grain=5)
