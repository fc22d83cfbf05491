"""The protocol: every method lives the same life, and what is written down is what happened."""

from importlib.resources import files

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldshift.adapt.bounds import Frozen, Oracle
from worldshift.adapt.contract import Command, quiet
from worldshift.adapt.finetune import Finetune, FinetuneConfig
from worldshift.adapt.reflex import Reflex
from worldshift.agents.agent import Agent
from worldshift.agents.tdmpc2 import LearnerConfig
from worldshift.models.latent import WorldModel
from worldshift.run.online.protocol import Body, Protocol, control_step_ms, make_body, read_rows, run_method, write_rows
from worldshift.shifts import ActuatorGain, DeadZone, Uniform

LIFE = Protocol("point-mass", nominal=20, on=30, off=20, cycles=2, episode_steps=25, offset=10, block=5)
FAULT = ActuatorGain(Uniform(-0.5, 0.5))
BODIES = [Body(0, 0), Body(1, 0), Body(1, 7)]
LEAD, ON, OFF = slice(0, 4), slice(4, 10), slice(10, 14)  # blocks of the first cycle


@pytest.fixture(scope="module")
def pusher() -> Agent:
    """An untrained agent of the point mass whose actions are anything but zero."""
    model = WorldModel(4, 2, size=1, key=jax.random.key(0))
    return Agent(eqx.tree_at(lambda m: m.policy_head.last.weight, model, replace_fn=lambda w: 8 * w))


@pytest.fixture(scope="module")
def frozen_rows(pusher):
    return run_method(Frozen(pusher), LIFE, FAULT, BODIES)


def column(rows, name):
    return np.asarray([row[name] for row in rows])


def test_a_life_can_be_lived_again(pusher, frozen_rows):
    assert run_method(Frozen(pusher), LIFE, FAULT, BODIES) == frozen_rows
    assert run_method(Frozen(pusher), LIFE, FAULT, BODIES, threads=2) == frozen_rows


