"""DmcEnv against raw dm_control: the same physics, observations and rewards, and headroom beyond a command of 1."""

# MuJoCo ships no type stubs.
# pyright: reportAttributeAccessIssue=false

import os
import subprocess
import sys

import numpy as np
import pytest
from dm_control import suite
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_np

from worldshift import envs
from worldshift.envs import DmcEnv

BODIES = {"walker-walk": ("walker", "walk"), "cheetah-run": ("cheetah", "run"), "cup-catch": ("ball_in_cup", "catch")}
DIMENSIONS = {"walker-walk": (24, 6), "cheetah-run": (17, 6), "cup-catch": (8, 2)}
DT = {"walker-walk": 0.05, "cheetah-run": 0.02, "cup-catch": 0.04}
body = pytest.mark.parametrize("task", BODIES)


def flat(observation: dict) -> np.ndarray:
    return np.concatenate([np.ravel(value) for value in observation.values()]).astype(np.float32)


def actions(env: DmcEnv, steps: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-scale, scale, (steps, env.model.nu)).astype(np.float32)


@pytest.mark.filterwarnings("ignore:.*A Box observation space", "ignore:.*For Box action spaces")
@body
def test_gymnasium_accepts_it(task):
    check_env(envs.make(task), skip_render_check=True)


@body
def test_as_dm_control_itself_with_the_same_seed_and_actions(task):
    env = DmcEnv(task)
    raw = suite.load(*BODIES[task], task_kwargs={"random": 7})
    observation, info = env.reset(seed=7)
    expected = raw.reset().observation
    assert info == {} and observation.dtype == np.float32
    np.testing.assert_array_equal(observation, flat(expected))
    for action in actions(env, 40):
        observation, reward, terminated, truncated, info = env.step(action)
        steps = [raw.step(action) for _ in range(2)]
        np.testing.assert_array_equal(observation, flat(steps[-1].observation))
        assert reward == sum(step.reward for step in steps)
        assert (terminated, truncated, info) == (False, False, {})
    np.testing.assert_array_equal(env.data.qpos, raw.physics.data.qpos)


@body
def test_dimensions_and_body_time(task):
    env = DmcEnv(task)
    observations, acts = DIMENSIONS[task]
    assert env.observation_space.shape == (observations,) and env.action_space.shape == (acts,)
    assert (env.action_space.high == 2).all() and (env.action_space.low == -2).all()
    assert env.dt == pytest.approx(DT[task]) and env.episode_steps == 500 and not env.episodic
    env.reset(seed=0)
    before = env.data.time
    env.step(np.zeros(acts, np.float32))
    assert env.data.time - before == pytest.approx(env.dt)


@pytest.mark.parametrize("repeat", [1, 4])
def test_action_repeat_sums_rewards(repeat):
    env, single = DmcEnv("cheetah-run", action_repeat=repeat), DmcEnv("cheetah-run", action_repeat=1)
    env.reset(seed=3)
    single.reset(seed=3)
    assert env.episode_steps == 1000 // repeat and env.dt == pytest.approx(0.01 * repeat)
    for action in actions(env, 20):
        observation, reward, *_ = env.step(action)
        parts = [single.step(action) for _ in range(repeat)]
        np.testing.assert_array_equal(observation, parts[-1][0])
        assert reward == pytest.approx(sum(part[1] for part in parts), rel=1e-12)


def test_an_episode_is_truncated_after_its_steps_and_never_terminated():
    env = DmcEnv("cup-catch", episode_steps=5)
    env.reset(seed=0)
    ends = [env.step(action)[2:4] for action in actions(env, 5)]
    assert ends == [(False, False)] * 4 + [(False, True)]
    env.reset()
    assert env.step(np.zeros(2, np.float32))[3] is False


# Headroom


@body
def test_commands_reach_the_motors_up_to_the_headroom(task):
    """What a motor does is its command, clamped at plus and minus the headroom and not at 1."""
    env, n = DmcEnv(task), DIMENSIONS[task][1]
    for command, force in [(0.7, 0.7), (1.5, 1.5), (2.0, 2.0), (3.0, 2.0), (-1.5, -1.5), (-9.0, -2.0)]:
        env.reset(seed=0)
        env.step(np.full(n, command, np.float32))
        np.testing.assert_allclose(env.data.actuator_force, np.full(n, force), rtol=1e-6)


def test_a_command_beyond_one_is_the_unclamped_torque():
    """1.5 acts exactly as on a body whose motors have no clamp at all; at headroom 1 it acts as 1."""
    env, narrow = DmcEnv("walker-walk"), DmcEnv("walker-walk", headroom=1.0)
    free = DmcEnv("walker-walk")
    free.model.actuator_ctrllimited[:] = 0
    seen = []
    for each, command in [(env, 1.5), (free, 1.5), (narrow, 1.5), (narrow, 1.0), (env, 3.0), (free, 3.0)]:
        each.reset(seed=1)
        for _ in range(5):
            observation = each.step(np.full(6, command, np.float32))[0]
        seen.append(observation)
    np.testing.assert_array_equal(seen[0], seen[1])
    np.testing.assert_array_equal(seen[2], seen[3])
    assert not np.allclose(seen[0], seen[2]) and not np.allclose(seen[4], seen[5])


