"""Offline adaptation from episodes to an adapted agent: updates in dispatches, a held-out error, a learning curve.

ReDRAW (arXiv 2504.02252). The curve is by number of updates, never by the clock. Returns in the target are measured
only where the caller has the target at hand (a simulation); nothing that is trained depends on them.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Key, PRNGKeyArray

from worldshift import checkpoint
from worldshift.adapt import encoded, offline
from worldshift.adapt.encoded import Target
from worldshift.adapt.offline import HeldOut, OfflineConfig, OfflineState
from worldshift.adapt.residual import Corrected
from worldshift.agents.draw_agent import DrawAgent, save_agent
from worldshift.data.episodes import Episodes
from worldshift.maths import annealed

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
    expected_kl: float
    """What the source's model would be off by on the held-out episodes if its predictions there were right (nats a
    step, `offline.HeldOut`): about where held_out_kl ends if the correction expresses all that changed."""


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
    record: Callable[[DrawAgent, int], Episodes] | None = None,
    turns: int = 1,
) -> Adapted:
    """Adapts `agent` to the body that `data` was recorded on.

    Arguments:
        updates: of the dynamics and of the policy, each.
        measure: what is measured of an agent every `measure_every` updates, before the first and after the last too.
        report: called with (updates, curve row or logs) after every dispatch.
        record: lets an agent act on the body, and gives what it did there. Then `turns` come before what is given back:
            half of the updates, and what came of them records turn 1, 2, ...; each begins anew, from all data so far.
            `report` counts their updates, too (`updates_of`).

    Raises:
        ValueError: data of another body, too short episodes, or fewer than two of them.
    """
    (adapted,) = adapt_seeds(
        agent,
        [data],
        config,
        updates=updates,
        seeds=[seed],
        measure_every=measure_every,
        measure=(lambda agent, _: measure(agent)) if measure else None,
        report=(lambda done, rows: report(done, rows[0])) if report else None,
        record=(lambda agent, turn, _: record(agent, turn)) if record else None,
        turns=turns,
    )
    return adapted


def updates_of(updates: int, config: OfflineConfig, turns: int) -> list[int]:
    """Updates of each turn that records, and of what comes after them."""
    return [max(updates // 2, config.lead + 1)] * turns + [updates]


def adapt_seeds(
    agent: DrawAgent,
    data: Sequence[Episodes],
    config: OfflineConfig,
    *,
    updates: int,
    seeds: Sequence[int],
    measure_every: int = 500,
    measure: Callable[[DrawAgent, int], dict[str, float]] | None = None,
    report: Callable[[int, list[dict[str, float]]], None] | None = None,
    record: Callable[[DrawAgent, int, int], Episodes] | None = None,
    turns: int = 1,
) -> list[Adapted]:
    """Several adaptations side by side in one compiled call, each to its own data and with its own seed.

    On a GPU that takes hardly longer than one of them; on a CPU, as long as one after another. Arguments are those of
    `adapt_offline`; `measure` and `record` are given the place of the seed as well, `report` a row for each.

    Raises:
        ValueError: as `adapt_offline`, or data of different shapes.
    """
    if updates <= config.lead:
        raise ValueError(f"{updates} updates leave none for the policy, which waits for {config.lead} (`lead`).")
    past = 0

    def told(done: int, rows: list[dict[str, float]]) -> None:
        if report:
            report(past + done, rows)

    for turn, count in enumerate(updates_of(updates, config, turns)[:-1] if record else [], 1):
        so_far = _once(agent, data, config, count, seeds, measure_every, None, told)
        assert record, "else there is no turn"
        data = [had + record(each.agent, turn, i) for i, (had, each) in enumerate(zip(data, so_far, strict=True))]
        past += count
    return _once(agent, data, config, updates, seeds, measure_every, measure, told)


def _once(
    agent: DrawAgent,
    data: Sequence[Episodes],
    config: OfflineConfig,
    updates: int,
    seeds: Sequence[int],
    measure_every: int,
    measure: Callable[[DrawAgent, int], dict[str, float]] | None,
    report: Callable[[int, list[dict[str, float]]], None],
) -> list[Adapted]:
    """From the data as they are, to the end."""
    if any(len(each.episodes) < 2 for each in data):
        raise ValueError("an adaptation needs at least two episodes: one of them is held out to measure on.")
    split = jax.vmap(lambda seed: jax.random.split(jax.random.key(seed), 4), out_axes=1)
    k_split, k_init, k_run, k_measure = split(jnp.asarray(seeds))
    seen = [_observed(agent, each, config, key) for each, key in zip(data, k_split, strict=True)]
    target, unseen = (_side_by_side(each) for each in zip(*seen, strict=True))
    state = _each(_begin, (k_init,), agent, config)
    curves: list[list[dict[str, float]]] = [[] for _ in seeds]
    logs: dict[str, Any] = {}

    def row(i: int) -> dict[str, float]:
        return {name: float(values[i]) for name, values in logs.items()}

    def look(done: int) -> list[dict[str, float]]:
        errors = _each(offline.held_out, (state.dynamics, unseen, k_measure), config.length).kl
        for i, curve in enumerate(curves):
            found = {"updates": done, "held_out_kl": float(errors[i])} | row(i)
            curve.append(found | (measure(offline.agent_of(_only(state, i)), i) if measure else {}))
        return [curve[-1] for curve in curves]

    expected = _each(_of_model, (unseen, k_measure), agent.model, config.length).expected
    lead = 0 if config.trains == "nothing" else config.lead
    report(0, look(0))
    done = 0
    while done < updates:
        dreams = done >= lead
        count = min(DISPATCH, (updates if dreams else lead) - done, measure_every - done % measure_every)
        rate = annealed(done / updates, config.anneal) * (1.0 if dreams else config.lead_rate)
        keys = _folded(k_run, done)
        state, logs = _each(offline.update_many, (state, target, keys), agent.model, config, count, rate, dreams)
        done += count
        due = done % measure_every == 0 or done >= updates
        report(done, look(done) if due else [row(i) for i in range(len(seeds))])
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(eqx.filter(state, eqx.is_inexact_array))):
        raise ValueError("the adaptation left the finite numbers; lower the learning rate. Nothing was written.")
    alone = [_only(state, i) for i in range(len(seeds))]
    found = zip(alone, curves, expected, strict=True)
    return [Adapted(offline.agent_of(s), s.dynamics, curve, float(nats)) for s, curve, nats in found]


def _begin(key: PRNGKeyArray, agent: DrawAgent, config: OfflineConfig) -> OfflineState:
    return offline.init(agent, config, key=key)


def _of_model(unseen: Target, key: PRNGKeyArray, model: Any, length: int) -> HeldOut:
    return offline.held_out(model, unseen, key, length)


def _folded(keys: Key[jax.Array, " N"], number: int) -> Key[jax.Array, " N"]:
    return jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)


def _observed(agent: DrawAgent, data: Episodes, config: OfflineConfig, key: PRNGKeyArray) -> tuple[Target, Target]:
    """What is trained on, and what is held out, as the frozen encoder sees it."""
    held = encoded.hold_out(len(data.episodes), config.held_out, key)
    pick = lambda which: ((e.seen, e.action) for e, w in zip(data.episodes, which, strict=True) if w)  # noqa: E731
    keep = config.trains == "everything"  # else the encoder stays what it is, and what it made of them will do
    target, unseen = (encoded.observe(agent.model, pick(which), config.length, keep=keep) for which in (~held, held))
    return target, unseen


def _side_by_side(targets: Sequence[Target]) -> Target:
    if len({str(jax.tree.map(jnp.shape, each)) for each in targets}) > 1:
        raise ValueError("adaptations side by side need data of the same shape: as many episodes, equally long.")
    return jax.tree.map(lambda *rows: jnp.stack(rows), *targets)


def _each(function: Callable[..., Any], own: tuple[Any, ...], *shared: Any) -> Any:
    """`function` for every place along the first axis of `own`; a single one as it is, faster than a map over one."""
    if len(jax.tree.leaves(own)[0]) > 1:
        return _mapped(function, own, shared)
    found = function(*_only(own, 0), *shared)
    return jax.tree.map(lambda x: x[None] if eqx.is_array(x) else x, found)


@eqx.filter_jit
def _mapped(function: Callable[..., Any], own: tuple[Any, ...], shared: tuple[Any, ...]) -> Any:
    return eqx.filter_vmap(lambda *each: function(*each, *shared))(*own)


def _only(tree: Any, number: int) -> Any:
    return jax.tree.map(lambda x: x[number] if eqx.is_array(x) else x, tree)


def save_adapted(path: str | os.PathLike[str], adapted: Adapted, training: dict[str, Any]) -> None:
    """Writes `agent/` (what acts) and, where there is one, `residual/` (the network that corrects the dynamics)."""
    save_agent(adapted.agent, Path(path) / "agent", training)
    if isinstance(adapted.dynamics, Corrected):
        arrays = eqx.filter(adapted.dynamics.network, eqx.is_array)
        checkpoint.save(Path(path) / "residual", arrays, kind="residual", config=training)