def test_rows_say_who_they_are_and_are_as_long_as_the_life(frozen_rows):
    assert [(row["fault"], row["seed"]) for row in frozen_rows] == [(0, 0), (1, 0), (1, 7)]
    for name in ("reward", "left", "wrong", "error", "score", "correction", "guarded", "matched"):
        assert column(frozen_rows, name).shape == (3, LIFE.steps // LIFE.block)
    assert column(frozen_rows, "gain").shape == (3, LIFE.steps // LIFE.block, 2)


def test_blocks_are_the_means_of_a_loop_by_hand(pusher, frozen_rows):
    """One body, one environment, nothing compiled together: the same numbers."""
    env, model = make_body(LIFE, FAULT, BODIES[1]), pusher.model
    act = eqx.filter_jit(lambda obs: model.mean_action(model.encode(obs)))
    seen = {name: [] for name in ("reward", "left", "wrong", "error")}
    obs, age, fault = env.reset(seed=0)[0], LIFE.offset, (np.eye(2), np.zeros(2))
    for _ in range(LIFE.steps):
        matrix, offset = env.action_matrix()
        base = np.asarray(act(jnp.asarray(obs)))
        after, reward, _, _, info = env.step(base)
        if info["shift"]["active"]:
            fault = matrix, offset
        reference = model.predict(model.encode(jnp.asarray(obs)), jnp.asarray(base))
        seen["reward"].append(reward)
        seen["left"].append(np.sum((info["plant_action"] - base) ** 2))
        seen["wrong"].append(np.sum((fault[0] @ base + fault[1] - base) ** 2))
        seen["error"].append(float(jnp.mean((model.encode(jnp.asarray(after)) - reference) ** 2)))
        obs, age = after, age + 1
        if age == LIFE.episode_steps:
            obs, age = env.reset(seed=0)[0], 0
    for name, values in seen.items():
        blocks = np.asarray(values).reshape(-1, LIFE.block).mean(1)
        # The last step of all is decided on, but nothing follows from which its error could be heard.
        whole = slice(None, -1) if name == "error" else slice(None)
        np.testing.assert_allclose(frozen_rows[1][name][whole], blocks[whole], rtol=1e-3, atol=1e-9, err_msg=name)


def test_the_fault_acts_in_its_phases_and_is_drawn_for_each(frozen_rows):
    left, wrong = column(frozen_rows, "left"), column(frozen_rows, "wrong")
    assert not left[:, LEAD].any() and not wrong[:, LEAD].any()
    np.testing.assert_allclose(left[:, ON], wrong[:, ON], rtol=1e-4)
    assert (wrong[:, ON] > 0).all() and not left[:, OFF].any() and (wrong[:, OFF] > 0).all()
    np.testing.assert_allclose(left[1], left[2], rtol=1e-4)  # the same fault, from a start that is always the same
    assert np.abs(left[0] - left[1])[ON].max() > 1e-4, "another fault number is another draw"
    first, second = left[0, 4:10].sum(), left[0, 14:20].sum()
    assert abs(first - second) > 1e-4, "each ON phase draws anew"


def test_without_a_fault_life_is_healthy(pusher):
    healthy = run_method(Frozen(pusher), LIFE, None, BODIES[:1])
    assert not column(healthy, "left").any() and not column(healthy, "wrong").any()


@pytest.mark.parametrize("p", [Uniform(-0.5, 0.5), -0.5])
def test_the_oracle_leaves_nothing_wrong_at_the_plant(pusher, p):
    rows = run_method(Oracle(pusher), LIFE, ActuatorGain(p), BODIES)
    assert column(rows, "left")[:, ON].sum() < 1e-4 * column(rows, "wrong")[:, ON].sum()
    assert column(rows, "left")[:, OFF].sum() < 1e-6


def test_where_there_is_no_action_map_the_oracle_does_nothing(pusher):
    corrections = []
    watch = lambda t, envs, command: corrections.append(np.asarray(command.action - command.base))  # noqa: E731
    run_method(Oracle(pusher), LIFE, DeadZone(0.1), BODIES[:1], watch=watch)
    assert len(corrections) == LIFE.steps and np.abs(corrections).max() < 1e-5


class Diary(eqx.Module):
    """Sends one command for ever, and reports an observation channel as its error and the steps it was told of."""

    agent: Agent
    command: jax.Array
    channel: int = eqx.field(static=True)

    def init(self, key):
        return jnp.zeros(())

    def act(self, state, obs, key):
        return Command(self.command, self.command), state

    def observe(self, state, transition):
        actions = len(self.command)
        return state + 1, quiet(actions)._replace(error=transition.obs[self.channel], score=state)

    def finish(self, state):
        return jnp.zeros_like(state)


def test_all_methods_start_from_the_same_poses():
    """On a body whose starts are drawn: whatever a method does, each episode begins where it begins for the others."""
    life = Protocol("gym:Reacher-v5", nominal=10, on=10, off=10, episode_steps=10, offset=0, block=1)
    agent = Agent(WorldModel(10, 2, size=1, key=jax.random.key(0)))
    rows = [
        column(run_method(Diary(agent, jnp.full(2, push), channel), life, None, [Body(0, 0), Body(5, 1)]), "error")
        for push in (0.9, -0.4)
        for channel in (0, 4)  # how the arm stands, and where its target is
    ]
    starts = slice(None, None, life.episode_steps)
    for one, other in ((rows[0], rows[2]), (rows[1], rows[3])):
        np.testing.assert_array_equal(one[:, starts], other[:, starts])
    assert np.abs(rows[0] - rows[2])[:, 5].min() > 0.01, "in between they do different things"
    target = rows[1][:, starts]
    assert len(np.unique(target)) == target.size, "each seed and each episode has a start of its own"


def test_every_step_is_heard_once_and_each_episode_is_finished(pusher):
    life = Protocol("point-mass", nominal=15, on=15, off=10, episode_steps=15, offset=5, block=1)
    done, watched = [], []
    rows = run_method(
        Diary(pusher, jnp.full(2, 0.1), 0),
        life,
        None,
        BODIES[:1],
        report=done.append,
        watch=lambda t, envs, command: watched.append((t, len(envs), command.action.shape)),
    )
    ages = np.concatenate([np.arange(10), np.arange(15), np.arange(15)])
    np.testing.assert_array_equal(rows[0]["score"], ages)
    assert done == list(range(1, 41)) and watched == [(t, 1, (1, 2)) for t in range(40)]


@pytest.mark.parametrize("method", ["paper", "finetune"])
def test_methods_that_learn_at_an_episodes_end_do(pusher, method):
    if method == "paper":
        adapter = Reflex(pusher, LIFE.episode_steps)
    else:
        adapter = Finetune(pusher, LIFE.episode_steps, FinetuneConfig(LearnerConfig(batch=8), update_ratio=0.2))
    rows = run_method(adapter, LIFE, FAULT, BODIES[:2])
    assert all(np.isfinite(row["reward"]).all() for row in rows)
    share = column(rows, "correction")
    if method == "paper":
        assert 0 < share[:, 0].max() < share[:, -2].min()
    else:
        assert share.min() > 1e-3, "a sampled action is never the mean action"


def test_a_control_step_takes_time(pusher):
    assert 0.001 < control_step_ms(Frozen(pusher), 4, repeats=5) < 1000


HEADER = {"protocol": {"on": 30}, "note": "ein Kopf, eine Zeile: µ"}
ROWS = [{"fault": 0, "reward": [0.5, 1.25]}, {"fault": 1, "reward": [-1e-9, 3e8]}]


def test_rows_are_read_back_as_they_were_written(tmp_path):
    path = tmp_path / "deep" / "rows.jsonl"
    for rows in (ROWS, ROWS[:1], []):
        write_rows(path, HEADER, rows)
        assert read_rows(path) == (HEADER, rows)
        assert [p.name for p in path.parent.iterdir()] == ["rows.jsonl"]


def test_what_is_no_number_is_not_written(tmp_path):
    write_rows(tmp_path / "rows.jsonl", HEADER, ROWS)
    with pytest.raises(ValueError):
        write_rows(tmp_path / "rows.jsonl", HEADER, [{"reward": [float("nan")]}])
    assert read_rows(tmp_path / "rows.jsonl") == (HEADER, ROWS)


def test_a_file_that_was_cut_short_is_refused(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_rows(path, HEADER, ROWS)
    whole = path.read_text()
    path.write_text(whole[:-10])
    with pytest.raises(ValueError, match=r"rows\.jsonl, line 3: .* cut short"):
        read_rows(path)
    path.write_text(whole[whole.index("\n") + 1 :])
    with pytest.raises(ValueError, match="does not begin with a header"):
        read_rows(path)
    path.write_text("")
    with pytest.raises(ValueError, match="does not begin with a header"):
        read_rows(path)


# The shipped walker, from end to end

SHIPPED = files("worldshift") / "zoo" / "walker-walk-1"
"""Trained agent and calibration, as they come with the package."""


@pytest.mark.skipif(not SHIPPED.is_dir(), reason="no walker-walk-1 in the zoo")
def test_the_shipped_walker_adapts_within_ten_seconds():
    """Motors weakened mid-walk: after 10 s of body time less than half of the wrong is left; health costs nothing."""
    from worldshift.adapt.calibrate import load_calibration
    from worldshift.adapt.fast_reflex import FastReflex
    from worldshift.agents.agent import load_agent

    agent, _ = load_agent(str(SHIPPED / "agent"))
    reflex = FastReflex(agent, load_calibration(str(SHIPPED / "calibration")))
    life = Protocol("walker-walk", nominal=100, on=240, off=20, episode_steps=10**6, offset=0)
    fault, bodies = ActuatorGain((-0.4, 0.3, -0.2, 0.2, -0.4, 0.3)), [Body(0, seed) for seed in range(4)]
    rows = run_method(reflex, life, fault, bodies)
    late = slice(300 // life.block, 340 // life.block)  # from 10 s to 12 s after the onset
    left, wrong = (column(rows, name)[:, late].sum(1) for name in ("left", "wrong"))
    assert np.median(np.sqrt(left / wrong)) < 0.5
    frozen, adapted = (
        column(run_method(adapter, life, None, bodies), "reward").mean() for adapter in (Frozen(agent), reflex)
    )
    assert 0.9 < adapted / frozen < 1.1
