"""The protocol of online adaptation: bodies x faults x methods, the same episodes for every method.

All bodies of a method are one vmapped, compiled program beside a batch of environments; methods run one after another
on the same start seeds and the same faults. What is recorded is summed over blocks of agent steps, one row per method,
fault and seed, ready for JSON lines. The adapter never sees the shift; only the oracle is told.
"""

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import flatdim

from worldshift import envs
from worldshift.adapt.bounds import Oracle
from worldshift.adapt.contract import Command, OnlineAdapter, Telemetry, Transition
from worldshift.files import write_text
from worldshift.shifts import Schedule, Shift, Shifted, StepOnOff

_Step = TypeVar("_Step", bound=Callable[..., Any])


@dataclass(frozen=True)
class Protocol:
    """What every method lives through. All times in agent steps."""

    task: str = "walker-walk"
    nominal: int = 500
    """Healthy steps before the (first) fault."""
    on: int = 2000
    off: int = 1000
    cycles: int = 1
    episode_steps: int = 500
    offset: int = 250
    """The first episode is shorter by this much, so that a fault begins in the middle of one."""
    block: int = 20
    """Steps summed in one recorded number."""
    redraw: bool = True
    """A random fault is drawn anew at each ON phase; otherwise the same one comes back."""

    @property
    def steps(self) -> int:
        """Agent steps in all."""
        return self.nominal + self.cycles * (self.on + self.off)


@dataclass(frozen=True)
class Body:
    """One body of the batch: which fault it gets, and the seed of its start poses."""

    fault: int
    seed: int


def make_body(protocol: Protocol, shift: Shift | None, body: Body, schedule: Schedule | None = None) -> gymnasium.Env:
    """The environment of one body: the task under `shift` in its ON phases (never, if there is no shift)."""
    env = envs.make(protocol.task, episode_steps=10**9)  # the protocol itself decides when an episode ends
    if shift is None:
        return env
    if not protocol.redraw:
        shift = shift.draw(np.random.default_rng(body.fault), env)
    schedule = schedule or StepOnOff(start=protocol.nominal, on=max(protocol.on, 1), off=max(protocol.off, 1))
    return Shifted(env, shift, schedule, seed=body.fault)


