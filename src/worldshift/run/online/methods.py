"""The methods by name: what each is, and the adapter that it stands for. `comparison` lets them live.

`nominal` is the frozen agent with no fault: the level that a recovery is measured against.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from jaxtyping import Array, Float, PRNGKeyArray

from worldshift.adapt.bounds import Frozen, Oracle
from worldshift.adapt.context import ContextPolicy
from worldshift.adapt.contract import OnlineAdapter
from worldshift.adapt.delay import DelayCompensated
from worldshift.adapt.fast_reflex import FastReflex, FastReflexConfig
from worldshift.adapt.finetune import Finetune, FinetuneConfig
from worldshift.adapt.l1 import L1Adaptive
from worldshift.adapt.layered import BENEATH, LayeredReflex
from worldshift.adapt.reflex import PUBLISHED, Reflex, ReflexConfig
from worldshift.agents.agent import Agent, Memory, Observations
from worldshift.agents.mppi import PlannerConfig
from worldshift.agents.tdmpc2 import LearnerConfig
from worldshift.models.onestep import InSteps
from worldshift.run.online.collect import healthy_replay
from worldshift.run.online.protocol import Protocol
from worldshift.run.online.recalibrate import SPACES, calibrated_in, calibrated_with
from worldshift.run.online.rehearse import context_encoder
from worldshift.shifts import ActuatorGain, Uniform
from worldshift.zoo import Shipped

GAINS = ActuatorGain(Uniform(-0.5, 0.5))
"""RWM's step gains: p ~ U[-0.5, 0.5] for each actuator by itself."""
PLANNER = PlannerConfig(iterations=3, samples=128, elites=16)
"""An eighth of the published samples, so that a control step of a walker takes tens of milliseconds on a core."""


class SamplingAgent(Agent):
    """An agent that acts as it explored in training: with a sample of its policy."""

    def act(self, memory: Memory, obs: Observations, key: PRNGKeyArray) -> tuple[Float[Array, "N A"], Memory]:
        """A sampled base action."""
        return self.explore(memory, obs, key)


class Given(NamedTuple):
    """What an adapter is made from."""

    shipped: Shipped
    agent: Agent
    """The shipped one, as it is to act: planned or not, sampled or not."""
    episode_steps: int
    steps: int
    """Agent steps of the whole life."""
    authority: float


@dataclass(frozen=True)
class Method:
    """One line of a table."""

    about: str
    make: Callable[[Given], OnlineAdapter]
    healthy: bool = False
    """It lives without the fault."""
    costly: bool = False
    """It takes minutes before its first step, or trains at each of them."""
    planner: PlannerConfig | None = None
    """Base actions by MPPI."""
    authority: float = 2.0
    """Bound on commands, in units of the policy's range."""


def _fast(config: FastReflexConfig) -> Callable[[Given], OnlineAdapter]:
    return lambda g: FastReflex(g.agent, g.shipped.calibrated(), replace(config, authority=g.authority))


def _paper(config: ReflexConfig) -> Callable[[Given], OnlineAdapter]:
    return lambda g: Reflex(g.agent, g.episode_steps, config)


def _in_space(mode: str, space: str) -> Callable[[Given], OnlineAdapter]:
    def make(given: Given) -> OnlineAdapter:
        calibration = calibrated_in(space, given.shipped.path)
        if mode == "fast":
            return FastReflex(given.agent, calibration)
        return Reflex(given.agent, given.episode_steps, reference=InSteps(calibration.model))

    return make


def _finetune(*, kept_buffer: bool) -> Callable[[Given], OnlineAdapter]:
    def make(given: Given) -> OnlineAdapter:
        shipped = given.shipped
        kept = healthy_replay(shipped.agent, shipped.task).arrays() if kept_buffer else None
        capacity = min(100_000, given.steps + given.episode_steps)  # all that is lived: it is copied at each step
        config = FinetuneConfig(learner=LearnerConfig(**shipped.config["learner"]), capacity=capacity)
        return Finetune(shipped.agent, given.episode_steps, config, kept)

    return make


