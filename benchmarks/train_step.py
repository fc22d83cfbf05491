"""Times training: updates per second, and what an agent step's time is spent on, by model size, batch and precision.

Walker dimensions, random weights and data (speed does not depend on training), the loop's own calls: sampling, one
dispatch of many updates, acting, stepping the bodies. All settings are interleaved in one process after warm-up, so
ratios are medians over rounds in which both were measured; compile time stands apart.
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from worldshift import envs
from worldshift.agents import tdmpc2
from worldshift.agents.agent import Agent
from worldshift.data.replay import Replay
from worldshift.models.latent import WorldModel
from worldshift.nn import Precision

TASK, OBSERVATIONS, ACTIONS = "walker-walk", 24, 6
EPISODES, EPISODE_STEPS = 20, 500
PARTS = ("sampling", "update", "acting", "environment")


class Setting(NamedTuple):
    """What is compared."""

    size: int
    batch: int
    precision: Precision


class Amounts(NamedTuple):
    """How much is done at a time, as in training."""

    rounds: int
    updates: int
    """Updates in a dispatch."""
    num_envs: int
    updates_per_step: float

    @property
    def steps(self) -> int:
        """Steps of all bodies together while one dispatch computes."""
        return max(1, round(self.updates / self.updates_per_step / self.num_envs))


def main() -> None:
    """Measures every setting, then prints a table or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 5], help="model sizes, in millions of parameters")
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 128, 256], help="sub-sequences per update")
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"], choices=["float32", "bfloat16"])
    parser.add_argument("--rounds", type=int, default=7, help="timed dispatches of each setting")
    parser.add_argument("--updates", type=int, default=20, help="updates in a dispatch")
    parser.add_argument("--num-envs", type=int, default=4, help="bodies side by side")
    parser.add_argument("--updates-per-step", type=float, default=0.5, help="gradient steps per agent step")
    parser.add_argument("--quick", action="store_true", help="size 1, batches 64 and 128, 3 rounds of 6 updates")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    options = parser.parse_args()
    if options.quick:
        options.sizes, options.batches, options.rounds, options.updates = [1], [64, 128], 3, 6
    amounts = Amounts(options.rounds, options.updates, options.num_envs, options.updates_per_step)
    if min(amounts) <= 0 or min(options.batches) < 1:
        parser.error("rounds, updates, bodies, updates per step and batches must all be positive.")
    grid = [Setting(s, b, p) for s in options.sizes for b in options.batches for p in options.precisions]
    try:
        rows = measure(grid, amounts)
    except ValueError as error:
        parser.error(str(error))
    print(json.dumps({"task": TASK, **amounts._asdict(), "rows": rows}) if options.json else table(rows, amounts))


def measure(grid: list[Setting], amounts: Amounts) -> list[dict[str, Any]]:
    """One row for each setting: milliseconds, shares and ratios."""
    batch_env = envs.BatchEnv([lambda: envs.make(TASK)] * amounts.num_envs)
    replay = filled_replay()
    models = {
        size: WorldModel(OBSERVATIONS, ACTIONS, size=size, key=jax.random.key(0)) for size in {s.size for s in grid}
    }
    bodies = stepping(batch_env, amounts)
    acting = {size: choosing(Agent(model), amounts) for size, model in models.items()}
    learners = [Learner(setting, models[setting.size], replay, amounts.updates) for setting in grid]
    compile_s = [timed(learner.update) for learner in learners]
    for warm_up in (bodies, *acting.values(), *(learner.update for learner in learners)):
        warm_up()

    seconds: dict[str, list[list[float]]] = {part: [[] for _ in grid] for part in (*PARTS, "together")}
    for _ in range(amounts.rounds):
        for i, learner in enumerate(learners):
            seconds["sampling"][i].append(timed(learner.sample))
            seconds["update"][i].append(timed(learner.update))
            seconds["acting"][i].append(timed(acting[learner.setting.size]))
            seconds["environment"][i].append(timed(bodies))
            seconds["together"][i].append(timed(lambda learner=learner: (learner.dispatch(), bodies(), learner.wait())))
    batch_env.close()
    array = {part: np.array(times) for part, times in seconds.items()}  # (settings, rounds)
    return [summary(i, grid, array, compile_s[i], amounts) for i in range(len(grid))]


