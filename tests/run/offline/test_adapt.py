"""Offline adaptation from episodes: seeds side by side are the same as one by one, and the dynamics lead."""

from dataclasses import replace

import equinox as eqx
import jax
import numpy as np
import pytest

from worldshift.adapt.offline import OfflineConfig
from worldshift.adapt.residual import ResidualConfig
from worldshift.agents.draw_agent import DrawAgent
from worldshift.agents.imagination import ActorCritic, ActorCriticConfig
from worldshift.data.episodes import Episode, Episodes
from worldshift.models.draw import Draw
from worldshift.run.offline.adapt import adapt_offline, adapt_seeds, updates_of

CONFIG = OfflineConfig(
    lead=2,
    batch=4,
    length=6,
    starts=8,
    average=1.0,
    residual=ResidualConfig(width=16),
    policy=ActorCriticConfig(horizon=3),
    precision="float32",
)


@pytest.fixture(scope="module")
def agent():
    model = Draw(3, 1, key=jax.random.key(1))
    return DrawAgent(model, ActorCritic(model, key=jax.random.key(2)))


def episodes(seed, count=4, steps=12):
    rng = np.random.default_rng(seed)
    rows = ((rng.normal(size=(steps + 1, 3)), rng.uniform(-1, 1, (steps, 1))) for _ in range(count))
    return Episodes(tuple(Episode(o.astype(np.float32), a.astype(np.float32)) for o, a in rows), {})


def test_seeds_side_by_side_are_the_same_as_one_by_one(agent):
    data, told = [episodes(1), episodes(2)], []
    together = adapt_seeds(
        agent,
        data,
        CONFIG,
        updates=6,
        seeds=[5, 6],
        measure_every=3,
        measure=lambda agent, place: {"place": place},
        report=lambda done, rows: told.append((done, len(rows))),
    )
    assert told == [(0, 2), (2, 2), (3, 2), (6, 2)]
    for seed, each, found in zip((5, 6), data, together, strict=True):
        alone = adapt_offline(agent, each, CONFIG, updates=6, seed=seed, measure_every=3)
        assert [row.pop("place") for row in found.curve] == [seed - 5] * 3
        for ours, theirs in zip(found.curve, alone.curve, strict=True):
            assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-4)
        ours, theirs = (jax.tree.leaves(eqx.filter(x.agent.policy, eqx.is_array)) for x in (found, alone))
        assert all(np.allclose(a, b, atol=1e-4) for a, b in zip(ours, theirs, strict=True))
    assert together[0].curve[-1] != together[1].curve[-1]


def test_what_was_adapted_records_and_all_begins_anew(agent):
    acted, told = [], []

    def record(so_far, turn):
        acted.append(so_far)
        return episodes(10 * turn, count=2)

    found = adapt_offline(
        agent, episodes(1), CONFIG, updates=8, record=record, turns=2, report=lambda done, _: told.append(done)
    )
    first = adapt_offline(agent, episodes(1), CONFIG, updates=4)
    second = adapt_offline(agent, episodes(1) + episodes(10, count=2), CONFIG, updates=4)
    last = adapt_offline(agent, episodes(1) + episodes(10, count=2) + episodes(20, count=2), CONFIG, updates=8)
    assert eqx.tree_equal(acted[0], first.agent) and eqx.tree_equal(acted[1], second.agent) and len(acted) == 2
    assert eqx.tree_equal(found.agent, last.agent) and found.curve == last.curve
    assert updates_of(8, CONFIG, 2) == [4, 4, 8] and updates_of(4, CONFIG, 1) == [3, 4]
    assert told == [0, 2, 4, 4, 6, 8, 8, 10, 16]


def test_the_dynamics_lead(agent):
    """No policy moves while they do, and the correction does."""
    config = replace(CONFIG, actor="warm")
    found = adapt_offline(agent, episodes(1), config, updates=4, measure_every=2, measure=None)
    assert "return" not in found.curve[1] and "return" in found.curve[2]
    assert found.curve[1]["held_out_kl"] != found.curve[0]["held_out_kl"]
    assert np.isfinite(found.expected_kl)
    seen = []
    adapt_offline(agent, episodes(1), config, updates=4, measure_every=2, measure=lambda a: seen.append(a.policy) or {})
    assert eqx.tree_equal(seen[0], seen[1]) and eqx.tree_equal(seen[0], agent.policy)
    assert not eqx.tree_equal(seen[1].actor, seen[2].actor)


def test_what_cannot_be_adapted_to(agent):
    with pytest.raises(ValueError, match="leave none for the policy"):
        adapt_offline(agent, episodes(1), CONFIG, updates=2, record=lambda *_: pytest.fail("it was let act"))
    with pytest.raises(ValueError, match="at least two episodes"):
        adapt_offline(agent, episodes(1, count=1), CONFIG, updates=4)
    with pytest.raises(ValueError, match="of the same shape"):
        adapt_seeds(agent, [episodes(1), episodes(2, count=5)], CONFIG, updates=4, seeds=[1, 2])


@pytest.mark.parametrize("start", ["fresh", "head", "warm"])
def test_where_the_actor_starts(agent, start):
    found = []
    config = replace(CONFIG, actor=start)
    adapt_offline(agent, episodes(1), config, updates=3, measure=lambda a: found.append(a.policy.actor) or {})
    same = [
        bool(eqx.tree_equal(a, b))
        for a, b in zip(
            (found[0].hidden, found[0].last), (agent.policy.actor.hidden, agent.policy.actor.last), strict=True
        )
    ]
    assert same == {"fresh": [False, False], "head": [True, False], "warm": [True, True]}[start]
