"""Pretraining of DRAW: it collects, learns and stores, and a run that was stopped goes on as if it had not been."""

import json
from dataclasses import asdict, replace

import equinox as eqx
import jax
import numpy as np
import pytest

from worldshift import checkpoint
from worldshift.adapt.offline import OfflineConfig
from worldshift.agents.draw import DrawConfig
from worldshift.agents.draw_agent import load_draw
from worldshift.agents.imagination import ActorCriticConfig
from worldshift.data.episodes import Episodes, load_episodes, save_episodes
from worldshift.models.rssm import Rssm
from worldshift.run.offline.adapt import adapt_offline
from worldshift.run.offline.record import RecordConfig, record
from worldshift.run.training.pretrain_draw import PretrainDrawConfig, pretrain_draw
from worldshift.run.training.rounds import saved_steps
from worldshift.shifts import ActionSign

BEHAVIOUR = ActorCriticConfig(horizon=3)
LEARNER = DrawConfig(batch=4, length=8, starts=8, ensemble=2, ensemble_units=16, task=BEHAVIOUR, explorer=BEHAVIOUR)
CONFIG = PretrainDrawConfig(
    agent_steps=4000,
    num_envs=2,
    updates_per_step=0.01,
    updates_per_dispatch=5,
    random_rounds=1,
    eval_every=2000,
    eval_episodes=2,
    learner=LEARNER,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("draw") / "run"
    told = []
    pretrain_draw(CONFIG, out, report=lambda steps, row: told.append((steps, row)))
    return out, told


def test_every_round_is_told_and_logged(run):
    out, told = run
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [steps for steps, _ in told] == [row["agent_steps"] for row in rows] == [1000, 2000, 3000, 4000]
    assert [row["updates"] for row in rows] == [10, 20, 30, 40]
    assert ["eval_return" in row for row in rows] == [False, True, False, True]
    assert all(np.isfinite(value) for row in rows for value in row.values())
    assert {"kl", "reconstruction", "task_return", "explorer_paid"} <= rows[-1].keys()


def test_the_agent_acts_within_its_bounds(run):
    agent, config = load_draw(run[0] / "agent")
    assert config["training"]["task"] == "pendulum-swingup" and config["agent"] == "draw"
    obs = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    for sample in (True, False):
        action = np.asarray(agent.act(None, obs, jax.random.key(0), sample=sample)[0])
        assert action.shape == (5, 1) and np.abs(action).max() <= 1


def test_stopped_and_resumed_equals_uninterrupted(run, tmp_path):
    """Bit by bit: networks, optimisers, replay, and the log but for its clock."""
    out = tmp_path / "run"
    pretrain_draw(CONFIG, out, stop_after=2000)
    pretrain_draw(CONFIG, out)
    ours, theirs = (checkpoint.load(folder / "state")[0] for folder in (out, run[0]))
    ours, theirs = ({k: v for k, v in d.items() if k != "progress/seconds"} for d in (ours, theirs))
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(np.asarray(ours[name]), np.asarray(theirs[name]), err_msg=name)
    logs = ([json.loads(x) for x in (f / "log.jsonl").read_text().splitlines()] for f in (out, run[0]))
    for mine, other in zip(*logs, strict=True):
        assert mine | {"seconds": 0} == other | {"seconds": 0}


def test_learning_rates_fall_at_the_end(tmp_path):
    """A run that ends there learns less of its last data than one that goes on; one that is done goes on when asked."""
    short = replace(CONFIG, agent_steps=2000, anneal=0.5)
    long = replace(short, agent_steps=4000)
    for name, config in (("short", short), ("long", long)):
        pretrain_draw(config, tmp_path / name, stop_after=1000)
    first = [load_draw(tmp_path / name / "agent")[0].model for name in ("short", "long")]
    assert eqx.tree_equal(*first)
    for name, config in (("short", short), ("long", long)):
        pretrain_draw(config, tmp_path / name, stop_after=2000)
    last = [load_draw(tmp_path / name / "agent")[0].model for name in ("short", "long")]
    change = [_distance(a, b) for a, b in zip(first, last, strict=True)]
    assert 0 < change[0] < 0.5 * change[1]
    pretrain_draw(replace(short, agent_steps=3000, anneal=0.0), tmp_path / "short")
    rows = (tmp_path / "short" / "log.jsonl").read_text().splitlines()
    assert [json.loads(row)["agent_steps"] for row in rows] == [1000, 2000, 3000]
    with pytest.raises(ValueError, match="anneal is a share of the run"):
        replace(CONFIG, anneal=1.5)


def _distance(a, b):
    leaves = zip(*(jax.tree.leaves(eqx.filter(m.dynamics, eqx.is_inexact_array)) for m in (a, b)), strict=True)
    return sum(float(np.abs(x - y).sum()) for x, y in leaves)


def test_another_configuration_is_refused(run):
    with pytest.raises(ValueError, match="another seed; choose another output directory"):
        pretrain_draw(replace(CONFIG, seed=2), run[0])


def test_a_task_policy_can_collect_alone(tmp_path):
    """The comparison to Plan2Explore: neither explorer nor ensemble."""
    alone = replace(CONFIG, agent_steps=1000, learner=replace(LEARNER, explore=False))
    out = pretrain_draw(alone, tmp_path / "run")
    agent, config = load_draw(out)
    assert config["training"] == json.loads(json.dumps(asdict(alone)))
    assert not any("explorer" in name for name in checkpoint.read_manifest(tmp_path / "run" / "state").leaves)
    assert eqx.tree_equal(agent.model.size, "tiny")


def test_an_oracle_is_trained_under_the_shift(tmp_path):
    """A gravity of zero leaves the pendulum where it is: what was recorded shows which body it was."""
    weightless = replace(CONFIG, agent_steps=1000, updates_per_step=0.0, shift='{"kind": "Gravity", "scale": 0.0}')
    pretrain_draw(weightless, tmp_path / "run")
    pretrain_draw(replace(weightless, shift=None), tmp_path / "plain")
    obs = [checkpoint.load(tmp_path / name / "state", part="replay")[0]["obs"] for name in ("run", "plain")]
    np.testing.assert_array_equal(obs[0][0], obs[1][0])
    assert np.abs(obs[0][100] - obs[1][100]).max() > 0.01


def test_observations_are_standardised_by_what_random_actions_showed(run, tmp_path):
    agent, _ = load_draw(run[0] / "agent")
    replay = checkpoint.load(run[0] / "state", part="replay")[0]["obs"][: 2 * 501]
    np.testing.assert_allclose(agent.model.centre, replay.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(agent.model.scale, replay.std(0), rtol=1e-4)
    plain = pretrain_draw(replace(CONFIG, agent_steps=1000, standardise=False), tmp_path / "run")
    assert (np.asarray(load_draw(plain)[0].model.scale) == 1).all()


def test_a_training_begins_from_another_agent(run, tmp_path):
    """Without updates it is the same agent, and its own policy collects from the first round on."""
    same = replace(CONFIG, agent_steps=1000, updates_per_step=0.0, begin_from=str(run[0]), task_share=1.0)
    agent, _ = load_draw(pretrain_draw(same, tmp_path / "run"))
    theirs, _ = load_draw(run[0] / "agent")
    assert eqx.tree_equal(agent, theirs)
    patient = replace(same, learner=replace(CONFIG.learner, task=replace(CONFIG.learner.task, discount=0.995)))
    agent, _ = load_draw(pretrain_draw(patient, tmp_path / "patient"))
    assert agent.policy.discount == 0.995 != theirs.policy.discount, "its own, not that of whom it begins from"
    with pytest.raises(ValueError, match="another body"):
        pretrain_draw(replace(same, task="reacher-easy"), tmp_path / "other")


def test_what_was_recorded_is_learned_from_too(tmp_path):
    """Episodes with rewards are in the replay from the beginning, and once only; others are refused in a sentence."""

    def recorded(name, task="pendulum-swingup", rewards=True):
        save_episodes(tmp_path / name, record(RecordConfig(task, None, 700, "random", rewards=rewards), None), {})
        return str(tmp_path / name)

    config = replace(CONFIG, agent_steps=2000, data=recorded("data"))
    out, steps = tmp_path / "run", []
    pretrain_draw(config, out, stop_after=1000)
    pretrain_draw(config, out, report=lambda done, row: steps.append(done))
    assert steps == [2000]
    replay, _ = checkpoint.load(out / "state", kind="training", part="replay")
    assert replay["lengths"].tolist() == [500, 200, 500, 500, 500, 500]
    np.testing.assert_array_equal(replay["obs"][:501], load_episodes(tmp_path / "data").episodes[0].obs)
    with pytest.raises(ValueError, match="has no rewards"):
        pretrain_draw(replace(config, data=recorded("bare", rewards=False)), out, resume=False)
    assert saved_steps(out) == 2000, "what was there is not thrown away for data that cannot be used"
    with pytest.raises(ValueError, match="7 observations and 2 actions, the task 3 and 1"):
        pretrain_draw(replace(config, data=recorded("arm", "reacher-easy")), tmp_path / "b")


def test_who_collects(tmp_path):
    """Explorer and task policy differ in what they do from the same poses; their shares are as asked for."""
    actions = {}
    for share in (0.0, 0.5, 1.0):
        config = replace(CONFIG, agent_steps=2000, task_share=share, updates_per_step=0.0)
        pretrain_draw(config, tmp_path / str(share))
        rows = checkpoint.load(tmp_path / str(share) / "state", part="replay")[0]["action"]
        actions[share] = rows.reshape(2, 2, 501)[1]  # the second round, by environment
    np.testing.assert_array_equal(actions[0.5][0], actions[1.0][0])
    np.testing.assert_array_equal(actions[0.5][1], actions[0.0][1])
    assert np.abs(actions[0.0] - actions[1.0]).max() > 0.1
    with pytest.raises(ValueError, match="task_share"):
        replace(CONFIG, task_share=1.5)


@pytest.mark.parametrize("wrong", [{"agent_steps": 0}, {"num_envs": 0}, {"updates_per_step": -1.0}])
def test_numbers_that_cannot_be_meant(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(CONFIG, **wrong)


def test_a_recurrent_model_trains_acts_and_is_adapted(tmp_path):
    """The baseline from end to end: its memory lives through episodes, and only a finetune can adapt it."""
    path = pretrain_draw(replace(CONFIG, model="rssm"), tmp_path / "run")
    agent, config = load_draw(path)
    assert isinstance(agent.model, Rssm) and config["model"] == "rssm"
    obs = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    action, memory = agent.act(None, obs, jax.random.key(0), sample=False)
    again, later = agent.act(memory, obs, jax.random.key(0), sample=False)
    assert action.shape == again.shape == (5, 1) and not np.array_equal(memory.latent.belief, later.latent.belief)
    episodes = tuple(record(RecordConfig("pendulum-swingup", ActionSign(), 1500, "random"), None))
    finetune = OfflineConfig(trains="dynamics", lead=1, batch=4, length=8, starts=8)
    before = jax.tree.map(np.asarray, eqx.filter(agent.model, eqx.is_array))
    adapted = adapt_offline(agent, Episodes(episodes, {}), finetune, updates=4, measure_every=2)
    assert np.isfinite([row["held_out_kl"] for row in adapted.curve]).all()
    after = eqx.filter(adapted.dynamics, eqx.is_array)
    assert not np.array_equal(after.gates.linear.weight, before.gates.linear.weight)
    assert not np.array_equal(after.posterior.last.weight, before.posterior.last.weight)
    for part in ("encoder", "decoder", "reward_head"):
        for ours, theirs in zip(
            jax.tree.leaves(getattr(after, part)), jax.tree.leaves(getattr(before, part)), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(ValueError, match="a residual needs DRAW's model"):
        adapt_offline(agent, Episodes(episodes, {}), replace(finetune, trains="residual"), updates=4)
