"""The wrapper: on dm_control, on MuJoCo and without it; by its schedule and seed, and without a trace when off."""

# MuJoCo ships no type stubs, and an environment's `.model` or a kind's own parameters are not in the base types.
# pyright: reportAttributeAccessIssue=false

import importlib.util

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from worldshift.envs import make
from worldshift.shifts import (
    ActionRotation,
    ActuatorGain,
    BodyMass,
    Choice,
    Constant,
    DeadZone,
    Delay,
    ExternalWrench,
    FilteredNoise,
    Friction,
    Gravity,
    JointDamping,
    LimbLength,
    LinearDrift,
    LogUniform,
    ObservationBias,
    ObservationNoise,
    OrnsteinUhlenbeck,
    Shifted,
    Sinusoid,
    StepOnOff,
    StickyActuator,
    TwoTone,
    Uniform,
)

EVERYTHING = (
    Delay(1)
    + ActuatorGain(Uniform(-0.5, 0.5))
    + DeadZone(0.05)
    + StickyActuator(0.2)
    + ExternalWrench("torso", force=(Uniform(-5, 5), 0.0, 2.0))
    + Friction(0.7)
    + JointDamping(2.0)
    + BodyMass(LogUniform(0.8, 1.25))
    + Gravity(tilt=0.05)
    + LimbLength(Choice((("right_leg",), ("left_leg",))), 1.1)
    + ObservationNoise(0.01)
)


def _bytes(env, actions, seed=0):
    """Everything that a run gives, as bytes."""
    out = [env.reset(seed=seed)[0].tobytes()]
    for action in actions:
        observation, reward, _, truncated, _ = env.step(action)
        out.append(observation.tobytes() + np.float64(reward).tobytes())
        if truncated:
            out.append(env.reset()[0].tobytes())
    return b"".join(out)


def _commands(env, steps, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (steps, *env.action_space.shape)).astype(np.float32)


def test_same_seed_same_bytes_with_everything_at_once(fingerprint):
    def run(seed, reset_seed=0):
        env = make("walker-walk", episode_steps=12)
        shifted = Shifted(env, EVERYTHING, StepOnOff(start=3, on=8, off=4), seed)
        nominal = fingerprint(env.unwrapped.model)
        out = _bytes(shifted, _commands(env, 40), reset_seed)
        shifted.close()
        assert fingerprint(env.unwrapped.model) == nominal
        return out

    assert run(1) == run(1)
    assert run(1) != run(2) and run(1) != run(1, reset_seed=5)


@pytest.mark.parametrize("task", ["walker-walk", "cup-catch", "point-mass"])
def test_at_strength_zero_it_is_not_there(task):
    shift = Delay(3) + StickyActuator(0.5) + ActuatorGain(0.5) + BodyMass(2.0) + Gravity(vector=(0, 0, 0.0))
    shift = shift + ObservationNoise(1.0) + DeadZone(0.5)
    commands = _commands(make(task), 60)
    expected = _bytes(make(task), commands)
    assert _bytes(Shifted(make(task), shift, Constant(0.0)), commands) == expected
    assert _bytes(Shifted(make(task), shift, StepOnOff(start=100)), commands) == expected
    assert _bytes(Shifted(make(task), shift), commands) != expected


def test_a_shift_taken_off_is_off_for_good():
    commands = _commands(make("walker-walk"), 20)
    env = Shifted(make("walker-walk"), EVERYTHING)
    env.reset(seed=3)
    env.step(commands[0])
    env.restore()
    assert _bytes(env, commands) == _bytes(make("walker-walk"), commands)
    assert env.step(commands[0])[-1]["shift"]["active"] is False
    linear = env.action_matrix()
    assert linear is not None and linear[0].tobytes() == np.eye(6).tobytes() and not linear[1].any()


def test_info_says_what_acts(echo):
    env = Shifted(echo, ActuatorGain((0.1, 0.2, 0.3)) + Delay(1), StepOnOff(start=1, on=2, off=1))
    _, info = env.reset()
    kinds = [{"kind": "ActuatorGain", "p": (0.1, 0.2, 0.3)}, {"kind": "Delay", "steps": 1}]
    assert info["shift"] == {"strength": 0.0, "phase": 0, "active": False, "kinds": kinds}
    seen = [env.step(np.ones(3, np.float32))[-1] for _ in range(5)]
    assert [i["shift"]["active"] for i in seen] == [False, True, True, False, True]
    assert [i["shift"]["phase"] for i in seen] == [0, 0, 0, 0, 1]
    np.testing.assert_allclose(seen[2]["plant_action"], [1.1, 1.2, 1.3], rtol=1e-6)
    seen[2]["shift"]["kinds"][0]["p"] = None  # whoever reads an info owns it
    assert env.step(np.ones(3, np.float32))[-1]["shift"]["kinds"] == kinds


