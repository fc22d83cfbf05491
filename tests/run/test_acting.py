"""What a model reads that its agent was paid, against what it was paid: a shipped pendulum at home and reversed."""

import numpy as np
import pytest

from worldshift import zoo
from worldshift.data.episodes import Episodes
from worldshift.run.acting import Acting, read_returns
from worldshift.run.appraisal import evaluate_draw
from worldshift.run.offline.record import RecordConfig, record
from worldshift.run.pairs import PAIRS

PENDULUM = PAIRS["pendulum-reversed"]
SOURCE, ORACLE = "draw-pendulum-swingup-1", "draw-pendulum-reversed-1"


def _recorded(agent, shift, *, rewards):
    config = RecordConfig(PENDULUM.task, shift, 600, "policy", 200, rewards=rewards, seed=3, num_envs=3)
    return Episodes(tuple(record(config, Acting(agent, 3))), {})


@pytest.mark.parametrize(("who", "where"), [(SOURCE, None), (SOURCE, PENDULUM.shift), (ORACLE, PENDULUM.shift)])
def test_the_sources_model_reads_what_was_paid(who, where):
    """Of an agent at home, of one that fails in the target, and of one that was trained there."""
    source, agent = (zoo.load_dreamer(name)[0] for name in (SOURCE, who))
    data = _recorded(agent, where, rewards=True)
    paid = np.asarray([e.reward.sum() for e in data.episodes])
    read = read_returns(source.model, data)
    assert np.abs(read - paid).max() < 25  # of 200
    assert paid.max() < 1 if who == SOURCE and where else paid.min() > 20
    bare = Episodes(tuple(e._replace(reward=None) for e in data.episodes), {})
    np.testing.assert_array_equal(read_returns(source.model, bare), read)


def test_who_acts_reads_the_same_as_from_recordings():
    """But for the last moment, and for the latents, which are samples."""
    agent = zoo.load_dreamer(SOURCE)[0]
    act, plain = Acting(agent, 3, reads=True), Acting(agent, 3)
    data = _recorded(agent, None, rewards=False)
    for t in range(200):
        obs = np.stack([e.seen[t] for e in data.episodes[:3]])
        np.testing.assert_array_equal(act(obs, t), plain(obs, t))
    lengths = np.asarray([200, 200, 100])
    whole = read_returns(agent.model, Episodes(data.episodes[:3], {}))
    read = act.returns(lengths)
    assert np.abs(read[:2] - whole[:2]).max() < 5 and read[2] < whole[2] + 1
    act(obs, 0)
    act(obs, 1)
    assert act.returns(np.asarray([2, 2, 1]))[2] == 0  # another episode: nothing is left of the one before


def test_a_recurrent_model_reads_as_well():
    agent = zoo.load_dreamer("rssm-pendulum-swingup-1")[0]
    data = _recorded(agent, None, rewards=True)
    paid = np.asarray([e.reward.sum() for e in data.episodes])
    assert np.abs(read_returns(agent.model, data) - paid).mean() < 25


def test_an_evaluation_says_what_the_model_read():
    found = evaluate_draw(zoo.load_dreamer(SOURCE)[0], PENDULUM.task, episodes=2, seed=5)
    assert found["mean"] > 200 and abs(found["read"] - found["mean"]) < 40


def test_episodes_of_another_body_are_refused():
    config = RecordConfig(PENDULUM.task, None, 40, "random", 20, num_envs=2)
    data = Episodes(tuple(record(config, None)), {})
    with pytest.raises(ValueError, match="data has 3 observations and 1 actions, the model 8 and 2"):
        read_returns(zoo.load_dreamer("draw-cup-catch-1")[0].model, data)