METHODS = {
    "nominal": Method("the agent in the body that it was trained in", lambda given: Frozen(given.agent), healthy=True),
    "frozen": Method("the agent as it was trained, under the fault", lambda given: Frozen(given.agent)),
    "paper": Method("RWM's reflex: a network, one step an episode", _paper(ReflexConfig())),
    "published": Method("the same with the published learning rate and epsilon", _paper(PUBLISHED)),
    "fast": Method("the fast reflex: gains and offsets, a Kalman step each control step", _fast(FastReflexConfig())),
    "fast, coupled": Method(
        "the fast reflex with a full matrix of gains, for actuators that mix",
        _fast(FastReflexConfig(structure="matrix")),
    ),
    "fast, cautious": Method(
        "the fast reflex, which does not act on what it doubts", _fast(FastReflexConfig(caution=2.0))
    ),
    "layered": Method(
        "the fast reflex, a slow network for what gains do not explain, and a predictor for late commands",
        lambda given: DelayCompensated(LayeredReflex(FastReflex(given.agent, given.shipped.calibrated(), BENEATH))),
    ),
    "l1": Method(
        "L1 adaptive control: a disturbance at the actuators, estimated, filtered and taken off",
        lambda given: L1Adaptive(given.agent, given.shipped.calibrated()),
    ),
    "rma": Method(
        "gains as an encoder reads them from the last steps, which was trained on bodies of random gains (RMA)",
        lambda given: ContextPolicy(given.agent, context_encoder(given.shipped.path)),
        costly=True,
    ),
    "finetune": Method(
        "TD-MPC2 trained on in the new body, with reward and a fresh buffer",
        _finetune(kept_buffer=False),
        costly=True,
    ),
    "finetune, kept buffer": Method(
        "the same beside 10,000 steps of the healthy body", _finetune(kept_buffer=True), costly=True
    ),
    "oracle": Method(
        "knows the actuators and undoes the fault within the authority limit",
        lambda given: Oracle(given.agent, authority=given.authority),
    ),
}
VARIANTS = {
    "paper, horizon 1": Method("paper mode on one-step errors", _paper(ReflexConfig(horizon=1))),
    "paper, horizon 5": Method("paper mode on five predicted steps", _paper(ReflexConfig(horizon=5))),
    "paper, sees a0": Method(
        "the correction sees the base action as well", _paper(ReflexConfig(sees="latent and action"))
    ),
    "paper, gains": Method(
        "the correction is k * a0 + b alone", _paper(ReflexConfig(sees="action", learning_rate=3e-2))
    ),
    "paper, preconditioned": Method("Gauss-Newton directions", _paper(ReflexConfig(ridge=0.1))),
    "paper, on the way": Method(
        "an Adam step every five agent steps", _paper(ReflexConfig(every=5, learning_rate=3e-4))
    ),
}
"""RWM's reflex with one thing changed; the last one's learning rate was tuned, others follow the number of steps."""
SPACED = {
    f"{mode}, {space}": Method(f"{METHODS[mode].about}; errors in {SPACES[space]}", _in_space(mode, space), costly=True)
    for mode in ("paper", "fast")
    for space in SPACES
}
"""Either reflex, with errors measured elsewhere."""
TIGHT = {
    f"{name}, no headroom": replace(
        METHODS[name], about=f"{METHODS[name].about}; commands within the policy's range", authority=1.0
    )
    for name in ("fast", "oracle")
}
"""Commands bounded like the policy's own."""
PLANNED = {
    f"{name}, planner": replace(METHODS[name], about=f"{METHODS[name].about}; base actions by MPPI", planner=PLANNER)
    for name in ("nominal", "frozen", "fast", "oracle")
} | {
    "fast, planner, own calibration": Method(
        "the fast reflex, calibrated as the agent acts with MPPI; base actions by MPPI",
        lambda given: FastReflex(given.agent, calibrated_with(PLANNER, given.shipped.path)),
        costly=True,
        planner=PLANNER,
    )
}
"""Base actions that are planned."""
METHODS |= VARIANTS | SPACED | TIGHT | PLANNED


def build(method: str, shipped: Shipped, protocol: Protocol, *, sampled: bool = False) -> OnlineAdapter:
    """The adapter that a method's name stands for.

    Raises:
        ValueError: unknown method, or a fast reflex without calibration.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}: choose among {', '.join(METHODS)}.")
    asked, own = METHODS[method], shipped.agent
    kind = SamplingAgent if sampled else Agent
    agent = kind(own.model, asked.planner or own.planner, own.discount)
    return asked.make(Given(shipped, agent, protocol.episode_steps, protocol.steps, asked.authority))
