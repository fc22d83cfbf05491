"""FromGym against the environments inside it: same physics, rescaled commands, real headroom, clear refusals."""

# MuJoCo ships no type stubs.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from worldshift.envs.from_gym import FromGym


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """MuJoCo writes its log of warnings where it runs."""
    monkeypatch.chdir(tmp_path)
    yield


class Recorder(gymnasium.Env):
    """Records the commands it gets; each step pays 1; what it observes and when it ends is up to the test."""

    def __init__(self, action_space: spaces.Space | None = None, observation_space: spaces.Space | None = None):
        self.action_space = action_space or spaces.Box(-1.0, 1.0, (1,), np.float64)
        self.observation_space = observation_space or spaces.Box(-1.0, 1.0, (2,), np.float64)
        self.commands: list[Any] = []
        self.observation: Any = np.zeros(2)
        self.ends_at = 10**9

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.commands = []
        return self.observation, {"options": options}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.commands.append(action)
        count = len(self.commands)
        return self.observation, 1.0, count == self.ends_at, False, {"count": count}


@pytest.mark.filterwarnings("ignore:.*A Box observation space", "ignore:.*For Box action spaces")
@pytest.mark.parametrize("env_id", ["Pendulum-v1", "HalfCheetah-v5", "InvertedPendulum-v5"])
def test_gymnasium_accepts_it(env_id: str) -> None:
    env = FromGym(env_id, headroom=2.0, action_repeat=2)
    check_env(env, skip_render_check=True)
    env.close()


@pytest.mark.parametrize(
    ("env_id", "scale"), [("Pendulum-v1", 2.0), ("HalfCheetah-v5", 1.0), ("InvertedPendulum-v5", 3.0)]
)
def test_same_trajectory_as_the_environment_inside(env_id: str, scale: float) -> None:
    """At repeat 1 a command in plus and minus 1 is the environment's own in plus and minus `scale`."""
    adapted, plain = FromGym(env_id), gymnasium.make(env_id)
    observation, _ = adapted.reset(seed=5)
    expected, _ = plain.reset(seed=5)
    np.testing.assert_array_equal(observation, np.asarray(expected, np.float32))
    rng = np.random.default_rng(0)
    for _ in range(20):
        action = rng.uniform(-1, 1, adapted.action_space.shape).astype(np.float32)
        observation, reward, *ends, _ = adapted.step(action)
        expected, expected_reward, *expected_ends, _ = plain.step(np.float32(scale) * action)
        np.testing.assert_allclose(observation, np.asarray(expected, np.float32), rtol=1e-5, atol=1e-6)
        assert reward == pytest.approx(float(expected_reward), rel=1e-5)
        assert ends == expected_ends
        if any(ends):
            break


def test_commands_cover_lopsided_bounds_of_any_shape() -> None:
    low, high = np.array([[0.0, -2.0]]), np.array([[4.0, 6.0]])
    inside = Recorder(spaces.Box(low, high, dtype=np.float64))
    env = FromGym(inside)
    env.reset()
    for action in ([-1.0, -1.0], [0.0, 0.0], [1.0, 1.0]):
        env.step(np.array(action))
    np.testing.assert_allclose(inside.commands, [low, (low + high) / 2, high])
    assert env.action_space.shape == (2,)


def test_headroom_is_real_on_mujoco_and_leaves_no_trace() -> None:
    env = FromGym("HalfCheetah-v5", headroom=2.0)
    nominal = gymnasium.make("HalfCheetah-v5").unwrapped.model.actuator_ctrlrange  # type: ignore[attr-defined]
    assert isinstance(env.model, mujoco.MjModel) and isinstance(env.data, mujoco.MjData)
    assert env.reach == 2.0
    forces = {}
    for command in (1.0, 2.0, 5.0):
        env.reset(seed=0)
        env.step(np.full(6, command))
        forces[command] = env.data.actuator_force.copy()
    np.testing.assert_allclose(forces[2.0], 2 * forces[1.0])
    np.testing.assert_allclose(forces[5.0], forces[2.0])
    model = env.model
    env.close()
    np.testing.assert_array_equal(model.actuator_ctrlrange, nominal)


def test_elsewhere_commands_stop_at_the_bounds() -> None:
    inside = Recorder()
    env = FromGym(inside, headroom=2.0)
    env.reset()
    env.step(np.array([1.7]))
    assert env.reach == 1.0
    assert env.action_space.high.item() == 2.0
    assert inside.commands[0].item() == 1.0
    for name in ("model", "data", "dt"):
        assert not hasattr(env, name)


def test_a_wrapper_that_rescales_commands_keeps_its_own_bounds() -> None:
    """The bounds seen are not the motors' own, so widening the motors would change what the wrapper means."""
    wrapped = gymnasium.wrappers.RescaleAction(gymnasium.make("InvertedPendulum-v5"), np.float32(-0.5), np.float32(0.5))
    env = FromGym(wrapped, headroom=2.0)
    env.reset(seed=0)
    env.step(np.array([2.0]))
    assert env.reach == 1.0
    assert env.data.ctrl.item() == pytest.approx(3.0)


