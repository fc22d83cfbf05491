"""The methods by name, and one comparison: every method lives the same episodes with the same faults.

`nominal` is the frozen agent with no fault: the level that a recovery is measured against. `sampled` agents act with
their stochastic policy, as in RWM's runs (arXiv 2505.15589); then all methods do, so that none is favoured.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
from jaxtyping import Array, Float, PRNGKeyArray

from worldshift import envs
from worldshift.adapt.bounds import Frozen, Oracle
from worldshift.adapt.context import ContextPolicy
from worldshift.adapt.contract import Command, OnlineAdapter
from worldshift.adapt.delay import DelayCompensated
from worldshift.adapt.fast_reflex import FastReflex, FastReflexConfig
from worldshift.adapt.finetune import Finetune, FinetuneConfig
from worldshift.adapt.l1 import L1Adaptive
from worldshift.adapt.layered import LayeredReflex
from worldshift.adapt.reflex import PUBLISHED, Reflex, ReflexConfig
from worldshift.agents.agent import Agent, Memory, Observations
from worldshift.agents.mppi import PlannerConfig
from worldshift.agents.tdmpc2 import LearnerConfig
from worldshift.models.onestep import InSteps
from worldshift.run.collect import healthy_replay
from worldshift.run.protocol import Body, Protocol, control_step_ms, run_method
from worldshift.run.rehearse import context_encoder
from worldshift.run.spaces import SPACES, calibrated_in
from worldshift.shifts import ActuatorGain, Schedule, Shift, Uniform
from worldshift.zoo import Shipped

GAINS = ActuatorGain(Uniform(-0.5, 0.5))
"""RWM's step gains: p ~ U[-0.5, 0.5] for each actuator by itself."""
VARIANTS = {
    "paper, horizon 1": ("paper mode on one-step errors", ReflexConfig(horizon=1)),
    "paper, horizon 5": ("paper mode on five predicted steps", ReflexConfig(horizon=5)),
    "paper, sees a0": ("the correction sees the base action as well", ReflexConfig(sees="latent and action")),
    "paper, gains": ("the correction is k * a0 + b alone", ReflexConfig(sees="action", learning_rate=3e-2)),
    "paper, preconditioned": ("Gauss-Newton directions", ReflexConfig(ridge=0.1)),
    "paper, on the way": ("an Adam step each half second", ReflexConfig(every=10, learning_rate=1e-4)),
}
"""RWM's reflex with one thing changed; learning rates follow the number of steps and were not tuned."""
FAST = {
    "fast": FastReflexConfig(),
    "fast, coupled": FastReflexConfig(structure="matrix"),
    "fast, cautious": FastReflexConfig(caution=2.0),
    "fast, no headroom": FastReflexConfig(authority=1.0),
}
"""The fast reflex as it is by default, and with one thing changed."""
SPACED = {f"{mode}, {space}": (mode, space) for mode in ("paper", "fast") for space in SPACES}
"""Either reflex, with errors measured elsewhere; "fast, raw observation" is the fast reflex calibrated once more."""
PLANNED = ", planner"
"""Ending of methods whose base actions are planned."""
TIGHT = ", no headroom"
"""Ending of methods whose commands are bounded like the policy's own."""
PLANNER = PlannerConfig(iterations=3, samples=128, elites=16)
"""An eighth of the published samples, so that a control step of a walker takes tens of milliseconds on a core."""
METHODS = {
    "nominal": "the agent in the body that it was trained in",
    "frozen": "the agent as it was trained, under the fault",
    "paper": "RWM's reflex: a network, one step an episode",
    "published": "the same with the published learning rate and epsilon",
    "fast": "the fast reflex: gains and offsets, a Kalman step each control step",
    "fast, coupled": "the fast reflex with a full matrix of gains, for actuators that mix",
    "fast, cautious": "the fast reflex, which does not act on what it doubts",
    "layered": "the fast reflex, a slow network for what gains do not explain, and a predictor for late commands",
    "l1": "L1 adaptive control: a disturbance at the actuators, estimated, filtered and taken off",
    "rma": "gains as an encoder reads them from the last steps, which was trained on bodies of random gains (RMA)",
    "finetune": "TD-MPC2 trained on in the new body, with reward and a fresh buffer",
    "finetune, kept buffer": "the same beside 10,000 steps of the healthy body",
    "oracle": "knows the actuators and undoes the fault within the authority limit",
}
METHODS |= {name: about for name, (about, _) in VARIANTS.items()}
METHODS |= {name: f"{METHODS[mode]}; errors in {SPACES[space]}" for name, (mode, space) in SPACED.items()}
METHODS |= {m + TIGHT: f"{METHODS[m]}; commands within the policy's range" for m in ("fast", "oracle")}
METHODS |= {m + PLANNED: f"{METHODS[m]}; base actions by MPPI" for m in ("nominal", "frozen", "fast", "oracle")}

