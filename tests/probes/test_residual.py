"""A problem with a known answer for the residual: a corridor in whose near half left and right change places.

The reward lies in a chamber above the far half, and nobody was in there while the target data were recorded. What
corrects the old dynamics still knows of the chamber and reaches the optimum; what replaces it has never heard of it.
"""

import jax
import numpy as np
import pytest

from worldshift.adapt.offline import OfflineConfig
from worldshift.agents import draw
from worldshift.agents.draw import DrawConfig
from worldshift.agents.draw_agent import DrawAgent
from worldshift.agents.imagination import ActorCriticConfig
from worldshift.data.episodes import Episode, Episodes
from worldshift.data.replay import Replay
from worldshift.models.draw import Draw
from worldshift.run.offline.adapt import adapt_offline

CELLS, SWAPPED, DOOR, CHAMBER = 8, 4, 6, 8
"""Cells of the corridor; the first ones are swapped in the target; where the chamber is entered; its number."""
STEPS = 24
OPTIMUM = STEPS - DOOR
"""Six moves to the door, then a reward for every action inside."""
SHOWN = 0.3
"""While the target is recorded nobody pushes upwards more than this; the chamber takes 0.5, and to the left."""


def move(place, action, target):
    """Up and left through the door, or inside; otherwise left and right as the first action says, and walls."""
    if place in (DOOR, CHAMBER) and action[0] < 0 and action[1] > 0.5:
        return CHAMBER
    if place == CHAMBER:
        return DOOR
    right = (action[0] > 0) != (target and place < SWAPPED)
    return min(max(place + (1 if right else -1), 0), CELLS - 1)


def seen(place):
    return np.eye(CELLS + 1, dtype=np.float32)[place]


def walk(rng, target):
    """Observations, actions and rewards under random actions from a random place."""
    places, actions = [int(rng.integers(CELLS if target else CELLS + 1))], []
    for _ in range(STEPS):
        actions.append((rng.uniform(-1, 1), rng.uniform(-1, SHOWN if target else 1)))
        places.append(move(places[-1], actions[-1], target))
    rewards = np.asarray(places[1:]) == CHAMBER
    return seen(places), np.asarray(actions, np.float32), rewards.astype(np.float32)


@pytest.fixture(scope="module")
def source():
    """A world model of the untouched corridor, from random walks."""
    rng, replay = np.random.default_rng(0), Replay(CELLS + 1, 2, 10_000)
    for _ in range(200):
        replay.add(*walk(rng, target=False), terminated=False)
    brief = ActorCriticConfig(horizon=2)
    config = DrawConfig(length=8, starts=8, explore=False, free_nats=0.0, precision="float32", task=brief)
    model = Draw(CELLS + 1, 2, key=jax.random.key(0))
    state = draw.init(model, config, key=jax.random.key(1))
    for i in range(8):
        batches = replay.sample(rng, config.batch, config.length - 1, 100)
        state, _ = draw.update_many(state, batches, jax.random.key(i), config)
    return DrawAgent(state.model, state.task.nets)


@pytest.fixture(scope="module")
def data():
    """Ten walks in the target, without rewards, and without the chamber."""
    rng = np.random.default_rng(1)
    walks = [walk(rng, target=True) for _ in range(10)]
    assert not any(rewards.any() for *_, rewards in walks)
    return Episodes(tuple(Episode(obs, action) for obs, action, _ in walks), {})


def play(agent):
    """Return in the target from the first cell, mean actions."""
    place, total = 0, 0
    for _ in range(STEPS):
        action, _ = agent.act(None, seen([place]), jax.random.key(0), sample=False)
        place = move(place, np.asarray(action)[0], target=True)
        total += place == CHAMBER
    return total


def adapted(source, data, trains):
    config = OfflineConfig(
        trains=trains,
        actor="fresh",  # nobody was trained in the source
        critic="fresh",
        lead=100,
        length=8,
        starts=48,
        precision="float32",
        policy=ActorCriticConfig(horizon=15, actor_lr=1e-3),
    )
    return adapt_offline(source, data, config, updates=500, measure_every=250, seed=2)


def test_the_residual_reaches_the_optimum(source, data):
    found = adapted(source, data, "residual")
    assert play(found.agent) == OPTIMUM and found.curve[-1]["paid"] > 0.1
    assert found.curve[-1]["held_out_kl"] < 0.3 * found.curve[0]["held_out_kl"]


def test_a_replacement_does_not(source, data):
    """Whatever its policy happens to do at the door: in its dreams there is nothing to be won."""
    found = adapted(source, data, "replacement")
    assert play(found.agent) < OPTIMUM and found.curve[-1]["paid"] < 0.02
