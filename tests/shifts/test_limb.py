"""Longer limbs: the live edit equals the model that MuJoCo compiles from a description with those lengths."""

# MuJoCo ships no type stubs, and an environment's `.model` or a kind's own parameters are not in the base types.
# pyright: reportAttributeAccessIssue=false

from pathlib import Path

import mujoco
import numpy as np
import pytest
from dm_control.suite import walker
from hypothesis import given, settings
from hypothesis import strategies as st

from worldshift.envs import make
from worldshift.shifts import BodyMass, LimbLength, Shifted, StepOnOff
from worldshift.shifts.limb import _primitive

LEGS = ("right_thigh", "right_leg", "left_thigh", "left_leg", "right_foot")


def _described(scale: float) -> mujoco.MjModel:
    """The walker with thighs, legs and its right foot scaled in its description, by hand."""
    spec = mujoco.MjSpec.from_file(str(Path(walker.__file__).with_suffix(".xml")))
    for side in ("right", "left"):
        thigh, leg, foot = (spec.body(f"{side}_{part}") for part in ("thigh", "leg", "foot"))
        (geom,) = thigh.geoms  # hangs from its origin; the knee is at 0.45 m
        geom.pos, geom.size = [0, 0, -0.225 * scale], [0.05, 0.225 * scale, 0]
        leg.pos = [0, 0, -0.45 * scale - 0.25]
        (geom,) = leg.geoms  # hangs from 0.25 m above its origin; the ankle is 0.5 m below that
        geom.pos, geom.size = [0, 0, 0.25 - 0.25 * scale], [0.04, 0.25 * scale, 0]
        foot.pos = [0.06, 0, 0.25 - 0.5 * scale]
    (geom,) = spec.body("right_foot").geoms  # its ankle is 0.06 m behind its origin
    geom.pos, geom.size = [-0.06 + 0.06 * scale, 0, 0], [0.05, 0.1 * scale, 0]
    return spec.compile()


@pytest.mark.parametrize("scale", [0.6, 1.2, 2.0])
def test_it_is_the_model_that_mujoco_would_compile(scale):
    env = make("walker-walk")
    Shifted(env, LimbLength(LEGS, scale)).reset(seed=0)
    live, written = env.unwrapped.model, _described(scale)
    for name in (
        *(
            "geom_pos",
            "geom_size",
            "geom_rbound",
            "geom_aabb",
            "body_pos",
            "body_mass",
            "body_subtreemass",
            "body_ipos",
        ),
        *("body_inertia", "body_invweight0", "dof_M0", "dof_invweight0", "actuator_acc0"),
    ):
        np.testing.assert_allclose(getattr(live, name), getattr(written, name), rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("scale", [0.8, 1.25])
def test_it_moves_like_the_model_that_mujoco_would_compile(scale):
    env = make("walker-walk", headroom=1.0)
    Shifted(env, LimbLength(LEGS, scale)).reset(seed=0)
    models = (env.unwrapped.model, _described(scale))
    data = [mujoco.MjData(model) for model in models]
    rng = np.random.default_rng(0)
    touched = False
    for _ in range(100):  # through the air and into the floor
        command = rng.uniform(-1, 1, 6)
        for model, state in zip(models, data, strict=True):
            state.ctrl[:] = command
            mujoco.mj_step(model, state, 2)
        np.testing.assert_allclose(data[0].qpos, data[1].qpos, rtol=1e-6, atol=1e-7)
        touched |= data[0].ncon > 0
    assert touched


def test_the_far_end_moves_and_the_joint_stays():
    env = make("walker-walk")
    model, data = env.unwrapped.model, mujoco.MjData(env.unwrapped.model)

    def anchors():
        mujoco.mj_kinematics(model, data)
        return {
            name: data.joint(name).xanchor.copy() for name in ("right_hip", "right_knee", "right_ankle", "left_ankle")
        }

    before = anchors()
    Shifted(env, LimbLength(("right_leg",), 1.2)).reset(seed=0)
    after = anchors()
    for name in ("right_hip", "right_knee", "left_ankle"):
        np.testing.assert_allclose(after[name], before[name], atol=1e-12)
    np.testing.assert_allclose(after["right_ankle"] - before["right_ankle"], [0, 0, -0.2 * 0.5], atol=1e-12)


def test_the_walker_comes_back_bit_by_bit_and_stays_finite(fingerprint):
    env = make("walker-walk")
    model = env.unwrapped.model
    nominal = fingerprint(model)
    shifted = Shifted(env, LimbLength(LEGS, 0.7) + BodyMass(1.5), StepOnOff(start=3, on=10, off=3))
    shifted.reset(seed=0)
    for t in range(20):
        observation = shifted.step(np.full(6, 0.3, np.float32))[0]
        assert np.isfinite(observation).all()
        assert (fingerprint(model) == nominal) == (not 3 <= t < 13 and not t >= 16)
    shifted.close()
    assert fingerprint(model) == nominal


BOXES = """
<mujoco>
  <worldbody>
    <body name="arm" pos="0 0 2" quat="0.9 0.1 0.3 0.2">
      <joint type="hinge" axis="0 1 0" pos="0.1 0 0"/>
      <geom name="bar" type="{kind}" size="{size}" pos="0.3 0.05 0" quat="{quat}"/>
      <geom name="knob" type="sphere" size="0.08" pos="0.55 0 0"/>
      <site name="tip" pos="0.6 0 0"/>
      <body name="hand" pos="0.62 0 0" quat="0.5 0.5 0.5 0.5">
        <joint type="hinge" axis="1 0 0" pos="0 0.02 0"/>
        <geom type="sphere" size="0.03"/>
      </body>
    </body>
    <body name="probe">
      <freejoint/>
      <geom type="sphere" size="0.03"/>
    </body>
  </worldbody>
</mujoco>
"""
KINDS = {"capsule": "0.05 0.3", "cylinder": "0.05 0.3", "box": "0.04 0.06 0.3", "ellipsoid": "0.05 0.06 0.3"}


def _boxes(kind: str, scale: float = 1.0) -> mujoco.MjModel:
    size = [float(s) for s in KINDS[kind].split()]
    size[-1] *= scale
    ahead = "0.70710678118654752 0 0.70710678118654752 0"  # z of the geom along x of the body
    xml = BOXES.format(kind=kind, size=" ".join(map(repr, size)), quat=ahead)
    for x in (0.3, 0.55, 0.6):  # everything on the arm moves away from its joint at x = 0.1
        xml = xml.replace(f'pos="{x:g} ', f'pos="{0.1 + (x - 0.1) * scale!r} ')
    xml = xml.replace('pos="0.62 ', f'pos="{0.62 + (0.62 - 0.1) * (scale - 1.0)!r} ')
    return mujoco.MjModel.from_xml_string(xml)


def _touched(model: mujoco.MjModel) -> np.ndarray:
    """Whether a small ball touches the arm, at many places around and in it."""
    data, rng, touched = mujoco.MjData(model), np.random.default_rng(0), []
    mujoco.mj_kinematics(model, data)
    along = data.xmat[1].reshape(3, 3)[:, 0]
    for _ in range(400):
        data.qpos[-7:-4] = data.xpos[1] + rng.uniform(-0.2, 1.2) * along + rng.normal(0, 0.07, 3)
        mujoco.mj_fwdPosition(model, data)
        touched.append(data.ncon > 0)
    assert 0.1 < np.mean(touched) < 0.9
    return np.array(touched)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [0.5, 1.5])
