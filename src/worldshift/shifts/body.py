"""Shifts of the body and the world: forces on it, friction, damping, mass, gravity. MuJoCo only.

Each says in its docstring which arrays of the model it edits; what MuJoCo derives from them is computed anew.
"""

# MuJoCo ships no type stubs.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Sequence
from dataclasses import dataclass, field

import mujoco
import numpy as np

from worldshift.shifts.kinds import ForceShift, ModelShift
from worldshift.shifts.parameters import Draw, Names, Number, Numbers, names, number

_ONE_AXIS = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))
_KINDS = {
    "body": (mujoco.mjtObj.mjOBJ_BODY, "nbody"),
    "joint": (mujoco.mjtObj.mjOBJ_JOINT, "njnt"),
    "geom": (mujoco.mjtObj.mjOBJ_GEOM, "ngeom"),
    "camera": (mujoco.mjtObj.mjOBJ_CAMERA, "ncam"),
}


def named_ids(model: mujoco.MjModel, what: str, wanted: Sequence[str]) -> list[int]:
    """Ids of the named bodies, joints, geoms or cameras; of all of them (of the world body not) if none is named.

    Raises:
        ValueError: the model has no such thing; the sentence says which it has.
    """
    kind, count = _KINDS[what][0], getattr(model, _KINDS[what][1])
    if not wanted:
        return list(range(1 if what == "body" else 0, count))
    ids = [mujoco.mj_name2id(model, kind, name) for name in wanted]
    for name, i in zip(wanted, ids, strict=True):
        if i < 0 or (what == "body" and i == 0):
            known = (mujoco.mj_id2name(model, kind, k) for k in range(1 if what == "body" else 0, count))
            raise ValueError(f"the model has no {what} {name!r}; it has: {', '.join(k for k in known if k)}.")
    return ids


