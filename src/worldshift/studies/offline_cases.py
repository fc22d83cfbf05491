"""What studies of offline adaptation compare: methods, data of the target, choices around the residual, long training.

Every line of a table is a `Case` here; how one is run and summed up is `offline`.
"""

from dataclasses import replace

from worldshift.adapt import residual
from worldshift.adapt.offline import OfflineConfig
from worldshift.adapt.residual import ResidualConfig
from worldshift.studies.offline import Case, OfflineStudy

DREAMERS = ("draw-pendulum-swingup-1", "draw-reacher-easy-1", "draw-cup-catch-1", "draw-finger-turn-hard-1")
"""The shipped source agents whose pair has an oracle."""
PIXELS = ("draw-pixels-pendulum-swingup-1", "draw-pixels-reacher-easy-1", "draw-pixels-cup-catch-1")
"""The shipped source agents that see images: the first pretrained from them, the others distilled."""
SEEDS = (2000, 2001, 2002, 2003, 2004)
"""Never used for tuning, which had 100 to 102."""
TUNING_SEEDS = (100, 101)
_ONE = OfflineConfig()
_DYNAMICS = replace(_ONE, trains="dynamics")
_REPLACEMENT = replace(_ONE, trains="replacement")
_EVERYTHING = replace(_ONE, trains="everything")
_WAYS = {
    "residual": _ONE,
    "finetune of the dynamics": _DYNAMICS,
    "replacement": _REPLACEMENT,
    "finetune of everything": _EVERYTHING,
}
"""What adapts the model, by its name in the tables: the same loop with other trainables."""
_RATES = {"1e-3 after 1e-2": (1e-3, 10.0), "1e-3 throughout": (1e-3, 1.0), "3e-4 after 3e-3": (3e-4, 10.0)}
"""Learning rates of what adapts the model, and how many times as high they are while it leads; the first is ours."""
_TUNED = dict.fromkeys(("residual", "finetune of the dynamics"), "1e-3 throughout") | {
    "finetune of everything": "3e-4 after 3e-3"
}
"""What served better than ours with the tuning seeds (`offline-rates`): all on the cup, the last on the reacher too."""
_PUBLISHED = replace(
    _ONE, residual=residual.PAPER, learning_rate=1e-2, actor="fresh", critic="fresh", lead=0, starts_from="all"
)
_BOUNDS = (Case("zero-shot"), Case("oracle", measured="oracle"))


def _at(config: OfflineConfig, rates: str) -> OfflineConfig:
    rate, lead = _RATES[rates]
    return replace(config, learning_rate=rate, lead_rate=lead)


def _slowly(case: Case) -> Case:
    """From whole episodes, and without the fast lead: as cases were measured before both came."""
    return replace(case, length=None, config=case.config and _at(case.config, "1e-3 throughout"))


def _dreaming(steps: int, latents: int) -> OfflineConfig:
    """The default, but for how much is dreamt."""
    return replace(_ONE, starts=latents, policy=replace(_ONE.policy, horizon=steps))


