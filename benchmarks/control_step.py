"""Times one control step: the policy alone, every reflex (observe and act in one compiled call), and one MPPI plan.

Batch of one body, walker dimensions, random weights (speed does not depend on training). The observation comes in and
the action goes out as NumPy, as in a control loop; the networks are bound when compiling, the state is donated. All
rows are interleaved in one process after warm-up, each thread count in a process of its own; compile time stands apart.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

OBSERVATIONS, ACTIONS, EPISODE = 24, 6, 500
ALONE, PLAN = "policy alone", "MPPI plan"
PLAN_EVERY = 50
"""Rounds between two plans: one takes as long as hundreds of steps."""


def main() -> None:
    """Runs every thread count in its own process, then prints a table or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 5], help="model sizes, in millions of parameters")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="thread counts")
    parser.add_argument("--rounds", type=int, default=3000, help="timed steps of each kind")
    parser.add_argument("--quick", action="store_true", help="300 rounds")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    rounds = 300 if options.quick else options.rounds
    if rounds < 1:
        parser.error("--rounds must be at least 1.")
    if options.worker:
        print(json.dumps([row for size in options.sizes for row in measure(size, options.worker, rounds)]))
        return
    rows = [row for threads in options.threads for row in in_process(threads, options.sizes, rounds)]
    print(json.dumps({"rounds": rounds, "rows": rows}) if options.json else table(rows))


