"""Online finetuning of TD-MPC2, the baseline that RWM is compared with: training goes on, with reward, in the new body.

As in RWM (arXiv 2505.15589) and its first author's fork: all TD-MPC2 losses, one update per agent step in a burst at
the episode's end, no planner, sampled actions, a fresh buffer or the one kept from pre-training. Optimisers and Q scale
start anew, since neither is part of an agent. Its actions stay in the policy's own range of 1: no headroom is used.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from worldshift.adapt.contract import Command, Telemetry, Transition, correction_share, finite, quiet
from worldshift.agents import tdmpc2
from worldshift.agents.agent import Agent
from worldshift.data.replay import Batch


@dataclass(frozen=True)
class FinetuneConfig:
    """The paper's setting; the learner should be the one that the agent was trained with."""

    learner: tdmpc2.LearnerConfig = field(default_factory=tdmpc2.LearnerConfig)
    update_ratio: float = 1.0
    """Updates per agent step lived."""
    capacity: int = 100_000
    """Agent steps that the fresh buffer holds; the oldest episode makes room."""

    def __post_init__(self) -> None:
        """Refuses a ratio that cannot be meant."""
        if not (np.isfinite(self.update_ratio) and self.update_ratio >= 0):
            raise ValueError(f"the update ratio must be a number of at least 0, not {self.update_ratio}.")


class Rows(NamedTuple):
    """Agent steps in a row. An episode of T steps takes T+1 rows: the last one holds only its last observation."""

    obs: Float[Array, "*R O"]
    action: Float[Array, "*R A"]
    reward: Float[Array, "*R"]
    terminated: Float[Array, "*R"]
    follows: Bool[Array, "*R"]
    """Whether the next row is what this row's action led to."""


class FinetuneState(NamedTuple):
    """The learner, what it has lived through, and the episode so far."""

    learner: tdmpc2.LearnerState
    fresh: Rows  # (episodes, T+1, ...), a ring
    episode: Rows  # (T+1, ...)
    steps: Int[Array, ""]
    episodes: Int[Array, ""]
    key: PRNGKeyArray


class Finetune(eqx.Module):
    """Trains the whole agent online, behind the online-adapter contract."""

    uses_reward: ClassVar[bool] = True

    agent: Agent
    kept: Rows | None
    episode_steps: int = eqx.field(static=True)
    config: FinetuneConfig = eqx.field(static=True)

    def __init__(
        self,
        agent: Agent,
        episode_steps: int,
        config: FinetuneConfig = FinetuneConfig(),
        kept: Mapping[str, np.ndarray] | None = None,
    ):
        """`kept` is the buffer of the pre-training, as `Replay.arrays` gives it: then both are sampled as one.

        Raises:
            ValueError: episodes that are shorter than the horizon or do not fit the buffer, or a kept buffer of
                another body.
        """
        if not config.learner.horizon <= episode_steps <= config.capacity:
            raise ValueError(
                f"an episode must have between {config.learner.horizon} steps (the horizon) and {config.capacity} (the "
                f"buffer's capacity), not {episode_steps}."
            )
        self.agent, self.episode_steps, self.config = agent, episode_steps, config
        self.kept = None if kept is None else _rows_of(kept, agent)

    def init(self, key: PRNGKeyArray) -> FinetuneState:
        """The agent as it was trained, and an empty buffer."""
        model, rows = self.agent.model, self.episode_steps + 1
        blank = Rows(
            jnp.zeros((rows, model.obs_dim)),
            jnp.zeros((rows, model.action_dim)),
            jnp.zeros(rows),
            jnp.zeros(rows),
            jnp.zeros(rows, bool),
        )
        slots = self.config.capacity // self.episode_steps
        ring = jax.tree.map(lambda row: jnp.zeros((slots, *row.shape), row.dtype), blank)
        none = jnp.zeros((), jnp.int32)
        return FinetuneState(tdmpc2.init(model, self.config.learner), ring, blank, none, none, key)

    def act(self, state: FinetuneState, obs: Float[Array, " O"], key: PRNGKeyArray) -> tuple[Command, FinetuneState]:
        """An action sampled from the policy as it is now; the frozen agent's mean action stands beside it."""
        frozen, model = self.agent.model, state.learner.model
        base = frozen.mean_action(frozen.encode(obs))
        base = jnp.where(jnp.isfinite(base), base, 0.0)
        action = model.policy(model.encode(obs), key).action
        return Command(jnp.where(finite(action), action, base), base), state

    def observe(self, state: FinetuneState, transition: Transition) -> tuple[FinetuneState, Telemetry]:
        """Remembers the step. The error is that of the model as it is now, under the action that was taken."""
        command, steps, rows = transition.command, state.steps, state.episode
        seen = finite(transition.obs, command.action, transition.next_obs, transition.reward)
        over = jnp.any(rows.terminated > 0)
        usable = transition.valid & seen & ~over & (steps < self.episode_steps)
        t = jnp.where(usable, steps, self.episode_steps + 1)  # past the end, where writing does nothing
        rows = Rows(
            rows.obs.at[t].set(transition.obs, mode="drop").at[t + 1].set(transition.next_obs, mode="drop"),
            rows.action.at[t].set(command.action, mode="drop"),
            rows.reward.at[t].set(transition.reward, mode="drop"),
            rows.terminated.at[t].set(transition.terminated.astype(jnp.float32), mode="drop"),
            rows.follows.at[t].set(True, mode="drop"),
        )
        model = state.learner.model
        expected = model.predict(model.encode(transition.obs), command.action)
        error = jnp.mean((model.encode(transition.next_obs) - expected) ** 2)
        telemetry = quiet(len(command.base))._replace(
            error=jnp.where(transition.valid & jnp.isfinite(error), error, 0.0),
            correction=correction_share(command),
            guarded=~finite(transition.obs, transition.next_obs),
        )
        return state._replace(episode=rows, steps=jnp.minimum(steps + 1, self.episode_steps)), telemetry

    def finish(self, state: FinetuneState) -> FinetuneState:
        """The episode's updates, all at once; an update that leaves the finite takes the whole burst back."""
        lived = jnp.sum(state.episode.follows)
        slot = state.episodes % state.fresh.follows.shape[0]
        fresh = jax.tree.map(
            lambda ring, rows: ring.at[slot].set(jnp.where(lived > 0, rows, ring[slot])), state.fresh, state.episode
        )
        count = jnp.round(self.config.update_ratio * lived).astype(jnp.int32)
        # Body after body: batched products of N sets of weights are slower on a CPU than N products.
        burst = jax.custom_batching.sequential_vmap(
            partial(_burst, discount=self.agent.discount, config=self.config.learner)
        )
        learner = burst(state.learner, fresh, self.kept, jax.random.fold_in(state.key, state.episodes), count)
        sound = finite(*jax.tree.leaves(learner))
        return state._replace(
            learner=jax.tree.map(lambda new, old: jnp.where(sound, new, old), learner, state.learner),
            fresh=fresh,
            episode=jax.tree.map(jnp.zeros_like, state.episode),
            steps=jnp.zeros_like(state.steps),
            episodes=state.episodes + (lived > 0),
        )