Watch = Callable[[int, list[gymnasium.Env], Command], None]


class SamplingAgent(Agent):
    """An agent that acts as it explored in training: with a sample of its policy."""

    def act(self, memory: Memory, obs: Observations, key: PRNGKeyArray) -> tuple[Float[Array, "N A"], Memory]:
        """A sampled base action."""
        return self.explore(memory, obs, key)


def build(method: str, shipped: Shipped, protocol: Protocol, *, sampled: bool = False) -> OnlineAdapter:
    """The adapter that a method's name stands for.

    Raises:
        ValueError: unknown method, or a fast reflex without calibration.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}: choose among {', '.join(METHODS)}.")
    agent = shipped.agent
    if method.endswith(PLANNED):
        agent = Agent(agent.model, PLANNER, agent.discount)
        method = method.removesuffix(PLANNED)
    if sampled:
        agent = SamplingAgent(agent.model, agent.planner, agent.discount)
    if method in ("nominal", "frozen"):
        return Frozen(agent)
    if method.startswith("oracle"):
        return Oracle(agent, authority=1.0) if method.endswith(TIGHT) else Oracle(agent)
    if method in SPACED:
        mode, space = SPACED[method]
        calibration = calibrated_in(space, shipped.path)
        if mode == "fast":
            return FastReflex(agent, calibration)
        return Reflex(agent, protocol.episode_steps, reference=InSteps(calibration.model))
    if method in FAST:
        return FastReflex(agent, shipped.calibrated(), FAST[method])
    if method == "l1":
        return L1Adaptive(agent, shipped.calibrated())
    if method == "layered":
        return DelayCompensated(LayeredReflex(FastReflex(agent, shipped.calibrated())))
    if method == "rma":
        return ContextPolicy(agent, context_encoder(shipped.path))
    if method == "paper":
        return Reflex(agent, protocol.episode_steps)
    if method == "published":
        return Reflex(agent, protocol.episode_steps, PUBLISHED)
    if method in VARIANTS:
        return Reflex(agent, protocol.episode_steps, VARIANTS[method][1])
    if method.startswith("finetune"):
        kept = healthy_replay(shipped.agent, shipped.task).arrays() if method.endswith("kept buffer") else None
        learner = LearnerConfig(**shipped.config["learner"])
        capacity = protocol.steps + protocol.episode_steps  # all that is lived: the runner copies the buffer each step
        config = FinetuneConfig(learner=learner, capacity=min(100_000, capacity))
        return Finetune(shipped.agent, protocol.episode_steps, config, kept)
    raise AssertionError(f"{method} is listed and not built.")


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
            None if method.startswith("nominal") else shift,
            bodies,
            schedule=schedule,
            seed=seed,
            threads=threads,
            report=told,
            watch=watch(method) if watch else None,
        )
        ms[method] = control_step_ms(adapter, shipped.agent.model.obs_dim)
    return Comparison(rows, ms, seconds_per_step(protocol.task))


def is_costly(method: str) -> bool:
    """Whether a method takes minutes before its first step, or trains at each of them."""
    return method in SPACED or method == "rma" or method.startswith("finetune")


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