def in_process(threads: int, sizes: list[int], rounds: int) -> list[dict[str, Any]]:
    """The rows of a process that may use so many threads."""
    limits = dict.fromkeys(("NPROC", "PJRT_NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    eigen = f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}"
    flags = {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {eigen}".strip(), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, __file__, "--worker", str(threads), "--rounds", str(rounds), "--sizes", *map(str, sizes)]
    done = subprocess.run(command, env=os.environ | limits | flags, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"the measurement with {threads} threads failed; its message stands above.")
    return json.loads(done.stdout)


def measure(size: int, threads: int, rounds: int) -> list[dict[str, Any]]:
    """Wall and processor time per step of each kind, interleaved."""
    import numpy as np

    observations = np.random.default_rng(0).normal(size=(64, OBSERVATIONS)).astype(np.float32)
    compile_s, steps = {}, {}
    for name, step in kinds(size).items():
        begin = time.perf_counter()
        step(observations[0])
        compile_s[name], steps[name] = time.perf_counter() - begin, step
    for i in range(20):
        for name, step in steps.items():
            if name != PLAN or i == 0:
                step(observations[i])
    wall: dict[str, list[float]] = {name: [] for name in steps}
    processor: dict[str, list[float]] = {name: [] for name in steps}
    for i in range(rounds):
        for name, step in steps.items():
            if name == PLAN and i % PLAN_EVERY:
                continue
            begin, begin_cpu = time.perf_counter(), time.process_time()
            step(observations[i % len(observations)])
            wall[name].append(time.perf_counter() - begin)
            processor[name].append(time.process_time() - begin_cpu)
    alone, alone_cpu = np.median(wall[ALONE]), np.median(processor[ALONE])
    return [
        {
            "size": size,
            "threads": threads,
            "step": name,
            "p50_ms": 1e3 * float(np.quantile(wall[name], 0.5)),
            "p99_ms": 1e3 * float(np.quantile(wall[name], 0.99)),
            "cpu_p50_ms": 1e3 * float(np.median(processor[name])),
            "ratio": float(np.median(wall[name]) / alone),
            "cpu_ratio": float(np.median(processor[name]) / alone_cpu),
            "compile_s": compile_s[name],
            "count": len(wall[name]),
        }
        for name in steps
    ]


def kinds(size: int) -> dict[str, Callable[[Any], Any]]:
    """Every kind of step as a function of the observation."""
    import jax
    import jax.numpy as jnp

    from worldshift.adapt.delay import DelayCompensated
    from worldshift.adapt.fast_reflex import FastReflex, FastReflexConfig
    from worldshift.adapt.layered import LayeredReflex
    from worldshift.adapt.reflex import Reflex
    from worldshift.agents.agent import Agent
    from worldshift.agents.mppi import PlannerConfig
    from worldshift.models.latent import WorldModel

    model = WorldModel(OBSERVATIONS, ACTIONS, size=size, key=jax.random.key(0))
    agent, planner = Agent(model), Agent(model, PlannerConfig())
    calibration = untrained_calibration()
    policy = jax.jit(lambda obs: model.mean_action(model.encode(obs)))
    plan = jax.jit(lambda obs, key: planner.act(planner.init_memory(1), obs[None], key)[0])
    key = jax.random.key(0)
    fast = FastReflex(agent, calibration)  # as shipped: one gain for each actuator
    offsets = FastReflex(agent, calibration, FastReflexConfig(structure="gain+bias"))
    return {
        ALONE: lambda obs: jax.device_get(policy(obs)),
        "paper reflex": control_loop(Reflex(agent, EPISODE)),
        "fast reflex": control_loop(fast),
        "fast reflex, gain+bias": control_loop(offsets),
        "fast reflex, matrix": control_loop(FastReflex(agent, calibration, FastReflexConfig(structure="matrix"))),
        "fast reflex, telemetry too": control_loop(fast, telemetry=True),
        "layered reflex, no delays": control_loop(LayeredReflex(fast)),
        "layered reflex": control_loop(DelayCompensated(LayeredReflex(fast))),
        PLAN: lambda obs: jax.device_get(plan(jnp.asarray(obs), key)),
    }


def control_loop(adapter: Any, *, telemetry: bool = False) -> Callable[[Any], Any]:
    """One control step with its state: learn from what followed the last command, then decide. What is not returned
    is not computed, so that telemetry costs only those who ask for it."""
    import jax
    import jax.numpy as jnp

    from worldshift.adapt.contract import Command, Transition

    key = jax.random.key(0)

    def whole(state: Any, previous: Any, command: Command, obs: Any) -> Any:
        zero = jnp.zeros(())
        state, said = adapter.observe(state, Transition(previous, command, obs, zero < 1, zero, zero > 1))
        command, state = adapter.act(state, obs, key)
        return command, state, said if telemetry else None

    compiled = jax.jit(whole, donate_argnums=0)
    state = jax.tree.map(jnp.array, adapter.init(key))
    nothing = jax.eval_shape(adapter.act, state, jnp.zeros(OBSERVATIONS), key)[0]
    held: list[Any] = [state, None, jax.tree.map(jnp.zeros_like, nothing)]

    def step(obs: Any) -> Any:
        state, previous, command = held
        previous = obs if previous is None else previous
        command, state, said = compiled(state, previous, command, obs)
        held[:] = state, obs, command
        return jax.device_get((command.action, said))

    return step


def untrained_calibration() -> Any:
    """A calibration of the real shape, on a one-step model of the real width that has learned nothing."""
    import jax
    import jax.numpy as jnp

    from worldshift.adapt.fast_reflex import STRUCTURES, Calibration
    from worldshift.models.onestep import OneStep

    some = jax.random.normal(jax.random.key(1), (64, OBSERVATIONS))
    return Calibration(
        model=OneStep(some, some, ACTIONS, key=jax.random.key(2)),
        whitening=jnp.eye(OBSERVATIONS),
        score_bias=jnp.zeros((ACTIONS, ACTIONS + 1)),
        healthy_level=jnp.ones(()),
        inflation=jnp.ones(()),
        threshold=jnp.full(len(STRUCTURES), 1e9),
    )


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as text."""
    head = f"{'size':>4} {'threads':>7}  {'step':<28}{'p50 ms':>9}{'p99 ms':>9}{'x policy':>10}"
    lines = [head + f"{'cpu ms':>9}{'x policy':>10}{'compile s':>11}"]
    for row in rows:
        if row["step"] == ALONE:
            lines.append("")
        lines.append(
            f"{row['size']:>4} {row['threads']:>7}  {row['step']:<28}{row['p50_ms']:>9.3f}{row['p99_ms']:>9.3f}"
            f"{row['ratio']:>10.2f}{row['cpu_p50_ms']:>9.3f}{row['cpu_ratio']:>10.2f}{row['compile_s']:>11.1f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