def _burst(
    learner: tdmpc2.LearnerState,
    fresh: Rows,
    kept: Rows | None,
    key: PRNGKeyArray,
    count: Int[Array, ""],
    *,
    discount: float,
    config: tdmpc2.LearnerConfig,
) -> tdmpc2.LearnerState:
    """`count` updates on batches drawn from both buffers as if they were one."""
    rows = jax.tree.map(lambda ring: ring.reshape(-1, *ring.shape[2:]), fresh)
    if kept is not None:
        rows = jax.tree.map(lambda old, new: jnp.concatenate([old, new]), kept, rows)
    ends = jnp.cumsum(starts(rows.follows, config.horizon))

    def body(i: Int[Array, ""], learner: tdmpc2.LearnerState) -> tdmpc2.LearnerState:
        k_batch, k_update = jax.random.split(jax.random.fold_in(key, i))
        batch = sample(rows, ends, k_batch, config.batch, config.horizon)
        return tdmpc2.update(learner, batch, k_update, discount, config)[0]

    return jax.lax.fori_loop(0, jnp.where(ends[-1] > 0, count, 0), body, learner)


def starts(follows: Bool[Array, " R"], horizon: int) -> Bool[Array, " R"]:
    """Rows from which `horizon` steps follow without a break; an episode's last row, which nothing follows, is one."""
    whole = follows
    for ahead in range(1, horizon):
        whole &= jnp.roll(follows, -ahead)
    return whole


def sample(rows: Rows, ends: Int[Array, " R"], key: PRNGKeyArray, batch: int, horizon: int) -> Batch:
    """Sub-sequences drawn uniformly; `ends` counts the rows up to and including each that one may start from."""
    pick = jax.random.randint(key, (batch,), 0, ends[-1])
    index = jnp.searchsorted(ends, pick, side="right") + jnp.arange(horizon + 1)[:, None]
    short = index[:-1]
    return Batch(rows.obs[index], rows.action[short], rows.reward[short], rows.terminated[short])


def _rows_of(kept: Mapping[str, np.ndarray], agent: Agent) -> Rows:
    """A stored replay as rows."""
    obs, action = kept["obs"], kept["action"]
    wanted, found = (agent.model.obs_dim, agent.model.action_dim), (obs.shape[-1], action.shape[-1])
    if found != wanted:
        raise ValueError(
            f"the kept buffer has {found[0]} observations and {found[1]} actions, the agent {wanted[0]} and "
            f"{wanted[1]}: give the buffer that this agent was trained with."
        )
    follows = np.ones(len(obs), bool)
    follows[np.cumsum(np.asarray(kept["lengths"]) + 1) - 1] = False
    floats = {name: jnp.asarray(kept[name], jnp.float32) for name in ("obs", "action", "reward", "terminated")}
    return Rows(**floats, follows=jnp.asarray(follows))
