"""Updates per second of an offline adaptation: with cached posteriors, without, and for a finetune of the dynamics.

ReDRAW's encoder is frozen, so the posteriors of the target data can be computed once; its published code computes them
in every batch. All variants are interleaved in one process after warm-up, on random data of a walker's size, or with
`--images` of a body that is seen by its camera.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from worldshift.adapt import encoded, offline
from worldshift.adapt.offline import OfflineConfig, OfflineState
from worldshift.agents.draw_agent import DrawAgent
from worldshift.agents.imagination import ActorCritic
from worldshift.models.draw import SIZES, Draw
from worldshift.models.vision import PIXELS

OBSERVATIONS, ACTIONS, EPISODE = 24, 6, 500
VELOCITIES = 4
"""What is observed beside an image."""


def main() -> None:
    """Measures, then prints a table or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=list(SIZES), default="tiny", help="model size")
    parser.add_argument("--transitions", type=int, nargs="+", default=[1_000, 4_000, 10_000, 40_000])
    parser.add_argument("--images", action="store_true", help="observations are images; 49 kB a transition in memory")
    parser.add_argument("--updates", type=int, default=50, help="in one dispatch")
    parser.add_argument("--rounds", type=int, default=5, help="timed dispatches of each kind")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    options = parser.parse_args()
    if min(options.updates, options.rounds, *options.transitions) < 1:
        parser.error("updates, rounds and transitions must be at least 1.")
    rows = [
        row
        for count in options.transitions
        for row in measure(options.size, options.images, count, options.updates, options.rounds)
    ]
    about = {"size": options.size, "images": options.images}
    print(json.dumps(about | {"rows": rows}) if options.json else table(rows))


def measure(size: str, images: bool, transitions: int, updates: int, rounds: int) -> list[dict[str, Any]]:
    """Rows of all variants at one amount of data."""
    observations = PIXELS + VELOCITIES if images else OBSERVATIONS
    model = Draw(observations, ACTIONS, size=size, pixels=images, key=jax.random.key(0))
    agent = DrawAgent(model, ActorCritic(model, key=jax.random.key(1)))
    rng, config = np.random.default_rng(0), OfflineConfig()
    steps = min(EPISODE, transitions)
    episodes = [
        (rng.normal(size=(steps + 1, observations)).astype(np.float32), rng.uniform(-1, 1, (steps, ACTIONS)))
        for _ in range(max(1, transitions // steps))
    ]
    begun = time.perf_counter()
    target = jax.block_until_ready(encoded.observe(model, episodes, config.length, keep=True))
    cache_s = time.perf_counter() - begun

    def windows(key: jax.Array, cached: bool) -> encoded.Windows:
        drawn = encoded.draw_windows(target, config.batch, config.length, key)
        return drawn if cached else drawn._replace(log_posterior=model.infer(model.embed(jnp.asarray(drawn.obs))))

    def variant(config: OfflineConfig, cached: bool) -> tuple[Callable[[OfflineState], OfflineState], OfflineState]:
        @eqx.filter_jit
        def many(state: OfflineState) -> OfflineState:
            arrays, static = eqx.partition(state, eqx.is_array)

            def body(arrays: Any, key: jax.Array) -> tuple[Any, None]:
                k_windows, k_update = jax.random.split(key)
                drawn = windows(k_windows, cached)
                after, _ = offline.update(eqx.combine(arrays, static), model, drawn, k_update, config)
                return eqx.filter(after, eqx.is_array), None

            keys = jax.random.split(jax.random.key(3), updates)
            return eqx.combine(jax.lax.scan(body, arrays, keys)[0], static)

        return many, offline.init(agent, config, key=jax.random.key(2))

    short = replace(config, policy=replace(config.policy, horizon=1))
    variants = {
        "residual, cached posteriors": variant(config, True),
        "residual, encoder in every batch": variant(config, False),
        "finetune of the dynamics": variant(replace(config, trains="dynamics"), True),
        "finetune of everything": variant(replace(config, trains="everything"), True),
        "residual without dreams (horizon 1)": variant(short, True),
        "policy alone (no residual step)": variant(replace(config, trains="nothing"), True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for round_number in range(rounds + 1):  # the first one compiles
        for name, (many, state) in variants.items():
            begun = time.perf_counter()
            jax.block_until_ready(eqx.filter(many(state), eqx.is_array))
            if round_number:
                seconds[name].append(time.perf_counter() - begun)
    first = float(np.median(seconds["residual, cached posteriors"]))
    return [
        {
            "transitions": transitions,
            "variant": name,
            "updates_per_s": round(updates / float(np.median(each)), 1),
            "time_ratio": round(float(np.median(each)) / first, 2),
            "cache_s": round(cache_s, 2),
        }
        for name, each in seconds.items()
    ]


def table(rows: list[dict[str, Any]]) -> str:
    """For people."""
    lines = [f"{'transitions':>11}  {'variant':<38}{'updates/s':>10}{'time':>8}{'cache':>9}"]
    for r in rows:
        figures = f"{r['updates_per_s']:>10.1f}{r['time_ratio']:>7.2f}x{r['cache_s']:>7.1f} s"
        lines.append(f"{r['transitions']:>11,}  {r['variant']:<38}{figures}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
