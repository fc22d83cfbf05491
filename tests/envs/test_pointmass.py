"""The point mass against closed forms: a double integrator of known mass and gear, its reward, and fig. 1C's metric."""

# MuJoCo ships no type stubs.
# pyright: reportAttributeAccessIssue=false

import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from worldshift.envs.pointmass import ARENA, GEAR, MASS, START, TARGET, PointMassEnv, signed_deviation

DT = 0.02  # one control step (s)


def _run(env: PointMassEnv, turn: float) -> tuple[np.ndarray, float]:
    """Positions and return of a damped spring towards the target whose actions are turned anticlockwise (rad)."""
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    observation, _ = env.reset()
    trajectory, total, truncated = [observation], 0.0, False
    while not truncated:
        wish = 4.0 * (np.asarray(TARGET) - observation[:2]) - 5.0 * observation[2:]
        observation, reward, terminated, truncated, _ = env.step(rotation @ np.clip(wish, -1, 1))
        assert not terminated
        trajectory.append(observation)
        total += reward
    return np.stack(trajectory), total


@pytest.mark.filterwarnings("ignore:.*A Box observation space", "ignore:.*For Box action spaces")
@pytest.mark.parametrize("headroom", [1.0, 2.0])
def test_gymnasium_accepts_it(headroom: float) -> None:
    check_env(PointMassEnv(headroom=headroom, start_jitter=0.01), skip_render_check=True)


@pytest.mark.parametrize("command", [(1.0, 0.0), (-0.5, 0.25), (2.0, -2.0)])
def test_double_integrator(command: tuple[float, float]) -> None:
    """Euler with the new velocity: after k control steps v = a k dt and x = x0 + a dt^2 k (k + 1) / 2."""
    env = PointMassEnv()
    env.reset(options={"start": (0.0, 0.0)})
    acceleration = GEAR * np.array(command) / MASS
    for step in range(1, 11):
        observation, *_ = env.step(np.array(command))
        k = 2 * step
        np.testing.assert_allclose(observation[2:], acceleration * k * DT, rtol=1e-6)
        np.testing.assert_allclose(observation[:2], acceleration * DT**2 * k * (k + 1) / 2, rtol=1e-6)
    assert env.dt == pytest.approx(0.04)


def test_commands_beyond_the_headroom_are_clamped() -> None:
    speeds = {}
    for command in (1.5, 9.0):
        env = PointMassEnv(headroom=1.5)
        env.reset()
        speeds[command] = env.step(np.array([command, 0.0]))[0][2]
    assert speeds[9.0] == speeds[1.5] > 0


def test_a_change_of_the_model_acts_and_outlives_reset() -> None:
    env = PointMassEnv()
    env.reset()
    light = env.step(np.array([1.0, 0.0]))[0][2]
    env.model.body_mass[env.model.body("pointmass").id] *= 2
    mujoco.mj_setConst(env.model, env.data)  # bodies that only slide have their inertia precomputed
    env.reset()
    assert env.step(np.array([1.0, 0.0]))[0][2] == pytest.approx(light / 2, rel=1e-5)


def test_walls_hold() -> None:
    env = PointMassEnv()
    env.reset()
    for _ in range(200):
        observation, *_ = env.step(np.array([2.0, -2.0]))
        assert (np.abs(observation[:2]) < ARENA + 0.02).all()


def test_reward() -> None:
    """1 a control step at the target, 0.1 at radius + margin, so that 200 agent steps pay at most 400."""
    env = PointMassEnv()
    env.reset(options={"start": TARGET})
    assert env.step(np.zeros(2))[1] == 2.0
    env.reset(options={"start": (TARGET[0] - 0.01 - 0.15, TARGET[1])})
    assert env.step(np.zeros(2))[1] == pytest.approx(0.2, rel=1e-6)


def test_an_episode_starts_and_ends_as_the_paper_says() -> None:
    env = PointMassEnv()
    observation, info = env.reset(seed=3)
    np.testing.assert_array_equal(observation, np.array([*START, 0, 0], np.float32))
    assert info == {}
    truncations = [env.step(np.zeros(2))[3] for _ in range(env.episode_steps)]
    assert env.episode_steps == 200
    assert truncations == [False] * 199 + [True]
    assert PointMassEnv(episode_steps=7).episode_steps == 7


def test_start_jitter_follows_the_seed() -> None:
    env = PointMassEnv(start_jitter=0.05)
    starts = np.stack([env.reset(seed=seed)[0][:2] for seed in range(50)])
    np.testing.assert_array_equal(env.reset(seed=7)[0][:2], starts[7])
    assert len(np.unique(starts, axis=0)) == 50
    spread = np.abs(starts - START)
    assert 0.04 < spread.max() <= 0.05 + 1e-6


def test_deviation_of_drawn_lines() -> None:
    start, target = np.array(START), np.array(TARGET)
    share = np.linspace(0, 1, 8)[:, None]  # no sample at the midpoint: it is interpolated
    line = start + share * (target - start)
    left = np.array([-0.1, 0.2]) / np.hypot(0.1, 0.2)
    assert signed_deviation(line) == pytest.approx(0.0, abs=1e-12)
    assert signed_deviation(line + 0.03 * left) == pytest.approx(0.03)
    assert signed_deviation(line - 0.02 * left) == pytest.approx(-0.02)
    slanted = line + 0.04 * share * left
    assert signed_deviation(slanted) == pytest.approx(0.02)
    assert np.isnan(signed_deviation(line[:3]))


def test_rotated_actions_deviate_to_their_own_side() -> None:
    env = PointMassEnv()
    straight, total = _run(env, 0.0)
    assert abs(signed_deviation(straight)) < 0.003
    assert total > 330
    for turn in (0.6, -0.6):
        deviation = signed_deviation(_run(env, turn)[0])
        assert np.sign(deviation) == np.sign(turn)
        assert 0.01 < abs(deviation) < 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"headroom": 0.5}, "headroom must be"),
        ({"headroom": float("nan")}, "headroom must be"),
        ({"episode_steps": 0}, "episode_steps must be"),
        ({"start_jitter": 0.5}, "start_jitter must lie"),
        ({"start_jitter": -0.1}, "start_jitter must lie"),
    ],
)
def test_bad_settings_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PointMassEnv(**arguments)


@pytest.mark.parametrize("action", [np.zeros(3), np.array([0.0, np.nan]), np.array([np.inf, 0.0])])
def test_bad_actions_are_refused(action: np.ndarray) -> None:
    env = PointMassEnv()
    env.reset()
    with pytest.raises(ValueError, match="2 finite numbers"):
        env.step(action)


@pytest.mark.parametrize(
    ("options", "message"), [({"start": (9.0, 0.0)}, "within the walls"), ({"star": (0.0, 0.0)}, "one reset option")]
)
def test_bad_reset_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PointMassEnv().reset(options=options)