@dataclass(frozen=True)
class ExternalWrench(ForceShift):
    """A constant force and torque times strength, in the world's frame, at a body's centre of mass: wind, a leash."""

    body: Names = field(metadata=names(doc="the body that is pushed"))
    force: Numbers = field(
        default=(0.0, 0.0, 0.0), metadata=number(low=-1e5, high=1e5, unit="N", per=3, doc="force along world x, y, z")
    )
    torque: Numbers = field(
        default=(0.0, 0.0, 0.0),
        metadata=number(low=-1e5, high=1e5, unit="N·m", per=3, doc="torque about world x, y, z"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.body, Draw) and len(self.body) != 1:
            raise ValueError(f"ExternalWrench.body must name one body, not {self.body!r}.")

    def check_model(self, model: mujoco.MjModel) -> None:
        """The body must exist."""
        named_ids(model, "body", self.body)

    def push(self, model: mujoco.MjModel, strength: float, wrench: np.ndarray, torque: np.ndarray) -> None:
        """Adds to one row of the wrenches."""
        wrench[named_ids(model, "body", self.body)] += strength * np.array([*self.force, *self.torque])


@dataclass(frozen=True)
class ConstantTorque(ForceShift):
    """A constant torque (a force, on a slide) times strength on hinge and slide joints: a spring, a dragging cable."""

    joints: Names = field(metadata=names(doc="the joints"))
    torque: Numbers = field(
        default=1.0,
        metadata=number(low=-1e5, high=1e5, unit="N·m or N", per="joint", doc="for all of them or for each"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.joints, Draw) and not self.joints:
            raise ValueError("ConstantTorque.joints must name at least one joint.")
        if (
            isinstance(self.torque, tuple)
            and not isinstance(self.joints, Draw)
            and len(self.torque) != len(self.joints)
        ):
            raise ValueError(f"ConstantTorque has {len(self.torque)} torques for {len(self.joints)} joints.")

    def check_model(self, model: mujoco.MjModel) -> None:
        """The joints must exist and have one degree of freedom."""
        for name, joint in zip(self.joints, named_ids(model, "joint", self.joints), strict=True):
            if model.jnt_type[joint] not in _ONE_AXIS:
                raise ValueError(
                    f"joint {name!r} is neither a hinge nor a slide: push its body with ExternalWrench instead."
                )

    def push(self, model: mujoco.MjModel, strength: float, wrench: np.ndarray, torque: np.ndarray) -> None:
        """Adds to the joints' generalised forces."""
        torque[model.jnt_dofadr[named_ids(model, "joint", self.joints)]] += strength * np.asarray(self.torque)


@dataclass(frozen=True)
class Friction(ModelShift):
    """Scales the friction coefficients of geoms (sliding, spinning, rolling) by 1 + (scale - 1)·strength.

    A contact takes the larger coefficient of its two geoms: to make one foot slippery, name the floor too.
    Edits `geom_friction`, and `pair_friction` of explicit pairs with a geom among them.
    """

    scale: Number = field(default=0.5, metadata=number(low=0.0, high=10.0, doc="factor at full strength"))
    geoms: Names = field(default=(), metadata=names(doc="which geoms; none named: all of them"))
    writes = ("geom_friction", "pair_friction")

    def check_model(self, model: mujoco.MjModel) -> None:
        """The geoms must exist."""
        named_ids(model, "geom", self.geoms)

    def edit(self, model: mujoco.MjModel, strength: float) -> None:
        """Scales."""
        ids, factor = named_ids(model, "geom", self.geoms), 1.0 + (self.scale - 1.0) * strength
        model.geom_friction[ids] *= factor
        model.pair_friction[np.isin(model.pair_geom1, ids) | np.isin(model.pair_geom2, ids)] *= factor


@dataclass(frozen=True)
class JointDamping(ModelShift):
    """Scales the viscous damping of joints by 1 + (scale - 1)·strength. Edits `dof_damping`."""

    scale: Number = field(default=3.0, metadata=number(low=0.0, high=100.0, doc="factor at full strength"))
    joints: Names = field(default=(), metadata=names(doc="which joints; none named: all of them"))
    writes = ("dof_damping",)

    def check_model(self, model: mujoco.MjModel) -> None:
        """The joints must exist."""
        named_ids(model, "joint", self.joints)

    def edit(self, model: mujoco.MjModel, strength: float) -> None:
        """Scales."""
        ids = named_ids(model, "joint", self.joints)
        model.dof_damping[np.isin(model.dof_jntid, ids)] *= 1.0 + (self.scale - 1.0) * strength


@dataclass(frozen=True)
class BodyMass(ModelShift):
    """Scales mass and inertia of bodies, and loads them: at strength s, m becomes m·(1 + (scale - 1)·s) + payload·s.

    The payload sits at the body's centre of mass, as a point. Edits `body_mass` and `body_inertia`.
    """

    scale: Number = field(
        default=1.0, metadata=number(low=0.01, high=100.0, doc="factor of mass and inertia at full strength")
    )
    bodies: Names = field(default=(), metadata=names(doc="which bodies; none named: all of them"))
    payload: Number = field(
        default=0.0, metadata=number(low=0.0, high=1e4, unit="kg", doc="mass added to each named body")
    )
    writes = ("body_mass", "body_inertia")
    derives = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.payload != 0.0 and self.bodies == ():
            raise ValueError("BodyMass.payload needs the body that carries it: name it in `bodies`.")

    def check_model(self, model: mujoco.MjModel) -> None:
        """The bodies must exist."""
        named_ids(model, "body", self.bodies)

    def edit(self, model: mujoco.MjModel, strength: float) -> None:
        """Scales, then loads."""
        ids, factor = named_ids(model, "body", self.bodies), 1.0 + (self.scale - 1.0) * strength
        model.body_mass[ids] = model.body_mass[ids] * factor + self.payload * strength
        model.body_inertia[ids] *= factor


@dataclass(frozen=True)
class Gravity(ModelShift):
    """Another gravity: at strength s scaled by 1 + (scale - 1)·s and tilted by tilt·s, as on a slope; or `vector`.

    Edits `opt.gravity`.
    """

    scale: Number = field(default=1.0, metadata=number(low=0.0, high=10.0, doc="factor at full strength"))
    tilt: Number = field(
        default=0.0,
        metadata=number(low=-np.pi / 2, high=np.pi / 2, unit="rad", doc="angle by which gravity leans over"),
    )
    heading: Number = field(
        default=0.0,
        metadata=number(low=-np.pi, high=np.pi, unit="rad", doc="where it leans to: 0 is world x, pi/2 is world y"),
    )
    vector: Numbers = field(
        default=None,
        metadata=number(low=-1e3, high=1e3, unit="m/s²", per=3, doc="gravity itself, instead of scale and tilt"),
    )
    writes = ("opt.gravity",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.vector is not None and (self.scale, self.tilt, self.heading) != (1.0, 0.0, 0.0):
            raise ValueError("Gravity takes either a vector, or scale, tilt and heading.")

    def check_model(self, model: mujoco.MjModel) -> None:
        """There must be a gravity to scale or tilt."""
        if model.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_GRAVITY:
            raise ValueError("gravity is switched off in this model: no Gravity shift can act on it.")
        if self.vector is None and not model.opt.gravity.any():
            raise ValueError("this model has no gravity to scale or tilt: give Gravity a vector.")

    def edit(self, model: mujoco.MjModel, strength: float) -> None:
        """Scales and tilts, or moves along the straight line to the vector."""
        gravity = model.opt.gravity.copy()
        if self.vector is not None:
            model.opt.gravity[:] = gravity + strength * (np.asarray(self.vector) - gravity)
            return
        # Downward gravity leans towards `heading` when turned by -tilt about the horizontal axis left of it.
        axis, turn = np.array([-np.sin(self.heading), np.cos(self.heading), 0.0]), np.zeros(4)
        mujoco.mju_axisAngle2Quat(turn, axis, -self.tilt * strength)
        leaning = np.zeros(3)
        mujoco.mju_rotVecQuat(leaning, gravity, turn)
        model.opt.gravity[:] = leaning * (1.0 + (self.scale - 1.0) * strength)
