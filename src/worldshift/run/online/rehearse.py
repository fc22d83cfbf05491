"""Trains RMA's context encoder: bodies of random gains, lived through by the very policy that the encoder informs.

As in RMA (arXiv 2107.04034, sec. 3.2): the encoder is trained on the steps that its own policy makes, in rounds of
collecting and regression, since a policy that is misinformed goes elsewhere. Each motor has a gain of its own, drawn
anew every few seconds from the range of RWM's step perturbations; in between the body is healthy for a while.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from worldshift import envs, zoo
from worldshift.adapt.bounds import Frozen
from worldshift.adapt.context import ContextConfig, ContextEncoder, ContextPolicy, Rehearsal, fit_context
from worldshift.adapt.contract import OnlineAdapter, Transition
from worldshift.run.online.protocol import control, decide, start
from worldshift.shifts import ActuatorGain, Shifted, StepOnOff, Uniform

GAINS = ActuatorGain(Uniform(-0.5, 0.5))
ON, OFF = 250, 80
"""Agent steps for which a draw lasts, and between draws."""
FIRST = 50_000
"""Of the seeds of draws: no study's and no tuning's are met in training."""


PLAIN = ContextConfig()


@lru_cache(maxsize=1)
def context_encoder(
    agent: Path, *, bodies: int = 32, rounds: int = 8, steps: int = 500, config: ContextConfig = PLAIN
) -> ContextEncoder:
    """The encoder of an agent, by its checkpoint, kept for the next who asks: `rounds` of `steps` steps of all bodies.

    Each round's regression is over all steps so far, with an equal share of `config.updates`.
    """
    shipped = zoo.load(agent, calibrated=False)
    share = replace(config, updates=config.updates // rounds)
    lives = Lives(shipped.task, bodies, config.seed)
    seen = [lives.go_on(Frozen(shipped.agent), steps)]
    encoder = fit_context(joined(seen), share)
    for _ in range(1, rounds):
        seen.append(lives.go_on(ContextPolicy(shipped.agent, encoder), steps))
        encoder = fit_context(joined(seen), share, encoder)
    lives.close()
    return encoder


class Lives:
    """Bodies whose gains come and go, episode after episode, no two of them at the same time."""

    def __init__(self, task: str, bodies: int, seed: int):
        self.rng, self.key = np.random.default_rng([seed, 13]), jax.random.key(seed)
        starts = [StepOnOff(i * (ON + OFF) // bodies, ON, OFF) for i in range(bodies)]
        self.bodies = [Shifted(envs.make(task), GAINS, s, seed=FIRST + seed + i) for i, s in enumerate(starts)]
        self.batch = envs.BatchEnv([lambda body=body: body for body in self.bodies])
        self.obs = self.batch.reset(self.rng.integers(2**31, size=bodies).tolist())

    def go_on(self, adapter: OnlineAdapter, steps: int) -> Rehearsal:
        """`steps` agent steps of every body, under an adapter that meets them for the first time."""
        n, rows, (self.key, key) = len(self.bodies), [], jax.random.split(self.key)
        state, pending = start(adapter, jax.random.split(key, n)), None
        for t in range(steps):
            keys = jax.random.split(jax.random.fold_in(key, t), n)
            obs = jnp.asarray(self.obs)
            if pending is None:
                command, state = decide(adapter, state, obs, keys)
            else:
                command, state, _ = control(adapter, state, pending, obs, keys)
            gains = np.stack([_gains(body, command.base.shape[1]) for body in self.bodies])
            step = self.batch.step(np.asarray(command.action))
            after = step.obs.copy()  # resets below write over it
            rows.append((self.obs, command.action, after, gains))
            lived = (jnp.asarray(x) for x in (after, np.ones(n, bool), step.reward, step.terminated))
            pending = Transition(obs, command, *lived)
            self.obs = step.obs
            for i in np.flatnonzero(step.terminated | step.truncated):
                self.obs[i] = self.batch.reset([int(self.rng.integers(2**31))], only=[int(i)])[0]
        return Rehearsal(*(np.stack(column, 1).astype(np.float32) for column in zip(*rows, strict=True)))

    def close(self) -> None:
        """Closes the bodies."""
        self.batch.close()


def joined(seen: Sequence[Rehearsal]) -> Rehearsal:
    """One after another."""
    return Rehearsal(*(np.concatenate(x, 1) for x in zip(*seen, strict=True)))


def _gains(body: Shifted, actions: int) -> np.ndarray:
    known = body.action_matrix()
    return np.ones(actions) if known is None else np.diagonal(known[0])
