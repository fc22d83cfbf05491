"""Training runs of several seeds at once: they live in turns, and their updates are one compiled call.

On a GPU the updates of a small agent hardly fill the chip: those of four seeds take less than twice as long as those of
one. A run gets what it would get alone, but for rounding; each is stored, and goes on, by itself.
"""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from worldshift.run.training.rounds import Report, TrainingRun, answered


def drive(runs: Sequence[TrainingRun], report: Report | None) -> None:
    """Runs of one configuration, but for the seed, to their end.

    Those that were stopped earlier than the others catch up with them first, alone. `report` is told of the first run.
    """
    most = max(run.agent_steps for run in runs)
    try:
        for run in runs:
            run.alone(run.rounds_until(most, None))
        lives = [run.rounds_until(run.config.agent_steps, None if place else report) for place, run in enumerate(runs)]
        asked = [next(life, None) for life in lives]
        while all(asked):
            found = _updated(asked)
            asked = [answered(life, each) for life, each in zip(lives, found, strict=True)]
        assert not any(asked), "runs of one configuration ask alike"
    finally:
        for run in runs:
            run.close()


def _updated(asked: Sequence[Any]) -> list[tuple[Any, dict[str, Any]]]:
    """The states and logs of all, from one call."""
    own = [(each.state, each.batches, each.key) for each in asked]
    return _mapped(asked[0].update, own, asked[0].shared)


@eqx.filter_jit
def _mapped(update: Any, own: list[Any], shared: tuple[Any, ...]) -> list[tuple[Any, dict[str, Any]]]:
    """`update` for every seed, mapped over their stacked states, batches and keys."""
    parts = [eqx.partition(each, eqx.is_array) for each in own]
    static = parts[0][1]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(arrays for arrays, _ in parts))

    def one(arrays: Any) -> Any:
        state, logs = update(*eqx.combine(arrays, static), *shared)
        return eqx.filter(state, eqx.is_array), logs

    found = jax.vmap(one)(stacked)
    each = [jax.tree.map(lambda leaf, i=i: leaf[i], found) for i in range(len(own))]
    return [(eqx.combine(arrays, static[0]), logs) for arrays, logs in each]