def test_lopsided_motors_keep_their_middle():
    env = DmcEnv("quadruped-walk", headroom=1.5)
    ranges = suite.load("quadruped", "walk").physics.model.actuator_ctrlrange
    middle, half = ranges.mean(1), np.diff(ranges)[:, 0] / 2
    env.reset(seed=0)
    for command in (0.0, 1.0, -1.5):
        env.step(np.full(12, command, np.float32))
        np.testing.assert_allclose(env.data.ctrl, middle + command * half)
    np.testing.assert_allclose(env.model.actuator_ctrlrange[:, 1], middle + 1.5 * half)


# Seeds


@body
def test_a_seed_fixes_the_episode_whatever_happened_before(task):
    fresh, used = DmcEnv(task), DmcEnv(task)
    used.reset(seed=1)
    for action in actions(used, 30, seed=5, scale=2.0):
        used.step(action)
    used.reset()
    used.step(actions(used, 1)[0])
    runs = []
    for env in (fresh, used):
        rows = [env.reset(seed=42)[0], *(env.step(action)[0] for action in actions(env, 20))]
        runs.append(np.stack(rows))
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(fresh.reset(seed=43)[0], runs[0][0])


def test_without_a_seed_the_draws_go_on_from_the_last_one():
    one, other = DmcEnv("walker-walk"), DmcEnv("walker-walk")
    starts = [[env.reset(seed=9)[0], env.reset()[0], env.reset()[0]] for env in (one, other)]
    np.testing.assert_array_equal(starts[0], starts[1])
    assert not np.array_equal(starts[0][1], starts[0][2])


def test_resetting_leaves_the_model_alone():
    env = DmcEnv("walker-walk")
    env.model.body_mass[3] = 5.0
    env.reset(seed=0)
    assert env.model.body_mass[3] == 5.0


@settings(max_examples=20)
@given(st_np.arrays(np.float32, (6,), elements=st.floats(-2, 2, width=32)), st.integers(0, 2**40))
def test_any_command_within_bounds_gives_finite_numbers(action, seed):
    SHARED.reset(seed=seed)
    for _ in range(3):
        observation, reward, *_ = SHARED.step(action)
        assert np.isfinite(observation).all() and 0 <= reward <= 2


SHARED = DmcEnv("walker-walk")


# Refusals


@pytest.mark.parametrize("task", ["walker-fly", "ball-catch", "walker", "", "-", "cup_catch", "HalfCheetah-v5"])
def test_unknown_tasks_are_refused_with_the_list_of_known_ones(task):
    with pytest.raises(
        ValueError, match=f"unknown task '{task}': choose point-mass, gym:.*, cheetah-run, .* walker-walk"
    ):
        envs.make(task)


def test_motors_without_bounds_are_refused():
    with pytest.raises(ValueError, match="lqr-lqr_2_1 has motors without bounds"):
        DmcEnv("lqr-lqr_2_1")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"headroom": 0.5}, "headroom 0.5"),
        ({"headroom": float("nan")}, "headroom nan"),
        ({"headroom": float("inf")}, "headroom inf"),
        ({"action_repeat": 0}, "action_repeat 0"),
        ({"episode_steps": 0}, "episode_steps must be at least 1, not 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        DmcEnv("walker-walk", **settings)


@pytest.mark.parametrize("bad", [[np.nan] * 6, [0, 0, 0, 0, 0, np.inf], [0.0] * 5, 0.5])
def test_a_bad_action_is_refused_before_it_reaches_a_motor(bad):
    env = DmcEnv("walker-walk")
    env.reset(seed=0)
    ctrl, time = env.data.ctrl.copy(), env.data.time
    with pytest.raises(ValueError, match="an action is 6 finite numbers, not"):
        env.step(np.array(bad, np.float32))
    np.testing.assert_array_equal(env.data.ctrl, ctrl)
    assert env.data.time == time


def test_a_diverged_simulation_says_so_and_can_be_reset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its log of warnings where it runs
    env = DmcEnv("walker-walk")
    env.reset(seed=0)
    env.data.qvel[:] = 1e20
    with pytest.raises(ValueError, match="the simulation has diverged after agent step 0: reset it"):
        env.step(np.zeros(6, np.float32))
    start, _ = env.reset(seed=0)
    np.testing.assert_array_equal(start, DmcEnv("walker-walk").reset(seed=0)[0])


def test_no_display_no_gl_no_warning():
    """As on a server: neither a display nor a choice of GL; warnings are errors."""
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL", "PYOPENGL_PLATFORM")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    code = "from worldshift import envs; env = envs.make('cup-catch'); print(env.reset(seed=0)[0].shape)"
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, text=True)
    assert run.returncode == 0 and run.stdout == "(8,)\n" and run.stderr == "", run.stderr


def test_free_hinges_as_cosine_and_sine():
    """The shoulder of the reacher counts its turns, unless it is read as cosine and sine; the wrist has its limits."""
    counted, circular = envs.make("reacher-easy"), envs.make("reacher-easy", cos_sin_angles=True)
    rows = []
    for env in (counted, circular):
        env.reset(seed=0)
        rows.append([env.step(np.ones(2))[0] for _ in range(200)])
    theirs, ours = np.asarray(rows[0]), np.asarray(rows[1])
    assert np.abs(theirs[:, 0]).max() > 2 * np.pi and ours.shape[1] == theirs.shape[1] + 1
    np.testing.assert_allclose(ours[:, 0] + 1j * ours[:, 1], np.exp(1j * theirs[:, 0]), atol=1e-4)
    np.testing.assert_allclose(ours[:, 2:], theirs[:, 1:], atol=1e-6)
    assert circular.observation_space.shape == (7,)
