"""worldshift: world-model agents that adapt when the dynamics change. This is the public surface, and nothing else.

Names are looked up when they are first used, so that `import worldshift` loads neither JAX nor a simulator.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worldshift import shifts, zoo
    from worldshift.adapt.bounds import Frozen, Oracle
    from worldshift.adapt.calibrate import (
        CalibrationConfig,
        CalibrationError,
        calibrate,
        load_calibration,
        save_calibration,
    )
    from worldshift.adapt.context import ContextConfig, ContextPolicy, fit_context
    from worldshift.adapt.contract import Command, OnlineAdapter, Telemetry, Transition
    from worldshift.adapt.delay import DelayCompensated, DelayConfig
    from worldshift.adapt.fast_reflex import Calibration, FastReflex, FastReflexConfig
    from worldshift.adapt.finetune import Finetune, FinetuneConfig
    from worldshift.adapt.layered import LayeredConfig, LayeredReflex
    from worldshift.adapt.offline import OfflineConfig
    from worldshift.adapt.reflex import Reflex, ReflexConfig
    from worldshift.agents.agent import Agent, load_agent
    from worldshift.agents.draw import DrawConfig
    from worldshift.agents.draw_agent import DrawAgent, load_draw
    from worldshift.agents.mppi import PlannerConfig
    from worldshift.agents.tdmpc2 import LearnerConfig
    from worldshift.checkpoint import CheckpointError
    from worldshift.data.episodes import Episode, Episodes, load_episodes, save_episodes
    from worldshift.envs import BatchEnv, make
    from worldshift.envs.from_gym import FromGym
    from worldshift.run.acting import read_returns
    from worldshift.run.offline.adapt import adapt_offline, save_adapted
    from worldshift.run.offline.record import RecordConfig, record
    from worldshift.run.online.collect import collect
    from worldshift.run.online.comparison import compare
    from worldshift.run.online.protocol import Body, Protocol, read_rows, run_method, write_rows
    from worldshift.run.online.summary import Summary, summarise
    from worldshift.run.training.distil import DistilConfig, distil
    from worldshift.run.training.pretrain import PretrainConfig, pretrain
    from worldshift.run.training.pretrain_draw import PretrainDrawConfig, pretrain_draw
    from worldshift.shifts import Shift, Shifted

_PLACES = {
    "worldshift": ("shifts", "zoo"),
    "worldshift.adapt.bounds": ("Frozen", "Oracle"),
    "worldshift.adapt.calibrate": (
        "CalibrationConfig",
        "CalibrationError",
        "calibrate",
        "load_calibration",
        "save_calibration",
    ),
    "worldshift.adapt.context": ("ContextConfig", "ContextPolicy", "fit_context"),
    "worldshift.adapt.contract": ("Command", "OnlineAdapter", "Telemetry", "Transition"),
    "worldshift.adapt.delay": ("DelayCompensated", "DelayConfig"),
    "worldshift.adapt.fast_reflex": ("Calibration", "FastReflex", "FastReflexConfig"),
    "worldshift.adapt.finetune": ("Finetune", "FinetuneConfig"),
    "worldshift.adapt.layered": ("LayeredConfig", "LayeredReflex"),
    "worldshift.adapt.offline": ("OfflineConfig",),
    "worldshift.adapt.reflex": ("Reflex", "ReflexConfig"),
    "worldshift.agents.agent": ("Agent", "load_agent"),
    "worldshift.agents.draw": ("DrawConfig",),
    "worldshift.agents.draw_agent": ("DrawAgent", "load_draw"),
    "worldshift.agents.mppi": ("PlannerConfig",),
    "worldshift.agents.tdmpc2": ("LearnerConfig",),
    "worldshift.checkpoint": ("CheckpointError",),
    "worldshift.data.episodes": ("Episode", "Episodes", "load_episodes", "save_episodes"),
    "worldshift.envs": ("BatchEnv", "make"),
    "worldshift.envs.from_gym": ("FromGym",),
    "worldshift.run.acting": ("read_returns",),
    "worldshift.run.offline.adapt": ("adapt_offline", "save_adapted"),
    "worldshift.run.online.collect": ("collect",),
    "worldshift.run.online.comparison": ("compare",),
    "worldshift.run.training.distil": ("DistilConfig", "distil"),
    "worldshift.run.training.pretrain": ("PretrainConfig", "pretrain"),
    "worldshift.run.training.pretrain_draw": ("PretrainDrawConfig", "pretrain_draw"),
    "worldshift.run.online.protocol": ("Body", "Protocol", "read_rows", "run_method", "write_rows"),
    "worldshift.run.offline.record": ("RecordConfig", "record"),
    "worldshift.run.online.summary": ("Summary", "summarise"),
    "worldshift.shifts": ("Shift", "Shifted"),
}
_WHERE = {name: place for place, names in _PLACES.items() for name in names}

__all__ = [
    "Agent",
    "BatchEnv",
    "Body",
    "Calibration",
    "CalibrationConfig",
    "CalibrationError",
    "CheckpointError",
    "Command",
    "ContextConfig",
    "ContextPolicy",
    "DelayCompensated",
    "DelayConfig",
    "DistilConfig",
    "DrawAgent",
    "DrawConfig",
    "Episode",
    "Episodes",
    "FastReflex",
    "FastReflexConfig",
    "Finetune",
    "FinetuneConfig",
    "FromGym",
    "Frozen",
    "LayeredConfig",
    "LayeredReflex",
    "LearnerConfig",
    "OfflineConfig",
    "OnlineAdapter",
    "Oracle",
    "PlannerConfig",
    "PretrainConfig",
    "PretrainDrawConfig",
    "Protocol",
    "RecordConfig",
    "Reflex",
    "ReflexConfig",
    "Shift",
    "Shifted",
    "Summary",
    "Telemetry",
    "Transition",
    "adapt_offline",
    "calibrate",
    "collect",
    "compare",
    "distil",
    "fit_context",
    "load_agent",
    "load_calibration",
    "load_draw",
    "load_episodes",
    "make",
    "pretrain",
    "pretrain_draw",
    "read_returns",
    "read_rows",
    "record",
    "run_method",
    "save_adapted",
    "save_calibration",
    "save_episodes",
    "shifts",
    "summarise",
    "write_rows",
    "zoo",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"worldshift has no {name!r}; it has {', '.join(__all__)}.")
    place = _WHERE[name]
    if place == "worldshift":
        return importlib.import_module(f"worldshift.{name}")
    value = getattr(importlib.import_module(place), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
