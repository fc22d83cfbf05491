"""Shifts of body and world: they change what they say and nothing else, come back bit-equal, and obey mechanics."""

# MuJoCo ships no type stubs, and an environment's `.model` or a kind's own parameters are not in the base types.
# pyright: reportAttributeAccessIssue=false

import copy

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worldshift.shifts import (
    BodyMass,
    Composed,
    Constant,
    ConstantTorque,
    ExternalWrench,
    Friction,
    Gravity,
    JointDamping,
    LimbLength,
    Shifted,
    StepOnOff,
)
from worldshift.shifts.simulator import DERIVED

REST = np.zeros(3, np.float32)
EDITS = [
    Friction(0.4),
    Friction(0.4, geoms=("lower", "floor")),
    JointDamping(3.0),
    JointDamping(0.0, joints="elbow"),
    BodyMass(1.7),
    BodyMass(0.5, bodies=("ball",)),
    BodyMass(bodies="lower", payload=0.8),
    Gravity(scale=0.6),
    Gravity(tilt=0.3, heading=1.0),
    Gravity(vector=(1.0, 0.0, -3.7)),
    LimbLength("lower", 1.3),
    LimbLength(("upper", "lower"), 0.7),
]


@pytest.mark.parametrize("shift", EDITS, ids=lambda s: s.to_json())
def test_an_edit_changes_what_it_says_and_what_mujoco_derives_from_it(arm, changed, shift):
    nominal = copy.copy(arm.model)
    env = Shifted(arm, shift)
    env.reset(seed=0)
    touched = changed(nominal, arm.model)
    assert touched & set(shift.writes)
    assert touched <= set(shift.writes) | (set(DERIVED) if shift.derives else set())


@pytest.mark.parametrize("shift", [*EDITS, Composed(tuple(EDITS))], ids=lambda s: str(len(s.parts)) + s.to_json()[:40])
def test_the_nominal_model_comes_back_bit_by_bit(new_arm, fingerprint, shift):
    arm = new_arm()
    nominal = fingerprint(arm.model)
    env = Shifted(arm, shift, StepOnOff(start=1, on=2, off=2))
    env.reset(seed=0)
    same = []
    for _ in range(5):
        env.step(REST)
        same.append(fingerprint(arm.model) == nominal)
    assert same == [True, False, False, True, True]
    for back in ("restore", "close"):
        env = Shifted(arm, shift)
        env.reset(seed=0)
        assert fingerprint(arm.model) != nominal
        getattr(env, back)()
        assert fingerprint(arm.model) == nominal


@given(st.lists(st.sampled_from(EDITS), min_size=1, max_size=4), st.lists(st.floats(0, 1), min_size=1, max_size=3))
@settings(max_examples=25)
def test_any_edits_at_any_strengths_come_back_bit_by_bit(new_arm, fingerprint, parts, strengths):
    arm = new_arm()
    nominal = fingerprint(arm.model)
    for strength in strengths:
        env = Shifted(arm, Composed(tuple(parts)), Constant(strength))
        env.reset(seed=0)
        env.step(REST)
        env.restore()
        assert fingerprint(arm.model) == nominal


def test_an_edit_is_made_from_the_nominal_model_each_time(new_arm, changed):
    ways = []
    for strengths in ([0.5], [1.0, 0.2, 0.5]):
        arm = new_arm()
        for strength in strengths:
            env = Shifted(arm, BodyMass(3.0) + LimbLength("lower", 1.4), Constant(strength))
            env.reset(seed=0)
            if strength != strengths[-1]:
                env.restore()
        ways.append(arm.model)
    assert changed(*ways) == set()


def test_what_somebody_else_writes_meanwhile_stays(arm):
    env = Shifted(arm, Friction(0.5, geoms=("upper", "lower")))
    env.reset(seed=0)
    arm.model.geom_friction[0, 0] = 0.123  # another geom: the floor
    upper = mujoco.mj_name2id(arm.model, mujoco.mjtObj.mjOBJ_GEOM, "upper")
    arm.model.geom_friction[upper, 0] = 0.456  # a geom that the shift has edited
    env.restore()
    assert arm.model.geom_friction[0, 0] == 0.123 and arm.model.geom_friction[upper, 0] == 0.456


