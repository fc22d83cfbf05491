"""Distilling sight: what a student inherits stays as it is, and what it learns is the teacher's latent of an image."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldshift.agents import distil
from worldshift.models.draw import Draw
from worldshift.models.vision import PIXELS, SIDE

STATES, VELOCITIES, ACTIONS = 3, 1, 2
TEACHER = Draw(STATES, ACTIONS, key=jax.random.key(0))


def moments(count: int, seed: int = 0) -> np.ndarray:
    """Images in which a state is the brightness of three stripes, a velocity, and that state."""
    rng = np.random.default_rng(seed)
    state = rng.uniform(-2, 2, (count, STATES)).astype(np.float32)
    stripes = np.repeat(127.5 + 60 * state, [21, 21, 22], axis=1)
    image = np.broadcast_to(stripes[:, None, :, None], (count, SIDE, SIDE, 3)).reshape(count, PIXELS)
    return np.concatenate([image, rng.normal(size=(count, VELOCITIES)), state], axis=1, dtype=np.float32)


def begun() -> distil.DistilState:
    return distil.init(TEACHER, PIXELS + VELOCITIES, 1e-3, key=jax.random.key(1))


@pytest.fixture(scope="module")
def taught():
    rows = np.stack([moments(32, seed) for seed in range(60)])
    return distil.update_many(begun(), jnp.asarray(rows), jax.random.key(2), TEACHER, 1e-3)[0]


def kl_of(model: Draw, rows: np.ndarray) -> float:
    """Independent of the loss: in NumPy, from the two models' logits."""
    seen, state = np.split(rows, [model.obs_dim], axis=1)
    logs = []
    for one, obs in ((TEACHER, state), (model, seen)):
        logits = np.asarray(one.posterior(one.embed(jnp.asarray(obs))), np.float64).reshape(len(rows), -1, 4)
        share = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        logs.append(np.log(0.99 * share + 0.01 / 4))
    p, q = logs
    return float((np.exp(p) * (p - q)).sum((1, 2)).mean())


def test_the_loss_is_the_divergence_of_the_students_latent_from_the_teachers(taught):
    rows = moments(16, 99)
    seen, state = jnp.split(jnp.asarray(rows), [PIXELS + VELOCITIES], axis=1)
    for model in (begun().model, taught.model):
        total, logs = distil.loss(model, TEACHER, seen, state, jax.random.key(0))
        assert float(logs["kl"]) == pytest.approx(kl_of(model, rows), rel=1e-3)
        assert float(total) == pytest.approx(float(logs["kl"] + logs["picture"]), rel=1e-6)


def test_a_student_learns_to_see_what_its_teacher_reads(taught):
    rows = moments(200, 100)
    before, after = kl_of(begun().model, rows), kl_of(taught.model, rows)
    assert after < 0.1 * before, (before, after)
    # and not because any image gives the same latent: with the states of other moments it is wrong again
    mixed = rows.copy()
    mixed[:, -STATES:] = np.roll(rows[:, -STATES:], 1, axis=0)
    assert kl_of(taught.model, mixed) > 5 * after


def test_what_is_inherited_is_never_trained(taught):
    for name in ("dynamics", "initial", "reward_head", "continue_head"):
        ours, theirs = (jax.tree.leaves(eqx.filter(getattr(m, name), eqx.is_array)) for m in (taught.model, TEACHER))
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True)), name
    moved = jax.tree.leaves(eqx.filter(taught.model.encoder, eqx.is_array))
    assert not all(np.array_equal(a, b) for a, b in zip(moved, jax.tree.leaves(begun().model.encoder), strict=True))


def test_pictures_teach_the_encoder_nothing():
    seen, state = jnp.split(jnp.asarray(moments(8)), [PIXELS + VELOCITIES], axis=1)

    def gradient(which: str):
        def objective(encoder):
            model = eqx.tree_at(lambda m: m.encoder, begun().model, encoder)
            total, logs = distil.loss(model, TEACHER, seen, state, jax.random.key(0))
            return {"total": total, "kl": logs["kl"]}[which]

        return jax.tree.leaves(eqx.filter_grad(objective)(begun().model.encoder))

    for a, b in zip(gradient("total"), gradient("kl"), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_an_episodic_teacher_passes_its_head_on():
    teacher = Draw(STATES, ACTIONS, episodic=True, key=jax.random.key(0))
    student = distil.init(teacher, PIXELS + VELOCITIES, 1e-3, key=jax.random.key(1)).model
    z = jnp.ones((2, teacher.latent_dim))
    np.testing.assert_array_equal(student.goes_on(z), teacher.goes_on(z))


def test_a_rate_of_nothing_changes_nothing():
    rows = jnp.asarray(moments(8))[None]
    after, _ = distil.update_many(begun(), rows, jax.random.key(2), TEACHER, 1e-3, 0.0)
    for a, b in zip(*(jax.tree.leaves(eqx.filter(m, eqx.is_array)) for m in (after.model, begun().model)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert int(after.updates) == 1
