"""Offline adaptation from episodes to an adapted agent: updates in dispatches, a held-out error, a learning curve.

ReDRAW (arXiv 2504.02252). The curve is by number of updates, never by the clock. Returns in the target are measured
only where the caller has the target at hand (a simulation); nothing that is trained depends on them.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from worldshift import checkpoint
from worldshift.adapt import offline
from worldshift.adapt.offline import OfflineConfig, OfflineState
from worldshift.adapt.residual import Corrected
from worldshift.agents.draw import DrawAgent, save_agent
from worldshift.data.episodes import Episodes

DISPATCH = 100
"""Updates in one dispatch."""


class Adapted(NamedTuple):
    """What an adaptation gives back."""

    agent: DrawAgent
    """The frozen encoder and the new policy: all that is deployed."""
    dynamics: Any
    """The corrected world model."""
    curve: list[dict[str, float]]
    """A row per measurement: updates, kl (training windows), held_out_kl, and what the caller measured."""


def adapt_offline(
    agent: DrawAgent,
    data: Episodes,
    config: OfflineConfig,
    *,
    updates: int,
    seed: int = 0,
    measure_every: int = 500,
    measure: Callable[[DrawAgent], dict[str, float]] | None = None,
    report: Callable[[int, dict[str, float]], None] | None = None,
) -> Adapted:
    """Adapts `agent` to the body that `data` was recorded on.

    Arguments:
        updates: of the dynamics and of the policy, each.
        measure: what is measured of an agent every `measure_every` updates, before the first and after the last too.
        report: called with (updates, curve row or logs) after every dispatch.

    Raises:
        ValueError: data of another body, too short episodes, or fewer than two of them.
    """
    if len(data.episodes) < 2:
        raise ValueError("an adaptation needs at least two episodes: one of them is held out to measure on.")
    key = jax.random.key(seed)
    k_split, k_init, k_run, k_measure = jax.random.split(key, 4)
    held = offline.hold_out(len(data.episodes), config.held_out, k_split)
    pick = lambda which: ((e.seen, e.action) for e, w in zip(data.episodes, which, strict=True) if w)  # noqa: E731
    keep = config.trains == "everything"  # else the encoder stays what it is, and what it made of them will do
    target = offline.observe(agent.model, pick(~held), config.length, keep=keep)
    unseen = offline.observe(agent.model, pick(held), config.length, keep=keep)
    state, curve, logs = offline.init(agent, config, key=k_init), [], {}

    def look(state: OfflineState) -> dict[str, float]:
        error = offline.held_out_kl(state.dynamics, unseen, k_measure, config.length)
        row = {"updates": int(state.updates), "held_out_kl": float(error)}
        row |= {name: float(value) for name, value in logs.items()}
        return row | (measure(offline.agent_of(state)) if measure else {})

    curve.append(look(state))
    if report:
        report(0, curve[-1])
    while (done := int(state.updates)) < updates:
        count = min(DISPATCH, updates - done, measure_every - done % measure_every)
        left = (1 - done / updates) / config.anneal if config.anneal else 1.0
        rate = jnp.clip(left, 0.1, 1.0)
        key = jax.random.fold_in(k_run, done)
        state, logs = offline.update_many(state, agent.model, target, key, config, count, rate)
        done += count
        if done % measure_every == 0 or done >= updates:
            curve.append(look(state))
        if report:
            report(done, curve[-1] if curve[-1]["updates"] == done else {k: float(v) for k, v in logs.items()})
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(eqx.filter(state, eqx.is_inexact_array))):
        raise ValueError("the adaptation left the finite numbers; lower the learning rate. Nothing was written.")
    return Adapted(offline.agent_of(state), state.dynamics, curve)


def save_adapted(path: str | os.PathLike[str], adapted: Adapted, training: dict[str, Any]) -> None:
    """Writes `agent/` (what acts) and, where there is one, `residual/` (the network that corrects the dynamics)."""
    save_agent(adapted.agent, Path(path) / "agent", training)
    if isinstance(adapted.dynamics, Corrected):
        arrays = eqx.filter(adapted.dynamics.network, eqx.is_array)
        checkpoint.save(Path(path) / "residual", arrays, kind="residual", config=training)