@pytest.mark.parametrize("strength", [1.0, 0.25])
def test_scales_at_part_of_their_strength(arm, strength):
    before = copy.copy(arm.model)
    shift = Friction(0.2) + JointDamping(5.0) + BodyMass(3.0, bodies=("lower",), payload=1.5) + Gravity(scale=0.5)
    Shifted(arm, shift, Constant(strength)).reset(seed=0)
    now, lower = arm.model, before.body("lower").id
    np.testing.assert_allclose(now.geom_friction, before.geom_friction * (1 - 0.8 * strength), rtol=1e-15)
    np.testing.assert_allclose(now.dof_damping, before.dof_damping * (1 + 4 * strength), rtol=1e-15)
    assert now.body_mass[lower] == pytest.approx(before.body_mass[lower] * (1 + 2 * strength) + 1.5 * strength)
    np.testing.assert_allclose(now.body_inertia[lower], before.body_inertia[lower] * (1 + 2 * strength), rtol=1e-15)
    np.testing.assert_allclose(now.opt.gravity, [0, 0, -9.81 * (1 - 0.5 * strength)], rtol=1e-15)
    others = [i for i in range(now.nbody) if i != lower]
    np.testing.assert_array_equal(now.body_mass[others], before.body_mass[others])


def test_gravity_leans_where_it_is_told_to(arm):
    tilt = 0.3
    for heading, toward in ((0.0, [1, 0]), (np.pi / 2, [0, 1]), (np.pi, [-1, 0])):
        env = Shifted(arm, Gravity(tilt=tilt, heading=heading, scale=2.0))
        env.reset(seed=0)
        expected = 2 * 9.81 * np.array([*np.sin(tilt) * np.array(toward), -np.cos(tilt)])
        np.testing.assert_allclose(arm.model.opt.gravity, expected, atol=1e-12)
        env.restore()
    Shifted(arm, Gravity(vector=(1.0, 2.0, -3.0)), Constant(0.5)).reset(seed=0)
    np.testing.assert_allclose(arm.model.opt.gravity, [0.5, 1.0, (-9.81 - 3.0) / 2])


def test_derived_quantities_are_those_of_the_edited_model(arm):
    Shifted(arm, BodyMass(2.0)).reset(seed=0)
    model = arm.model
    assert model.body_subtreemass[0] == pytest.approx(model.body_mass.sum())
    fresh = copy.copy(model)
    mujoco.mj_setConst(fresh, mujoco.MjData(fresh))
    for name in ("body_invweight0", "dof_invweight0", "dof_M0", "body_subtreemass", "actuator_acc0"):
        np.testing.assert_array_equal(getattr(model, name), getattr(fresh, name))


def _ball(arm, shift, steps=20, seed=0):
    """Velocity of the ball (m/s, rad/s) after falling for a while, and the time (s) it fell."""
    env = Shifted(arm, shift)
    env.reset(seed=seed)
    for _ in range(steps):
        env.step(REST)
    velocity = arm.data.joint("ball").qvel.copy()
    env.restore()
    return velocity, steps * 4 * 0.005


def test_a_wrench_accelerates_the_ball_as_newton_says(arm):
    mass, inertia = 2.0, 0.4 * 2.0 * 0.1**2
    still, t = _ball(arm, ExternalWrench("ball"))
    pushed, _ = _ball(arm, ExternalWrench("ball", force=(3.0, -1.0, 2.0), torque=(0.0, 0.01, 0.0)))
    np.testing.assert_allclose(pushed[:3] - still[:3], np.array([3.0, -1.0, 2.0]) / mass * t, rtol=1e-9)
    np.testing.assert_allclose(pushed[3:], [0.0, 0.01 / inertia * t, 0.0], rtol=1e-6, atol=1e-9)


def test_a_heavier_ball_falls_alike_and_takes_more_force_to_push(arm):
    light, t = _ball(arm, ExternalWrench("ball", force=(4.0, 0.0, 0.0)))
    heavy, _ = _ball(arm, BodyMass(2.5, bodies="ball") + ExternalWrench("ball", force=(4.0, 0.0, 0.0)))
    loaded, _ = _ball(arm, BodyMass(bodies="ball", payload=3.0) + ExternalWrench("ball", force=(4.0, 0.0, 0.0)))
    for velocity, mass in ((light, 2.0), (heavy, 5.0), (loaded, 5.0)):
        assert velocity[2] == pytest.approx(-9.81 * t) and velocity[0] == pytest.approx(4.0 / mass * t)


def test_gravity_moves_the_ball(arm):
    velocity, t = _ball(arm, Gravity(scale=0.5, tilt=0.2))
    np.testing.assert_allclose(velocity[[0, 2]], 0.5 * 9.81 * t * np.array([np.sin(0.2), -np.cos(0.2)]), rtol=1e-9)


def test_a_constant_torque_acts_like_a_motor_of_that_torque(new_arm):
    pushed, driven = new_arm(), new_arm()
    a = Shifted(pushed, ConstantTorque("elbow", 1.0))
    a.reset(seed=0)
    driven.reset(seed=0)
    for _ in range(10):
        a.step(REST)
        driven.step(np.array([0.0, 0.5, 0.0], np.float32))  # gear 2
        np.testing.assert_allclose(pushed.data.qvel, driven.data.qvel, rtol=1e-9, atol=1e-12)


