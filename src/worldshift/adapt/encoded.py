"""Recorded episodes as a frozen encoder sees them: posteriors computed once, windows of them, episodes held out.

ReDRAW (arXiv 2504.02252) adapts the dynamics alone, so what the encoder makes of the target data never changes; its
published code computes it in every batch.
"""

from collections.abc import Iterable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from worldshift.models.draw import Draw
from worldshift.models.rssm import Rssm


class Windows(NamedTuple):
    """B stretches of T moments."""

    log_posterior: Float[Array, "T B G C"] | None
    """Of the source's encoder; None where the model is recurrent, and recognises a moment by those before."""
    action: Float[Array, "T1 B A"]
    obs: Float[Array, "T B O"] | None


class Target(NamedTuple):
    """The target data as the frozen encoder sees it: all episodes one after another."""

    log_posterior: Float[Array, "R G C"] | None
    action: Float[Array, "R A"]  # of an episode's last row: zeros
    obs: Float[Array, "R O"] | None
    """Kept only where an encoder trains, or the model is recurrent."""
    starts: Int[Array, " S"]
    """Rows from which a whole window follows within one episode."""


def observe(
    model: Draw, episodes: Iterable[tuple[np.ndarray, np.ndarray]], length: int, *, keep: bool = False
) -> Target:
    """Encodes episodes of observations (T+1, O) and actions (T, A) once and for all; with `keep` they stay at hand.

    Raises:
        ValueError: no episode is as long as a window, or the numbers do not fit the model.
    """
    rows, actions, seen, starts, at = [], [], [], [np.zeros(0, int)], 0
    recurrent = isinstance(model, Rssm)
    infer = eqx.filter_jit(lambda obs: model.infer(model.embed(obs)))
    for obs, action in episodes:
        model.check_body(obs, action)
        if not recurrent:
            rows.append(np.asarray(infer(jnp.asarray(obs))))
        actions.append(np.concatenate([action, np.zeros_like(action[:1])]))
        starts.append(at + np.arange(max(0, len(obs) - length + 1)))
        at += len(obs)
        if keep or recurrent:
            seen.append(obs)
    first = np.concatenate(starts)
    if not len(first):
        raise ValueError(f"no episode of the target data has {length} observations in a row.")
    action = jnp.asarray(np.concatenate(actions), jnp.float32)
    obs = jnp.asarray(np.concatenate(seen), jnp.float32) if seen else None
    return Target(jnp.concatenate(rows) if rows else None, action, obs, jnp.asarray(first))


def draw_windows(target: Target, batch: int, length: int, key: PRNGKeyArray) -> Windows:
    """Windows drawn uniformly."""
    first = target.starts[jax.random.randint(key, (batch,), 0, len(target.starts))]
    rows = first[None] + jnp.arange(length)[:, None]
    at = lambda of: None if of is None else of[rows]  # noqa: E731
    return Windows(at(target.log_posterior), target.action[rows[:-1]], at(target.obs))


def hold_out(count: int, share: float, key: PRNGKeyArray) -> Bool[np.ndarray, " E"]:
    """Which of `count` episodes are held out: at least one, and never all."""
    chosen = np.zeros(count, bool)
    chosen[np.asarray(jax.random.permutation(key, count))[: min(count - 1, max(1, round(share * count)))]] = True
    return chosen