def test_an_agent_step_sums_its_repeats_and_stops_at_the_end() -> None:
    inside = Recorder()
    env = FromGym(inside, action_repeat=4)
    env.reset()
    inside.ends_at = 6
    observation, reward, terminated, truncated, info = env.step(np.zeros(1))
    assert (reward, terminated, truncated, info) == (4.0, False, False, {"count": 4})
    observation, reward, terminated, truncated, info = env.step(np.zeros(1))
    assert (reward, terminated, truncated, info) == (2.0, True, False, {"count": 6})
    assert observation.dtype == np.float32


def test_a_fall_terminates() -> None:
    env = FromGym("InvertedPendulum-v5")
    env.reset(seed=0)
    for _ in range(100):
        _, _, terminated, truncated, _ = env.step(np.ones(1))
        if terminated:
            break
    assert terminated and not truncated


def test_the_length_of_an_episode() -> None:
    assert FromGym("Pendulum-v1", action_repeat=3).episode_steps == 67  # 200 / 3, rounded up
    assert FromGym("Pendulum-v1", episode_steps=1000).episode_steps == 200
    assert FromGym(Recorder()).episode_steps is None
    env = FromGym("Pendulum-v1", action_repeat=3)
    for _ in range(2):
        env.reset(seed=0)
        assert [env.step(np.zeros(1))[3] for _ in range(67)] == [False] * 66 + [True]
    short = FromGym(Recorder(), episode_steps=3)
    short.reset()
    assert [short.step(np.zeros(1))[3] for _ in range(3)] == [False, False, True]


def test_body_time() -> None:
    assert FromGym("HalfCheetah-v5", action_repeat=2).dt == pytest.approx(0.1)
    assert FromGym("Pendulum-v1", action_repeat=2).dt == pytest.approx(0.1)


def test_seeds_and_options_reach_the_environment_inside() -> None:
    env = FromGym("Pendulum-v1")
    first, again, other = (env.reset(seed=seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert FromGym(Recorder()).reset(options={"a": 1})[1] == {"options": {"a": 1}}


def test_nested_observations_become_one_vector() -> None:
    parts = {"b": spaces.Box(-1.0, 1.0, (2, 2)), "a": spaces.Tuple([spaces.Discrete(3), spaces.Box(0.0, np.inf, (1,))])}
    space = spaces.Dict(parts)
    inside = Recorder(observation_space=space)
    inside.observation = {"b": np.array([[0.1, 0.2], [0.3, 0.4]], np.float32), "a": (1, np.array([7.0], np.float32))}
    env = FromGym(inside)
    observation, _ = env.reset()
    assert sorted(observation.tolist()) == sorted(np.array([0.1, 0.2, 0.3, 0.4, 0, 1, 0, 7], np.float32).tolist())
    assert observation in env.observation_space
    np.testing.assert_array_equal(observation, spaces.flatten(space, inside.observation))


def test_float64_bounds_beyond_float32_are_no_bounds() -> None:
    env = FromGym(Recorder(observation_space=spaces.Box(-1e300, 1.0, (2,), np.float64)))
    np.testing.assert_array_equal(env.observation_space.low, [-np.inf, -np.inf])
    np.testing.assert_array_equal(env.observation_space.high, [1, 1])


def test_a_diverged_simulation_is_named() -> None:
    inside = Recorder()
    env = FromGym(inside)
    env.reset()
    inside.observation = np.array([0.0, np.nan])
    with pytest.raises(ValueError, match="nan in component 1 after agent step 1"):
        env.step(np.zeros(1))


@pytest.mark.parametrize("action", [np.zeros(2), np.array([np.nan])])
def test_bad_actions_are_refused(action: np.ndarray) -> None:
    env = FromGym(Recorder())
    env.reset()
    with pytest.raises(ValueError, match="1 finite numbers"):
        env.step(action)


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        ("Nowhere-v0", "Gymnasium cannot make 'Nowhere-v0'"),
        ("no_such_package:Env-v0", "Gymnasium cannot make"),
        ("CartPole-v1", "discrete actions"),
        (Recorder(spaces.MultiBinary(2)), "discrete actions"),
        (Recorder(spaces.Box(0, 3, (1,), np.int64)), "discrete actions"),
        (Recorder(spaces.Box(-np.inf, 1.0, (1,))), "unbounded action space"),
        (Recorder(observation_space=spaces.Box(0, 255, (8, 8, 3), np.uint8)), "observes images"),
        (Recorder(observation_space=spaces.Dict({"eye": spaces.Box(0, 255, (8, 8), np.uint8)})), "observes images"),
        (Recorder(observation_space=spaces.Text(5)), "no fixed length"),
    ],
)
def test_unfit_environments_are_refused(inside: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        FromGym(inside)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "arguments", [{"action_repeat": 0}, {"headroom": 0.9}, {"headroom": float("inf")}, {"episode_steps": 0}]
)
def test_bad_settings_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        FromGym(Recorder(), **arguments)
