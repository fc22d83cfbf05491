"""One comparison: every method lives the same episodes with the same faults.

What a method is stands in `methods`, what a life is in `protocol`. `sampled` agents act with their stochastic policy,
as in RWM's runs (arXiv 2505.15589); then all methods do, so that none is favoured.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium

from worldshift import envs
from worldshift.adapt.contract import Command
from worldshift.run.online.methods import METHODS, build
from worldshift.run.online.protocol import Body, Protocol, control_step_ms, run_method
from worldshift.shifts import Schedule, Shift
from worldshift.zoo import Shipped

Watch = Callable[[int, list[gymnasium.Env], Command], None]


@dataclass(frozen=True)
class Comparison:
    """Rows of every method, what a control step of each costs (ms), and the seconds of body time in an agent step."""

    rows: dict[str, list[dict[str, Any]]]
    ms: dict[str, float]
    dt: float


def compare(
    shipped: Shipped,
    methods: Sequence[str],
    protocol: Protocol,
    shift: Shift | None,
    bodies: Sequence[Body],
    *,
    schedule: Schedule | None = None,
    seed: int = 0,
    sampled: bool = False,
    threads: int = 1,
    report: Callable[[str, int], None] | None = None,
    watch: Callable[[str], Watch | None] | None = None,
) -> Comparison:
    """Runs the methods one after another.

    Arguments:
        schedule: when the shift acts; by default in the protocol's ON phases.
        seed: of everything that the adapters draw; start poses and faults are in `bodies`.
        report: called with (method, agent steps done).
        watch: gives for a method's name what `run_method` calls after every step, or None.

    Raises:
        ValueError: an unknown method, an agent of another task, or a fast reflex without calibration.
    """
    if protocol.task != shipped.task:
        raise ValueError(f"{shipped.name} was trained for {shipped.task} and cannot live through {protocol.task}.")
    adapters = {method: build(method, shipped, protocol, sampled=sampled) for method in methods}
    rows, ms = {}, {}
    for method, adapter in adapters.items():

        def told(done: int, method: str = method) -> None:
            if report:
                report(method, done)

        rows[method] = run_method(
            adapter,
            protocol,
            None if METHODS[method].healthy else shift,
            bodies,
            schedule=schedule,
            seed=seed,
            threads=threads,
            report=told,
            watch=watch(method) if watch else None,
        )
        ms[method] = control_step_ms(adapter, shipped.agent.model.obs_dim)
    return Comparison(rows, ms, seconds_per_step(protocol.task))


def episode_steps(shipped: Shipped) -> int:
    """Agent steps in an episode: as the agent was trained, or else as its task says."""
    env = envs.make(shipped.task, episode_steps=shipped.config.get("episode_steps"))
    length = env.get_wrapper_attr("episode_steps")
    env.close()
    return int(length)


def seconds_per_step(task: str) -> float:
    """Seconds of body time in an agent step.

    Raises:
        ValueError: the environment does not say (no `dt`).
    """
    env = envs.make(task)
    try:
        return float(env.get_wrapper_attr("dt"))
    except AttributeError:
        raise ValueError(
            f"{task} does not say how long a step lasts, so there is no body time: give the environment an attribute "
            "`dt`, the seconds of one step."
        ) from None
    finally:
        env.close()