def test_other_shapes_and_several_geoms_in_a_limb(kind, scale):
    live, written = _boxes(kind), _boxes(kind, scale)
    LimbLength("arm", scale).edit(live, 1.0)
    # Older versions of MuJoCo leave the bounds to us.
    np.testing.assert_allclose(live.geom_rbound, written.geom_rbound, rtol=1e-12)
    np.testing.assert_allclose(live.geom_aabb, written.geom_aabb, rtol=1e-12)
    np.testing.assert_array_equal(_touched(live), _touched(written))
    mujoco.mj_setConst(live, mujoco.MjData(live))
    names = (
        "geom_pos",
        "geom_size",
        "geom_rbound",
        "geom_aabb",
        "site_pos",
        "body_pos",
        "body_mass",
        "body_ipos",
        "dof_M0",
    )
    for name in names:
        np.testing.assert_allclose(getattr(live, name), getattr(written, name), rtol=1e-7, atol=1e-9, err_msg=name)
    for model in (live, written):  # principal axes may come in another order
        model.body_inertia[1] = np.sort(model.body_inertia[1])
    np.testing.assert_allclose(live.body_inertia, written.body_inertia, rtol=1e-7)
    np.testing.assert_allclose(live.dof_invweight0, written.dof_invweight0, rtol=1e-6)


@pytest.mark.parametrize("kind", [*KINDS, "sphere"])
def test_volumes_and_moments_are_those_of_mujocos_compiler(kind):
    size = KINDS.get(kind, "0.07")
    model = mujoco.MjModel.from_xml_string(
        f'<mujoco><worldbody><body><geom type="{kind}" size="{size}" density="1"/></body></worldbody></mujoco>'
    )
    volume, moments = _primitive(int(model.geom_type[0]), model.geom_size[0])
    assert volume == pytest.approx(model.body_mass[1], rel=1e-12)
    np.testing.assert_allclose(np.sort(volume * (moments.sum() - moments)), np.sort(model.body_inertia[1]), rtol=1e-12)


@given(st.floats(0.25, 4.0), st.floats(0.0, 1.0), st.sampled_from(sorted(KINDS)), st.floats(0.0, 5.0))
@settings(max_examples=40)
def test_any_length_gives_a_body_that_can_exist(scale, strength, kind, payload):
    model = _boxes(kind)
    mass, inertia = model.body_mass[1], model.body_inertia[1].copy()
    model.body_mass[1] += payload  # numbers that its geoms do not explain
    LimbLength("arm", scale).edit(model, strength)
    a, b, c = np.sort(model.body_inertia[1])
    assert model.body_mass[1] > 0 and a > 0 and a + b >= c * (1 - 1e-9)
    assert np.linalg.norm(model.body_iquat[1]) == pytest.approx(1.0)
    if strength * abs(scale - 1.0) < 1e-9:
        np.testing.assert_allclose(np.sort(inertia), [a, b, c], rtol=1e-6)
        assert model.body_mass[1] == pytest.approx(mass + payload)


def test_a_body_that_moves_on_its_own_is_refused():
    body = '<body name="log"><freejoint/><geom type="capsule" size="0.1 0.5"/></body>'
    model = mujoco.MjModel.from_xml_string(f"<mujoco><worldbody>{body}</worldbody></mujoco>")
    with pytest.raises(ValueError, match="body 'log' moves on its own, it is not a limb"):
        LimbLength("log").check_model(model)