def summary(
    i: int, grid: list[Setting], seconds: dict[str, np.ndarray], compile_s: float, amounts: Amounts
) -> dict[str, Any]:
    """The row of setting `i`. A ratio is the median of the rounds' own ratios."""
    setting, median = grid[i], {part: float(np.median(times[i])) for part, times in seconds.items()}
    whole = sum(median[part] for part in PARTS)
    exact = setting._replace(precision="float32")
    update, alone = seconds["update"], seconds["update"] + seconds["environment"]
    row: dict[str, Any] = setting._asdict() | {
        "updates_per_s": amounts.updates / (median["sampling"] + median["update"]),
        "update_ms": 1e3 * median["update"] / amounts.updates,
        "sampling_ms": 1e3 * median["sampling"] / amounts.updates,
        "acting_ms": 1e3 * median["acting"] / amounts.steps,
        "environment_ms": 1e3 * median["environment"] / amounts.steps,
        "share": {part: median[part] / whole for part in PARTS},
        "x_first": float(np.median(update[i] / update[0])),
        "overlap": float(np.median(seconds["together"][i] / alone[i])),
        "compile_s": compile_s,
    }
    if exact in grid:
        row["x_float32"] = float(np.median(update[i] / update[grid.index(exact)]))
    return row


class Learner:
    """Samples and updates as training does, with one setting."""

    def __init__(self, setting: Setting, model: WorldModel, replay: Replay, updates: int):
        self.setting, self._replay, self._updates = setting, replay, updates
        self._config = tdmpc2.LearnerConfig(batch=setting.batch, precision=setting.precision)
        self._discount = self._config.discount(EPISODE_STEPS)
        self._state, self._rng = tdmpc2.init(model, self._config), np.random.default_rng(0)
        self.sample()

    def sample(self) -> None:
        """Draws the batches of a dispatch."""
        config = self._config
        self._batches = self._replay.sample(self._rng, config.batch, config.horizon, self._updates)

    def dispatch(self) -> None:
        """Starts a dispatch of updates."""
        key = jax.random.key(0)
        self._state, _ = tdmpc2.update_many(self._state, self._batches, key, self._discount, self._config, jnp.ones(()))

    def wait(self) -> None:
        """Waits until the dispatch is done."""
        jax.block_until_ready(self._state)

    def update(self) -> None:
        """A whole dispatch, on the batches drawn last."""
        self.dispatch()
        self.wait()


def stepping(batch_env: envs.BatchEnv, amounts: Amounts) -> Callable[[], None]:
    """Moves all bodies by the steps of a dispatch."""
    rng, seeds = np.random.default_rng(0), list(range(amounts.num_envs))
    batch_env.reset(seeds)

    def run() -> None:
        for _ in range(amounts.steps):
            step = batch_env.step(rng.uniform(-1, 1, (amounts.num_envs, ACTIONS)))
            if step.truncated.any():
                batch_env.reset(seeds)

    return run


def choosing(agent: Agent, amounts: Amounts) -> Callable[[], None]:
    """Chooses the actions of the steps of a dispatch."""
    obs, memory, key = np.zeros((amounts.num_envs, OBSERVATIONS), np.float32), agent.init_memory(amounts.num_envs), 0

    def run() -> None:
        for t in range(amounts.steps):
            np.asarray(agent.explore(memory, obs, jax.random.key(key + t))[0])

    return run


def filled_replay() -> Replay:
    """Episodes of noise, of the task's real shape."""
    rng, replay = np.random.default_rng(0), Replay(OBSERVATIONS, ACTIONS)
    for _ in range(EPISODES):
        obs, action = rng.normal(size=(EPISODE_STEPS + 1, OBSERVATIONS)), rng.uniform(-1, 1, (EPISODE_STEPS, ACTIONS))
        replay.add(obs, action, rng.uniform(0, 2, EPISODE_STEPS), False)
    return replay


def timed(call: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def table(rows: list[dict[str, Any]], amounts: Amounts) -> str:
    """The rows as text."""
    head = f"{'size':>4} {'batch':>5}  {'precision':<9}{'updates/s':>10}{'ms':>8}{'x first':>9}{'x float32':>10}"
    head += "".join(f"{part:>13}" for part in PARTS) + f"{'overlap':>9}{'compile s':>11}"
    lines = [
        f"{TASK}: {amounts.updates} updates a dispatch, {amounts.num_envs} bodies, "
        f"{amounts.updates_per_step} updates an agent step, medians of {amounts.rounds} rounds",
        "ms and ratios: of one update; shares: of all parts done one after the other; overlap: updating and stepping",
        "the bodies at the same time, over one after the other",
        "",
        head,
    ]
    for row in rows:
        shares = "".join(f"{row['share'][part]:>13.0%}" for part in PARTS)
        faster = f"{row['x_float32']:>10.2f}" if "x_float32" in row else " " * 10
        lines.append(
            f"{row['size']:>4} {row['batch']:>5}  {row['precision']:<9}{row['updates_per_s']:>10.1f}"
            f"{row['update_ms']:>8.2f}{row['x_first']:>9.2f}{faster}{shares}"
            f"{row['overlap']:>9.2f}{row['compile_s']:>11.1f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