OFFLINE_STUDIES = (
    OfflineStudy(
        "offline-methods",
        "40,000 reward-free transitions of the target: ways of adapting, on equal footing",
        DREAMERS,
        (
            *_BOUNDS,
            Case("domain randomisation", measured="randomised"),
            Case("residual", _ONE),
            Case("finetune of the dynamics", _DYNAMICS),
            Case("replacement", _REPLACEMENT),
            Case("residual as published", _PUBLISHED),
            Case("finetune of everything", _EVERYTHING),
            Case("recurrent model, zero-shot", recurrent=True),
            Case("finetune of the recurrent model", _DYNAMICS, recurrent=True),
        ),
        updates=3000,
        seeds=SEEDS,
    ),
    OfflineStudy(
        "offline-pixels",
        "the same from images of 64 x 64 and velocities, and how much of the data the adapted agent records itself",
        PIXELS,
        (
            *_BOUNDS,
            Case("residual", _ONE),
            Case("residual, half of 40,000 its own", _ONE, recordings=2),
            Case("residual, whole episodes", _ONE, length=None),
            Case("residual, half its own, whole episodes", _ONE, length=None, recordings=2),
            Case("finetune of the dynamics", _DYNAMICS),
            Case("replacement", _REPLACEMENT),
            Case("finetune of the dynamics, whole episodes", _DYNAMICS, length=None),
            Case("replacement, whole episodes", _REPLACEMENT, length=None),
            Case("policy alone, whole episodes", replace(_ONE, trains="nothing"), length=None),
        ),
        updates=3000,
        seeds=SEEDS,
    ),
    OfflineStudy(
        "offline-own",
        "half of the data and more recorded by what was adapted so far: ways of adapting, on equal footing",
        DREAMERS,
        (
            *_BOUNDS,
            Case("residual, half of 40,000 its own", _ONE, recordings=2),
            Case("residual, half of 40,000 its own, 6,000 updates", _ONE, recordings=2, updates=6000),
            Case("replacement, half of 40,000 its own", _REPLACEMENT, recordings=2),
            Case("finetune of the dynamics, half of 40,000 its own", _DYNAMICS, recordings=2),
            Case("finetune of everything, half of 40,000 its own", _EVERYTHING, recordings=2),
            *(
                Case(f"{name}, half of 40,000 its own, {rates}", _at(_WAYS[name], rates), recordings=2)
                for name, rates in _TUNED.items()
            ),
            Case("residual, half of 4,000 its own", _ONE, transitions=4_000, recordings=2),
            Case("residual, three quarters of 40,000 its own", _ONE, recordings=4),
            Case("residual, three quarters of 4,000 its own", _ONE, transitions=4_000, recordings=4),
            Case("residual, half of 4,000 its own in two turns", _ONE, transitions=4_000, recordings=3, first=2_000),
            Case(
                "residual, half of 4,000 its own in two turns, 6,000 updates",
                _ONE,
                transitions=4_000,
                recordings=3,
                first=2_000,
                updates=6000,
            ),
            Case(
                "residual, half of 4,000 its own in four turns, 6,000 updates",
                _ONE,
                transitions=4_000,
                recordings=5,
                first=2_000,
                updates=6000,
            ),
        ),
        updates=3000,
        seeds=SEEDS,
    ),
    OfflineStudy(
        "offline-data",
        "how much data of the target, and whose: mixed is half expert, half with bursts of noise",
        DREAMERS,
        (
            *_BOUNDS,
            *(
                _slowly(Case(f"{name}, {count:,} mixed", config, transitions=count))
                for count in (10_000, 4_000, 1_000)
                for name, config in _WAYS.items()
            ),
            _slowly(Case("residual, 40,000 expert", _ONE, data="policy")),
            _slowly(Case("residual, 40,000 random", _ONE, data="random")),
            _slowly(Case("residual, 40,000 with failures", _ONE, data="failures")),
            _slowly(Case("finetune of the dynamics, 40,000 expert", _DYNAMICS, data="policy")),
        ),
        updates=3000,
        seeds=SEEDS,
    ),
    OfflineStudy(
        "offline-choices",
        "choices around the residual, one changed at a time, 40,000 mixed transitions in whole episodes",
        DREAMERS[:1],
        (
            *_BOUNDS,
            *(
                _slowly(Case(name, config))
                for name, config in (
                    ("residual", _ONE),
                    ("without the belief", replace(_ONE, residual=ResidualConfig(belief=False))),
                    ("random output layer", replace(_ONE, residual=ResidualConfig(zero_init=False))),
                    ("never mixed with uniform", replace(_ONE, residual=ResidualConfig(unimix=0.0))),
                    ("width 64", replace(_ONE, residual=ResidualConfig(width=64))),
                    ("fresh critic", replace(_ONE, critic="fresh")),
                    ("fresh actor", replace(_ONE, actor="fresh")),
                    ("warm actor", replace(_ONE, actor="warm")),
                    ("policy from the start", replace(_ONE, lead=0)),
                    ("dreams from all latents alike", replace(_ONE, starts_from="all")),
                    ("dreams from 16 latents", replace(_ONE, starts=16)),
                    ("dreams of 5 steps", replace(_ONE, policy=replace(_ONE.policy, horizon=5))),
                    ("not averaged", replace(_ONE, average=1.0)),
                )
            ),
        ),
        updates=3000,
        seeds=SEEDS,
    ),
    OfflineStudy(
        "offline-rates",
        "learning rates: the same three for every way of adapting, on seeds that no other study uses",
        DREAMERS[1:3],
        (
            *_BOUNDS,
            *(Case(f"{name}, {rates}", _at(config, rates)) for name, config in _WAYS.items() for rates in _RATES),
        ),
        updates=2000,
        seeds=TUNING_SEEDS,
    ),
    OfflineStudy(
        "offline-small",
        "how little computing still solves each task: shorter dreams from fewer latents, half of 40,000 its own",
        DREAMERS,
        (
            *_BOUNDS,
            Case("dreams of 10 steps from 32 latents", _dreaming(10, 32), recordings=2),
            Case("dreams of 5 steps from 16 latents", _dreaming(5, 16), recordings=2),
        ),
        updates=3000,
        seeds=SEEDS,
    ),
    OfflineStudy(
        "offline-long",
        "ten times the updates that the residual needs on the pendulum: who overfits",
        (DREAMERS[0], DREAMERS[2]),
        (
            *_BOUNDS,
            _slowly(Case("residual", _ONE)),
            _slowly(Case("finetune of the dynamics", _DYNAMICS)),
            _slowly(Case("replacement", _REPLACEMENT)),
            _slowly(Case("finetune of everything", _EVERYTHING)),
        ),
        updates=20_000,
        seeds=SEEDS[:2],
        measure_every=1000,
    ),
)
