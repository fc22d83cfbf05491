"""Rehearsals of a real body: gains are recorded as they act, and the encoder learns from rounds of its own policy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldshift import zoo
from worldshift.adapt.bounds import Frozen
from worldshift.adapt.context import ContextConfig
from worldshift.run.online.rehearse import ON, Lives, context_encoder, joined

SMALL = ContextConfig(window=16, features=32, updates=2400, batch=128, learning_rate=3e-3)


@pytest.fixture(scope="module")
def shipped():
    return zoo.load("point-mass-1", calibrated=False)


@pytest.fixture(scope="module")
def rows(shipped):
    lives = Lives(shipped.task, 6, seed=0)
    frozen = Frozen(shipped.agent)
    found = joined([lives.go_on(frozen, 150), lives.go_on(frozen, 250)])
    lives.close()
    return found


def test_gains_come_and_go_at_different_times(rows):
    assert rows.gains.shape == (6, 400, 2)
    healthy = (rows.gains == 1).all(-1)
    assert 0.05 < healthy.mean() < 0.6
    begins = [np.flatnonzero(np.diff(body.astype(int)) == -1)[:1].tolist() for body in healthy]
    assert len({tuple(b) for b in begins}) == 6
    assert 0.5 <= rows.gains.min() < 0.8 and 1.2 < rows.gains.max() <= 1.5
    last = rows.gains[-1, ~healthy[-1]]
    assert len(np.unique(last, axis=0)) <= 1 + len(last) // ON + 1, "a draw lasts"


def test_steps_follow_each_other_but_for_resets(rows):
    follows = np.isclose(rows.next_obs[:, :-1], rows.obs[:, 1:]).all(-1)
    assert 0.98 < follows.mean() < 1.0


def test_an_encoder_of_the_bodies_reads_their_gains(shipped, rows):
    encoder = context_encoder(shipped.path, bodies=8, rounds=2, steps=400, config=SMALL)
    read = jax.vmap(jax.vmap(encoder.row))(*(jnp.asarray(x) for x in rows[:3]))
    told = {t: jax.vmap(encoder)(read[:, t - 15 : t + 1]) for t in range(60, 400, 20)}
    error = np.mean([np.abs(gains - rows.gains[:, t]) for t, gains in told.items()])
    assert error < 0.6 * np.mean([np.abs(1 - rows.gains[:, t]) for t in told])


def test_the_next_who_asks_gets_the_same(shipped):
    again = context_encoder(shipped.path, bodies=8, rounds=2, steps=400, config=SMALL)
    assert again is context_encoder(shipped.path, bodies=8, rounds=2, steps=400, config=SMALL)
