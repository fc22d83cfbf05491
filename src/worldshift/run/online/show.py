"""How a comparison of online methods is shown: its table, and the panels of its figure over body time."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from worldshift.report.figures import Curve, Panel
from worldshift.report.grid import UNKNOWN, Grid, interval, number, seconds, share
from worldshift.run.online.metrics import Rows, actuation_error, course, trailing
from worldshift.run.online.protocol import Protocol
from worldshift.run.online.summary import ACTUATION_SMOOTHING_S, REWARD_SMOOTHING_S, Summary


def comparison(methods: Mapping[str, Summary], episode_steps: int) -> Grid:
    """Methods under a fault. Rewards are per episode's worth of steps."""
    header = (
        *("method", f"reward / {episode_steps} steps", "recovered", "50 % after", "90 % after"),
        *("actuation error", "below 0.25 after", "control error", "ms a step"),
    )
    rows = []
    for name, s in methods.items():
        kind, *_ = name.split(", ")
        reference = kind in ("nominal", "frozen")
        rows.append(
            (
                name,
                number(s.reward * episode_steps, 0),
                UNKNOWN if reference else share(s.recovery),
                UNKNOWN if reference else seconds(s.time_to_half),
                UNKNOWN if reference else seconds(s.time_to_90),
                UNKNOWN if kind in ("nominal", "finetune") else interval(s.actuation_end),
                UNKNOWN if kind in ("nominal", "finetune") else seconds(s.actuation_times["0.25"]),
                number(s.error_ratio, 2),
                number(s.ms, 2),
            )
        )
    return Grid(header, rows)


COMPARISON_LEGEND = (
    "Recovered: share of the reward lost to the fault that is won back, from 10 s after its onset on; actuation error: "
    "what is still wrong at the motors over what the fault does, at the end of it (1: frozen, 0: perfect); control "
    "error: relative to the frozen agent's."
)


def panels(methods: Mapping[str, Rows], protocol: Protocol, dt: float, *, error: bool = False) -> list[Panel]:
    """Panels of reward, actuation error and, if asked for, control error; time 0 is the first onset.

    Reward: mean over bodies over a trailing 5 s, as a share of the nominal mean (as it is, where that is negative).
    Errors: median over bodies with quartiles as a band, actuation over a trailing 1 s.
    """
    seconds = protocol.block * dt
    onset = protocol.nominal * dt
    x = seconds * np.arange(1, -(-protocol.steps // protocol.block) + 1) - onset
    cycle = protocol.on + protocol.off
    on = tuple((c * cycle * dt, (c * cycle + protocol.on) * dt) for c in range(protocol.cycles))
    starts = episode_starts(protocol, dt)

    def whole(rows: Rows, name: str) -> Float[np.ndarray, "N K"]:
        return np.asarray([row[name] for row in rows], float)

    def window(length: float) -> int:
        return max(1, round(length / seconds))

    level = whole(methods.get("nominal", methods["frozen"]), "reward").mean()
    label, level, limits = ("reward / nominal", level, (0.0, 1.15)) if level > 0 else ("reward per step", 1.0, None)
    reward, actuation, control = {}, {}, {}
    for name, rows in methods.items():
        course(rows, protocol, dt)  # refuses rows of another protocol
        smooth = trailing(whole(rows, "reward").mean(0), window(REWARD_SMOOTHING_S)) / level
        reward[name] = Curve(x, smooth)
        wrong = actuation_error({k: whole(rows, k) for k in ("left", "wrong")}, window(ACTUATION_SMOOTHING_S))
        if name not in ("nominal", "finetune") and np.isfinite(wrong).any():
            actuation[name] = _median(x, wrong)
        control[name] = _median(x, 1e3 * trailing(whole(rows, "error"), window(REWARD_SMOOTHING_S)))
    shown = [
        Panel(label, reward, limits=limits, on=on, episodes=starts),
        Panel("actuation error", actuation, limits=(0.0, 1.3), on=on),
    ]
    return shown + ([Panel("control error (×10⁻³)", control, on=on)] if error else [])


def episode_starts(protocol: Protocol, dt: float, most: int = 40) -> tuple[float, ...]:
    """When episodes begin, time 0 being the first onset; none where they are too many to be told apart."""
    first = protocol.episode_steps - protocol.offset
    starts = tuple((t - protocol.nominal) * dt for t in range(first, protocol.steps, protocol.episode_steps))
    return starts if len(starts) <= most else ()


def _median(x: np.ndarray, values: Float[np.ndarray, "N K"]) -> Curve:
    known = np.isfinite(values).all(0)
    low, middle, high = np.quantile(values[:, known], (0.25, 0.5, 0.75), axis=0)
    return Curve(x[known], middle, low, high) if len(values) > 2 else Curve(x[known], middle)