def test_parameters_are_drawn_anew_for_each_on_phase_and_not_within(echo):
    def gains(seed):
        env = Shifted(echo, ActuatorGain(Uniform(-0.5, 0.5)), StepOnOff(start=2, on=3, off=2), seed)
        env.reset(seed=seed)
        rows = []
        for _ in range(17):
            foreseen = env.distort(np.ones(3, np.float32))
            info = env.step(np.ones(3, np.float32))[-1]
            np.testing.assert_array_equal(foreseen, info["plant_action"])
            rows.append(info["plant_action"])
        return np.array(rows)

    rows = gains(0)
    np.testing.assert_array_equal(rows[[0, 1, 5, 6, 10, 11]], 1.0)
    phases = [rows[2:5], rows[7:10], rows[12:15]]
    for phase in phases:
        np.testing.assert_array_equal(phase, np.broadcast_to(phase[0], (3, 3)))
        assert (np.abs(phase - 1) <= 0.5).all() and len(set(phase[0])) == 3
    assert len({phase.tobytes() for phase in phases}) == 3
    np.testing.assert_array_equal(gains(0), rows)
    assert (gains(1)[2] != rows[2]).all()


def test_draws_do_not_depend_on_how_the_environment_is_reset(echo):
    drawn = []
    for seeds in ([None, None], [5, 7]):
        env = Shifted(echo, ActuatorGain(Uniform(-0.5, 0.5)), StepOnOff(0, 1, 0, "episodes"), seed=4)
        for s in seeds:
            info = env.reset(seed=s)[1]
            drawn.append(info["shift"]["kinds"][0]["p"])
    assert drawn[:2] == drawn[2:] and drawn[0] != drawn[1]


def test_steps_are_counted_over_all_episodes_unless_asked_not_to(echo):
    for per_episode, expected in ((False, [0, 0, 1, 1, 1, 1, 1, 1, 1]), (True, [0, 0, 1, 0, 0, 1, 0, 0, 1])):
        env = Shifted(echo, ActuatorGain(0.1), StepOnOff(start=2, on=99), per_episode=per_episode)
        strengths = []
        for _ in range(3):
            env.reset(seed=1)
            strengths += [env.step(np.ones(3, np.float32))[-1]["shift"]["strength"] for _ in range(3)]
        assert strengths == expected


def test_a_drift_follows_its_schedule_in_the_model_too():
    env = make("walker-walk")
    nominal = env.unwrapped.model.body_mass.copy()
    shifted = Shifted(env, BodyMass(2.0), LinearDrift(steps=10))
    shifted.reset(seed=0)
    for t in range(13):
        shifted.step(np.zeros(6, np.float32))
        np.testing.assert_allclose(env.unwrapped.model.body_mass, nominal * (1 + min(t / 10, 1.0)), rtol=1e-14)


@pytest.mark.parametrize("schedule", [FilteredNoise(period=100), OrnsteinUhlenbeck(every=2), TwoTone(periods=(50, 25))])
def test_a_schedule_can_be_the_gains_themselves(echo, schedule):
    env = Shifted(echo, ActuatorGain(1.0), schedule, seed=6)
    env.reset(seed=0)
    course = schedule.course(6, 3)
    for t in range(20):
        info = env.step(np.array([1.0, -0.5, 0.5], np.float32))[-1]
        p = np.broadcast_to(course(t, 0).strength, 3)
        np.testing.assert_allclose(info["plant_action"], (1 + p) * [1.0, -0.5, 0.5], rtol=1e-6)
        np.testing.assert_allclose(info["shift"]["strength"], course(t, 0).strength)


def test_mujoco_clamps_what_goes_beyond_the_control_range():
    env = make("walker-walk", headroom=2.0)
    shifted = Shifted(env, ActuatorGain(0.5))
    shifted.reset(seed=0)
    info = shifted.step(np.full(6, 1.9, np.float32))[-1]
    np.testing.assert_allclose(info["plant_action"], 2.85, rtol=1e-6)
    np.testing.assert_allclose(env.unwrapped.data.ctrl, 2.85, rtol=1e-6)
    np.testing.assert_allclose(env.unwrapped.data.actuator_force, 2.0)


def test_the_gain_is_the_same_as_a_weaker_motor():
    weak = make("walker-walk")
    weak.unwrapped.model.actuator_gear[:] *= 0.6
    shifted = Shifted(make("walker-walk"), ActuatorGain(-0.4))
    first, _ = shifted.reset(seed=0)
    np.testing.assert_array_equal(first, weak.reset(seed=0)[0])
    for command in _commands(weak, 20):
        np.testing.assert_allclose(shifted.step(command)[0], weak.step(command)[0], rtol=1e-3, atol=1e-3)


