"""Collects what an agent does on the healthy body, for a calibration: it walks while its commands are gently excited.

Every second or so some bodies get new self-made gains and some noise on their commands; what was sent to the plant is
recorded beside the base action. One third of the bodies is never excited: they show the healthy body as it is.
`healthy_replay` collects undisturbed episodes with rewards instead, for a finetune that keeps a buffer.
"""

from collections.abc import Callable

import jax
import numpy as np

from worldshift import envs
from worldshift.adapt.calibrate import Recording
from worldshift.agents.agent import Agent
from worldshift.data.replay import Replay
from worldshift.run.lives import Lives


def collect(
    agent: Agent,
    task: str,
    *,
    bodies: int = 36,
    steps: int = 1500,
    seed: int = 0,
    excite: bool = True,
    threads: int = 1,
    report: Callable[[int], None] | None = None,
) -> Recording:
    """`steps` agent steps of `bodies` healthy bodies; episodes are staggered and resets marked invalid."""
    batch = envs.BatchEnv([lambda: envs.make(task)] * bodies, threads=threads)
    rng = np.random.default_rng([seed, 11])
    length = int(batch.envs[0].get_wrapper_attr("episode_steps"))
    limit = np.asarray(getattr(batch.action_space, "high"))  # noqa: B009 - a Box, as every adapter of ours has
    actions = len(limit)
    excited = np.arange(bodies) >= (bodies // 3 if excite else bodies)
    gains, noise = np.ones((bodies, actions)), np.zeros((bodies, 1))
    obs, memory, key = (
        batch.reset(rng.integers(2**31, size=bodies).tolist()),
        agent.init_memory(bodies),
        jax.random.key(seed),
    )
    age = rng.integers(0, length, bodies)
    rows: list[tuple[np.ndarray, ...]] = []
    for t in range(steps):
        if t % 20 == 0:
            change = excited & (rng.random(bodies) < 0.4)
            gains[change] = rng.uniform(0.4, 1.6, (bodies, actions))[change]
            noise[change] = rng.choice([0.05, 0.15, 0.3], (bodies, 1))[change]
        base, memory = agent.act(memory, obs, jax.random.fold_in(key, t))
        base = np.asarray(base)
        sent = np.clip(base * gains + noise * rng.normal(size=base.shape), -limit, limit).astype(np.float32)
        step = batch.step(sent)
        rows.append((obs, base, sent, step.obs, gains.copy(), ~step.terminated))
        obs, age = step.obs.copy(), age + 1
        for i in np.flatnonzero((age >= length) | step.terminated | step.truncated):
            obs[i], age[i] = batch.reset([int(rng.integers(2**31))], only=[int(i)])[0], 0
            memory = agent.reset_memory(memory, int(i))
        if report:
            report(t + 1)
    batch.close()
    fields = [np.stack(column, axis=1).astype(np.float32) for column in zip(*rows, strict=True)]
    return Recording(*fields, excited=excited)


def healthy_replay(agent: Agent, task: str, *, steps: int = 10_000, bodies: int = 10, seed: int = 0) -> Replay:
    """Episodes of the healthy body under sampled actions, at least `steps` agent steps in all.

    It stands for the buffer of pre-training, which no agent is shipped with.
    """
    batch = envs.BatchEnv([lambda: envs.make(task)] * bodies)
    replay = Replay(agent.model.obs_dim, agent.model.action_dim)
    lives, memory, key = (
        Lives(batch, replay, range(seed, seed + bodies)),
        agent.init_memory(bodies),
        jax.random.key(seed),
    )
    length = -(-steps // bodies)
    for t in range(length):
        action, memory = agent.explore(memory, lives.obs, jax.random.fold_in(key, t))
        for i in lives.step(np.asarray(action), last=t == length - 1):
            memory = agent.reset_memory(memory, i)
    batch.close()
    return replay
