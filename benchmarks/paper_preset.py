"""ReDRAW's published sizes on images: milliseconds an update, transitions a second, and what share of the chip that is.

Pretraining (world model, ensemble and both policies) and adaptation (residual and policy, cached posteriors, seeds side
by side) with the preset `paper`, on random data, after compiling, variants interleaved. Arithmetic is counted in what
JAX traces: products and convolutions, times the rounds of their loops. The limit is a large product's, measured here.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from worldshift.adapt import encoded, offline
from worldshift.agents import draw
from worldshift.agents.draw_agent import DrawAgent
from worldshift.agents.imagination import ActorCritic
from worldshift.data.replay import Batch
from worldshift.models.draw import SIZES, Draw
from worldshift.models.vision import PIXELS

VELOCITIES, ACTIONS = 2, 2
"""A reacher's."""
EPISODE = 500
Variant = tuple[str, int, Callable[..., Any], tuple[Any, ...]]
"""A name, transitions an update, many updates, and what they are given."""


def main() -> None:
    """Measures, then prints a table or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=list(SIZES), default="paper", help="networks; learners stay the paper's")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 5], help="adaptations side by side")
    parser.add_argument("--adaptation-alone", action="store_true", help="pretraining takes minutes to compile")
    parser.add_argument("--updates", type=int, default=10, help="in one dispatch")
    parser.add_argument("--rounds", type=int, default=5, help="timed dispatches of each kind")
    parser.add_argument("--side", type=int, default=8192, help="of the matrices whose product is the limit")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    options = parser.parse_args()
    if min(options.updates, options.rounds, options.side, *options.seeds) < 1:
        parser.error("seeds, updates, rounds and side must be at least 1.")
    model = Draw(PIXELS + VELOCITIES, ACTIONS, size=options.size, pixels=True, key=jax.random.key(0))
    variants = [] if options.adaptation_alone else [pretraining(model, options.updates)]
    variants += [adapting(model, seeds, options.updates) for seeds in options.seeds]
    found = {"size": options.size} | measure(variants, options.updates, options.rounds, options.side)
    print(json.dumps(found, indent=1) if options.json else table(found))


def measure(variants: list[Variant], updates: int, rounds: int, side: int) -> dict[str, Any]:
    """Everything, as a JSON object."""
    calls = [jax.jit(many).lower(*given).compile() for _, _, many, given in variants]
    seconds = np.array(
        [
            [timed(call, given) for call, (_, _, _, given) in zip(calls, variants, strict=True)]
            for _ in range(rounds + 1)
        ]
    )[1:]
    limit = product(side)
    rows = []
    for (name, transitions, many, given), each in zip(variants, np.median(seconds, 0) / updates, strict=True):
        work = flops(jax.make_jaxpr(many)(*given)) / updates
        rows.append(
            {
                "variant": name,
                "update_ms": rounded(1e3 * each),
                "transitions_per_s": rounded(transitions / each),
                "gflop_per_update": rounded(work / 1e9),
                "tflop_per_s": rounded(work / each / 1e12),
                "share_of_limit": rounded(work / each / limit),
            }
        )
    device = jax.devices()[0].device_kind
    about = {"device": platform.processor() or device if device == "cpu" else device, "jax": jax.__version__}
    return about | {"limit_tflop_per_s": rounded(limit / 1e12), "side": side, "rows": rows}


def pretraining(model: Draw, updates: int) -> Variant:
    """Updates of the world model, the ensemble and both policies, data on the device."""
    config = draw.PAPER
    arrays, static = eqx.partition(draw.init(model, config, key=jax.random.key(1)), eqx.is_array)
    few = (updates, config.length - 1, config.batch)
    rng = np.random.default_rng(0)
    obs = rng.random((updates, config.length, config.batch, PIXELS + VELOCITIES), np.float32)
    action = rng.uniform(-1, 1, (*few, ACTIONS)).astype(np.float32)
    batches = Batch(jnp.asarray(obs), jnp.asarray(action), jnp.zeros(few), jnp.zeros(few))

    def many(arrays: Any, batches: Batch) -> Any:
        state, _ = draw.update_many(eqx.combine(arrays, static), batches, jax.random.key(2), config)
        return eqx.filter(state, eqx.is_array)

    return "pretraining", config.batch * config.length, many, (arrays, batches)


def adapting(model: Draw, seeds: int, updates: int) -> Variant:
    """Updates of residual and policy, of several seeds in one call."""
    config = offline.PAPER
    agent = DrawAgent(model, ActorCritic(model, key=jax.random.key(3)))
    rng = np.random.default_rng(0)
    episode = (
        rng.random((EPISODE + 1, PIXELS + VELOCITIES), np.float32),
        rng.uniform(-1, 1, (EPISODE, ACTIONS)).astype(np.float32),
    )
    target = encoded.observe(model, [episode] * 4, config.length)
    static = eqx.partition(offline.init(agent, config, key=jax.random.key(4)), eqx.is_array)[1]
    begin = eqx.filter_vmap(lambda key: eqx.filter(offline.init(agent, config, key=key), eqx.is_array))
    keys = jax.random.split(jax.random.key(5), seeds)

    def one(arrays: Any, key: Any) -> Any:
        state, _ = offline.update_many(eqx.combine(arrays, static), target, key, model, config, updates)
        return eqx.filter(state, eqx.is_array)

    name = f"adaptation, {seeds} seed{'s' * (seeds > 1)}"
    return name, seeds * config.batch * config.length, jax.vmap(one), (begin(keys), keys)


def flops(traced: Any) -> float:
    """Floating-point operations of all products and convolutions of a traced function, loops included."""
    total = 0.0
    for equation in getattr(traced, "jaxpr", traced).eqns:
        name, found = equation.primitive.name, equation.params
        if name == "dot_general":
            (contracted, _), _ = found["dimension_numbers"]
            summed = np.prod([equation.invars[0].aval.shape[i] for i in contracted])
            total += 2.0 * float(np.prod(equation.outvars[0].aval.shape)) * float(summed)
        elif name == "conv_general_dilated":
            kernel, channel = equation.invars[1].aval.shape, found["dimension_numbers"].rhs_spec[0]
            summed = np.prod(kernel) / kernel[channel] / np.prod(found["lhs_dilation"])  # zeros between are not work
            total += 2.0 * float(np.prod(equation.outvars[0].aval.shape)) * float(summed)
        inner = [part for value in found.values() for part in (value if isinstance(value, (tuple, list)) else [value])]
        below = [flops(part) for part in inner if hasattr(part, "eqns") or hasattr(part, "jaxpr")]
        if below:
            total += max(below) if name == "cond" else found.get("length", 1) * sum(below)
    return total


def product(side: int) -> float:
    """Floating-point operations a second of a large product of bfloat16 matrices."""
    a, b = (jax.random.normal(jax.random.key(i), (side, side), jnp.bfloat16) for i in (0, 1))
    multiply = jax.jit(jnp.matmul)
    seconds = [timed(multiply, (a, b)) for _ in range(12)][2:]
    return 2.0 * side**3 / float(np.median(seconds))


def timed(call: Callable[..., Any], given: tuple[Any, ...]) -> float:
    """Seconds that a call takes."""
    begin = time.perf_counter()
    jax.block_until_ready(call(*given))
    return time.perf_counter() - begin


def rounded(value: float) -> float:
    """Four digits."""
    return float(f"{value:.4g}")


def table(found: dict[str, Any]) -> str:
    """For people."""
    lines = [
        f"{found['device']}, networks `{found['size']}`; bfloat16 products: {found['limit_tflop_per_s']:g} TFLOP/s",
        f"{'variant':<24}{'ms/update':>11}{'transitions/s':>15}{'GFLOP/update':>14}{'TFLOP/s':>9}{'of limit':>10}",
    ]
    for row in found["rows"]:
        figures = f"{row['update_ms']:>11.4g}{row['transitions_per_s']:>15,.0f}{row['gflop_per_update']:>14.4g}"
        lines.append(f"{row['variant']:<24}{figures}{row['tflop_per_s']:>9.3g}{row['share_of_limit']:>10.2%}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