@pytest.mark.filterwarnings("ignore::UserWarning")  # the checker remarks on wrappers and on unbounded spaces
@pytest.mark.parametrize(
    ("task", "shift"),
    [
        ("walker-walk", EVERYTHING),
        ("cup-catch", ExternalWrench("ball", force=(0.1, 0.0, 0.0)) + ActuatorGain(Uniform(-0.5, 0.5))),
        ("point-mass", ActionRotation(0.6) + ObservationNoise(0.01)),
        ("gym:Pendulum-v1", ActuatorGain(-0.3) + ObservationNoise(0.1) + Delay(2)),
    ],
)
def test_gymnasiums_checker_is_content(task, shift):
    check_env(Shifted(make(task), shift, seed=1), skip_render_check=True)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_gymnasiums_checker_is_content_with_a_schedule_and_a_registered_environment():
    env = Shifted(gymnasium.make("Pendulum-v1"), ActuatorGain(0.5), Sinusoid(period=50), per_episode=True)
    check_env(env, skip_render_check=True)
    assert env.spec is not None
    again = gymnasium.make(env.spec)  # the specification holds all that is needed to make it again
    commands = _commands(env, 30)
    assert _bytes(again, commands) == _bytes(env, commands)


def test_without_mujoco_and_with_discrete_actions_sensors_can_still_fail():
    env = Shifted(gymnasium.make("CartPole-v1"), ObservationBias(0.5, channels=(2,)))
    plain = gymnasium.make("CartPole-v1")
    np.testing.assert_allclose(env.reset(seed=0)[0] - plain.reset(seed=0)[0], [0, 0, 0.5, 0], atol=1e-6)
    observation, _, _, _, info = env.step(1)
    np.testing.assert_allclose(observation - plain.step(1)[0], [0, 0, 0.5, 0], atol=1e-6)
    assert info["plant_action"] == 1 and env.action_matrix() is None
    with pytest.raises(ValueError, match="ActuatorGain needs a flat Box of actions, which CartPoleEnv does not have"):
        Shifted(plain, ActuatorGain(0.1))
    with pytest.raises(ValueError, match="ObservationNoise needs a flat Box of observations, which"):
        Shifted(gymnasium.make("FrozenLake-v1"), ObservationNoise(0.1))


@pytest.mark.skipif(importlib.util.find_spec("imageio") is None, reason="Gymnasium's MuJoCo bodies need imageio")
def test_on_gymnasiums_own_mujoco_bodies(fingerprint):
    env = gymnasium.make("HalfCheetah-v5")
    nominal = fingerprint(env.unwrapped.model)
    shift = ActuatorGain(-0.5) + BodyMass(bodies="torso", payload=2.0) + LimbLength(("bshin", "fshin"), 1.2)
    shifted = Shifted(env, shift + ExternalWrench("torso", force=(5.0, 0.0, 0.0)), StepOnOff(start=2, on=3, off=9))
    shifted.reset(seed=0)
    for t in range(8):
        info = shifted.step(np.full(6, 0.8, np.float32))[-1]
        np.testing.assert_allclose(env.unwrapped.data.ctrl, info["plant_action"])
        assert (fingerprint(env.unwrapped.model) == nominal) == (not info["shift"]["active"]) == (not 2 <= t < 5)
    shifted.close()


def test_dm_controls_own_environments_are_found_by_their_physics():
    from dm_control import suite

    class Thin(gymnasium.Env):
        """A user's own thin adapter, which shows only `physics`."""

        def __init__(self):
            self._dm = suite.load("cartpole", "balance", task_kwargs={"random": 0})
            self.physics = self._dm.physics
            self.action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
            self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (5,), np.float32)

        def reset(self, *, seed=None, options=None):
            return np.concatenate([*self._dm.reset().observation.values()]).astype(np.float32), {}

        def step(self, action):
            step = self._dm.step(action)
            return np.concatenate([*step.observation.values()]).astype(np.float32), step.reward, False, False, {}

    env = Thin()
    before = env.physics.model.body_mass.copy()
    shifted = Shifted(env, BodyMass(2.0, bodies="pole_1"))
    shifted.reset()
    assert env.physics.named.model.body_mass["pole_1"] == 2 * before[-1]
    shifted.close()
    np.testing.assert_array_equal(env.physics.model.body_mass, before)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (
            lambda e: Shifted(Shifted(e, ActuatorGain(0.1)), Delay(1)),
            r"shifted already: add the shifts with \+",
        ),
        (lambda e: Shifted(e, ActuatorGain(0.1), seed=-1), r"the seed of a shift must not be negative, it is -1\."),
        (
            lambda e: Shifted(e, Delay(1), FilteredNoise()),
            r"FilteredNoise has a strength for each actuator and Delay takes one",
        ),
        (lambda e: Shifted(e, ActuatorGain(0.1) + DeadZone(0.1), OrnsteinUhlenbeck()), r"and DeadZone takes one"),
        (
            lambda e: Shifted(e, Delay(1), TwoTone()),
            r"Delay takes strengths from 0 to 1 and TwoTone goes from -0\.5 to 0\.1",
        ),
        (
            lambda e: Shifted(e, DeadZone(0.1), Constant(1.5)),
            r"and Constant goes from 1\.5 to 1\.5: narrow the schedule\.",
        ),
    ],
)
def test_refusals(echo, build, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        build(echo)
    assert "\n" not in str(caught.value)