def test_torques_on_several_joints_at_part_of_their_strength(arm):
    seen = []

    class Spy(type(arm)):
        def step(self, action):
            seen.append((self.data.qfrc_applied.copy(), self.data.xfrc_applied.copy()))
            return super().step(action)

    spy = Spy()
    shift = ConstantTorque(("elbow", "shoulder"), (1.0, -2.0)) + ExternalWrench("ball", force=(1.0, 2.0, 3.0))
    env = Shifted(spy, shift, Constant(0.5))
    env.reset(seed=0)
    spy.data.qfrc_applied[0], spy.data.xfrc_applied[1, 0] = 7.0, 9.0  # somebody else's
    env.step(REST)
    torque, wrench = seen[-1]
    np.testing.assert_allclose(torque[:2], [7.0 - 1.0, 0.5])
    np.testing.assert_allclose(wrench[spy.model.body("ball").id], [0.5, 1.0, 1.5, 0, 0, 0])
    assert wrench[1, 0] == 9.0 and np.count_nonzero(wrench) == 4 and np.count_nonzero(torque) == 2
    # Between steps only the other's forces are there.
    assert np.count_nonzero(spy.data.qfrc_applied) == 1 and np.count_nonzero(spy.data.xfrc_applied) == 1


def test_less_friction_slides_further_and_more_damping_swings_less(new_arm):
    def slid(shift):
        arm = new_arm()
        env = Shifted(arm, shift)
        env.reset(seed=0)
        arm.data.joint("ball").qpos[:3] = [1.0, 0.0, 0.1]
        arm.data.joint("ball").qvel[:] = [2.0, 0, 0, 0, 0, 0]  # on the floor, sliding
        arm.data.joint("elbow").qvel[:] = 5.0
        for _ in range(5):
            env.step(REST)
        return arm.data.joint("ball").qvel[0], abs(arm.data.joint("elbow").qvel[0])

    nominal, slippery, thick = slid(Friction(1.0)), slid(Friction(0.0)), slid(JointDamping(20.0))
    assert nominal[0] < 1.6 and slippery[0] == pytest.approx(2.0, abs=1e-3) and slippery[1] == nominal[1]
    assert thick[1] < 0.9 * nominal[1] and thick[0] == nominal[0]


@pytest.mark.parametrize(
    ("shift", "sentence"),
    [
        (ExternalWrench("bal"), r"the model has no body 'bal'; it has: upper, lower, ball\."),
        (ExternalWrench("world"), r"the model has no body 'world'"),
        (ConstantTorque("knee"), r"the model has no joint 'knee'; it has: shoulder, elbow, ball\."),
        (ConstantTorque("ball"), r"joint 'ball' is neither a hinge nor a slide: push its body with ExternalWrench"),
        (Friction(0.5, geoms=("foot",)), r"the model has no geom 'foot'; it has: floor, upper, lower, ball\."),
        (JointDamping(2.0, joints=("knee",)), r"no joint 'knee'"),
        (BodyMass(2.0, bodies=("torso",)), r"no body 'torso'"),
        (LimbLength("ball"), r"body 'ball' has no capsule, cylinder, box or ellipsoid that gives it a length"),
        (LimbLength("leg"), r"no body 'leg'"),
    ],
)
def test_what_the_model_does_not_have_is_refused(arm, fingerprint, shift, sentence):
    nominal = fingerprint(arm.model)
    with pytest.raises(ValueError, match=sentence):
        Shifted(arm, shift)
    assert fingerprint(arm.model) == nominal


def test_gravity_that_is_not_there_is_refused(arm):
    arm.model.opt.gravity[:] = 0.0
    with pytest.raises(ValueError, match="no gravity to scale or tilt: give Gravity a vector"):
        Shifted(arm, Gravity(scale=0.5))
    Shifted(arm, Gravity(vector=(0.0, 0.0, -1.0)))
    arm.model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_GRAVITY)
    with pytest.raises(ValueError, match="gravity is switched off"):
        Shifted(arm, Gravity(vector=(0.0, 0.0, -1.0)))


@pytest.mark.parametrize("shift", [BodyMass(2.0), ExternalWrench("ball"), LimbLength("leg")])
def test_without_mujoco_these_are_refused_in_one_sentence(echo, shift):
    with pytest.raises(ValueError, match=f"{type(shift).__name__} changes a MuJoCo body and Echo shows none"):
        Shifted(echo, shift)