class _Bodies:
    """The batch of environments of one method, and the truth about their actuators."""

    def __init__(
        self,
        protocol: Protocol,
        shift: Shift | None,
        bodies: Sequence[Body],
        schedule: Schedule | None,
        threads: int,
    ):
        self.protocol, self.bodies = protocol, bodies
        made = [lambda b=b: make_body(protocol, shift, b, schedule) for b in bodies]
        self.batch = envs.BatchEnv(made, threads=threads)
        self.actions = flatdim(self.batch.action_space)
        self.shifted = [e if isinstance(e, Shifted) else None for e in self.batch.envs]
        self.fault = [(np.eye(self.actions), np.zeros(self.actions)) for _ in bodies]
        self.episode = -1

    def reset(self) -> np.ndarray:
        self.episode += 1
        return self.batch.reset([_seed(b.seed, self.episode) for b in self.bodies])

    def truth(self) -> tuple[np.ndarray, np.ndarray]:
        """The linear part of what the actuators will do in the next step: (N, A, A) and (N, A)."""
        healthy = np.eye(self.actions), np.zeros(self.actions)
        maps = [(e.action_matrix() if e else None) or healthy for e in self.shifted]
        return np.stack([m for m, _ in maps]), np.stack([d for _, d in maps])

    def wrong(
        self, base: np.ndarray, info: list[dict[str, Any]], truth: tuple[np.ndarray, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Squared norm of the action still wrong at the plant, and of the wrong that the fault does. Both (N,).

        While no fault acts, the latest one is what a correction would be a remnant of.
        """
        left, done = np.zeros(len(self.bodies)), np.zeros(len(self.bodies))
        for i, said in enumerate(info):
            if "shift" not in said:
                continue
            if said["shift"]["active"]:
                self.fault[i] = truth[0][i], truth[1][i]
            matrix, offset = self.fault[i]
            left[i] = np.sum((said["plant_action"] - base[i]) ** 2)
            done[i] = np.sum((matrix @ base[i] + offset - base[i]) ** 2)
        return left, done


def _seed(seed: int, episode: int) -> int:
    return int(np.random.SeedSequence([seed, episode]).generate_state(1)[0])


@eqx.filter_jit
def start(adapter: OnlineAdapter, keys: jax.Array) -> Any:
    """The states of bodies that have lived nothing yet, one for each key."""
    return jax.vmap(adapter.init)(keys)


def _in_place(step: _Step) -> _Step:
    """Compiles a step of (adapter, state, ...), which uses the state up: its memory becomes the next one's.

    A paper reflex of walker size has 4 MB of weights and moments, and to copy them takes longer than the step.
    """
    compiled = eqx.filter_jit(lambda given, state: step(given[0], state, *given[1:]), donate="all-except-first")

    @wraps(step)
    def call(adapter: OnlineAdapter, state: Any, *rest: Any) -> Any:
        return compiled((adapter, *rest), state)

    return cast(_Step, call)


@_in_place
def decide(adapter: OnlineAdapter, state: Any, obs: jax.Array, keys: jax.Array) -> tuple[Command, Any]:
    """The first commands of an episode."""
    return jax.vmap(adapter.act)(state, obs, keys)


@_in_place
def control(
    adapter: OnlineAdapter, state: Any, transition: Transition, obs: jax.Array, keys: jax.Array
) -> tuple[Command, Any, Telemetry]:
    """One full control step of every body: learn from what followed, then decide."""
    state, telemetry = jax.vmap(adapter.observe)(state, transition)
    command, state = jax.vmap(adapter.act)(state, obs, keys)
    return command, state, telemetry


@_in_place
def _tell(adapter: Oracle, state: Any, matrix: jax.Array, offset: jax.Array) -> Any:
    return jax.vmap(adapter.tell)(state, matrix, offset)


@_in_place
def _finish(adapter: OnlineAdapter, state: Any) -> Any:
    return jax.vmap(adapter.finish)(state)


@_in_place
def _learn(adapter: OnlineAdapter, state: Any, transition: Transition) -> tuple[Any, Telemetry]:
    return jax.vmap(adapter.observe)(state, transition)


def run_method(
    adapter: OnlineAdapter,
    protocol: Protocol,
    shift: Shift | None,
    bodies: Sequence[Body],
    *,
    schedule: Schedule | None = None,
    seed: int = 0,
    threads: int = 1,
    report: Callable[[int], None] | None = None,
    watch: Callable[[int, list[gymnasium.Env], Command], None] | None = None,
) -> list[dict[str, Any]]:
    """Lets one method live through the protocol on every body.

    Arguments:
        shift: the fault, drawn anew at each ON phase from each body's fault number; None for a healthy life.
        schedule: when it acts and how strongly; by default in the protocol's ON phases.
        report: called with the agent steps done.
        watch: called after every step with the environments and commands (for pictures).

    Returns:
        One row per body: fault, seed, and per block the mean of each recorded quantity.
    """
    world = _Bodies(protocol, shift, bodies, schedule, threads)
    n, key = len(bodies), jax.random.key(seed)
    state = start(adapter, jax.random.split(key, n))
    obs, sums, ones = jnp.asarray(world.reset()), _Blocks(n, protocol), jnp.ones(n, bool)
    age, pending = protocol.offset, None
    for t in range(protocol.steps):
        keys = jax.random.split(jax.random.fold_in(key, t), n)
        truth = world.truth()
        if isinstance(adapter, Oracle):
            state = _tell(adapter, state, *(jnp.asarray(x, jnp.float32) for x in truth))
        if pending is None:
            command, state = decide(adapter, state, obs, keys)
        else:
            command, state, telemetry = control(adapter, state, pending, obs, keys)
            sums.hear(t - 1, telemetry)
        step = world.batch.step(np.asarray(command.action))
        base = np.asarray(command.base)
        sums.see(t, step.reward, *world.wrong(base, step.info, truth))
        next_obs, reward, terminated = (jnp.asarray(x) for x in step[:3])
        pending = Transition(obs, command, next_obs, ones, reward, terminated)
        obs, age = next_obs, age + 1
        if watch:
            watch(t, world.batch.envs, command)
        if age >= protocol.episode_steps or bool(step.terminated.all()):
            state, telemetry = _learn(adapter, state, pending)
            sums.hear(t, telemetry)
            state, pending = _finish(adapter, state), None
            obs, age = jnp.asarray(world.reset()), 0
        if report:
            report(t + 1)
    world.batch.close()
    return [{**asdict(body), **row} for body, row in zip(bodies, sums.rows(), strict=True)]


class _Blocks:
    """Sums per block of steps."""

    def __init__(self, n: int, protocol: Protocol):
        count = -(-protocol.steps // protocol.block)
        self.block, self.length = protocol.block, np.bincount(np.arange(protocol.steps) // protocol.block)
        names = ("reward", "left", "wrong", "error", "score", "correction", "guarded", "matched")
        self.sum = {name: np.zeros((n, count)) for name in names}
        self.gain: list[np.ndarray | None] = [None] * count

    def see(self, t: int, reward: np.ndarray, left: np.ndarray, wrong: np.ndarray) -> None:
        for name, value in (("reward", reward), ("left", left), ("wrong", wrong)):
            self.sum[name][:, t // self.block] += value

    def hear(self, t: int, telemetry: Telemetry) -> None:
        for name in ("error", "score", "correction", "guarded", "matched"):
            self.sum[name][:, t // self.block] += np.asarray(getattr(telemetry, name))
        self.gain[t // self.block] = np.asarray(telemetry.gain)

    def rows(self) -> list[dict[str, Any]]:
        mean = {name: value / self.length for name, value in self.sum.items()}
        gain = np.stack([g for g in self.gain if g is not None], axis=1)
        rows = []
        for i in range(len(gain)):
            row = {name: rounded(value[i]) for name, value in mean.items()}
            rows.append(row | {"gain": [rounded(g, 3) for g in gain[i]]})
        return rows


def rounded(values: Sequence[float] | np.ndarray, digits: int = 5) -> list[float]:
    """To significant digits, for rows."""
    return [float(f"{v:.{digits}g}") for v in values]


def write_rows(path: str | os.PathLike[str], header: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    """Writes a study's raw rows as JSON lines, atomically: first the header (protocol, provenance), then the rows."""
    lines = [json.dumps(x, separators=(",", ":"), allow_nan=False) for x in ({"header": header}, *rows)]
    write_text(path, "\n".join(lines) + "\n")


def read_rows(path: str | os.PathLike[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Header and rows of a file that `write_rows` wrote.

    Raises:
        ValueError: not such a file, or cut short; names the line.
    """
    rows = []
    for number, line in enumerate(Path(path).read_text().splitlines(), 1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            raise ValueError(f"{path}, line {number}: not a JSON object; the file is cut short or edited.") from None
    if not rows or "header" not in rows[0]:
        raise ValueError(f"{path} does not begin with a header line, so it is no file of study rows.")
    return rows[0]["header"], rows[1:]


def control_step_ms(adapter: OnlineAdapter, obs_dim: int, repeats: int = 200) -> float:
    """Median milliseconds of one full control step (observe and act) of one body, compiled, after warm-up."""
    obs, key = jnp.zeros(obs_dim), jax.random.key(0)
    command, state = eqx.filter_jit(adapter.act)(eqx.filter_jit(adapter.init)(key), obs, key)
    zero, no = jnp.zeros(()), jnp.zeros((), bool)
    transition = Transition(obs, command, obs, ~no, zero, no)
    arrays, static = eqx.partition(adapter, eqx.is_array)

    # Plain jit: a runner may keep the adapter's arrays on one side and pay no filtering per call.
    @jax.jit
    def step(arrays: Any, state: Any, transition: Transition) -> tuple[Command, Any]:
        own = eqx.combine(arrays, static)
        state, _ = own.observe(state, transition)
        return own.act(state, obs, key)

    times = []
    for _ in range(repeats + 20):
        begin = time.perf_counter()
        jax.block_until_ready(step(arrays, state, transition))
        times.append(time.perf_counter() - begin)
    return 1e3 * float(np.median(times[20:]))
