"""Longer or shorter limbs: geometry, attachments, mass and inertia as if the model had been written that way.

A limb is a body. It is stretched from its joint along its longest geom; thickness and density stay what they are.
The bodies below move with the far end, joint by joint. MuJoCo only; meshes cannot be stretched.
"""

# MuJoCo ships no type stubs.
# pyright: reportAttributeAccessIssue=false

from dataclasses import dataclass, field
from typing import NamedTuple

import mujoco
import numpy as np

from worldshift.shifts.body import named_ids
from worldshift.shifts.kinds import ModelShift
from worldshift.shifts.parameters import Draw, Names, Number, names, number

_CAPSULE, _CYLINDER = int(mujoco.mjtGeom.mjGEOM_CAPSULE), int(mujoco.mjtGeom.mjGEOM_CYLINDER)
_BOX, _ELLIPSOID = int(mujoco.mjtGeom.mjGEOM_BOX), int(mujoco.mjtGeom.mjGEOM_ELLIPSOID)
_SPHERE = int(mujoco.mjtGeom.mjGEOM_SPHERE)
_ROUND = (_CAPSULE, _CYLINDER)  # size: radius, half-length along z
_BOXY = (_BOX, _ELLIPSOID)  # size: half-lengths along x, y, z


@dataclass(frozen=True)
class LimbLength(ModelShift):
    """Scales the length of limbs by 1 + (scale - 1)·strength, from the limb's joint outwards.

    A limb that grows into the floor is pushed out by the contact: begin and end such a shift between episodes.
    Edits geoms, sites, mass and inertia of the limb, and `body_pos` of its children.
    """

    bodies: Names = field(metadata=names(doc="the bodies that are the limbs"))
    scale: Number = field(default=1.2, metadata=number(low=0.25, high=4.0, doc="factor of the length at full strength"))
    writes = (
        *(
            "geom_pos",
            "geom_size",
            "geom_rbound",
            "geom_aabb",
            "geom_sameframe",
            "bvh_aabb",
            "site_pos",
            "site_sameframe",
        ),
        *("body_pos", "body_mass", "body_ipos", "body_iquat", "body_inertia", "body_sameframe"),
    )
    derives = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.bodies, Draw) and not self.bodies:
            raise ValueError("LimbLength.bodies must name at least one body.")

    def check_model(self, model: mujoco.MjModel) -> None:
        """The bodies must exist, have a direction, and a mass matrix that lets their centre of mass move."""
        for name, body in zip(self.bodies, named_ids(model, "body", self.bodies), strict=True):
            _axis(model, body, name)
            if model.body_simple[body]:
                raise ValueError(f"body {name!r} moves on its own, it is not a limb: LimbLength cannot stretch it.")

    def edit(self, model: mujoco.MjModel, strength: float) -> None:
        """Stretches one limb after the other."""
        for name, body in zip(self.bodies, named_ids(model, "body", self.bodies), strict=True):
            _stretch(model, body, _axis(model, body, name), 1.0 + (self.scale - 1.0) * strength)


def _geoms(model: mujoco.MjModel, body: int) -> list[int]:
    """The body's geoms that have a volume of their own."""
    first, count = model.body_geomadr[body], model.body_geomnum[body]
    return [g for g in range(first, first + count) if model.geom_type[g] in (*_ROUND, *_BOXY, _SPHERE)]


def _axis(model: mujoco.MjModel, body: int, name: str) -> np.ndarray:
    """The limb's direction in its own frame, a unit vector: the long side of its longest geom."""
    longest, axis = 0.0, None
    for geom in _geoms(model, body):
        size, kind = model.geom_size[geom], model.geom_type[geom]
        side = 2 if kind in _ROUND else int(np.argmax(size))
        length = size[1] if kind in _ROUND else size[side]
        if kind != _SPHERE and length > longest:
            longest, axis = length, _matrix(model.geom_quat[geom])[:, side]
    if axis is None:
        raise ValueError(f"body {name!r} has no capsule, cylinder, box or ellipsoid that gives it a length to scale.")
    return axis


def _stretch(model: mujoco.MjModel, body: int, axis: np.ndarray, scale: float) -> None:
    """Stretches everything fixed to the body along `axis`, away from its joint."""
    geoms, anchor = _geoms(model, body), _anchor(model, body)

    def growth(points: np.ndarray) -> np.ndarray:  # (..., 3): how far points of the body move
        return (scale - 1.0) * ((points - anchor) @ axis)[..., None] * axis

    before = _solid(model, geoms)
    every = slice(model.body_geomadr[body], model.body_geomadr[body] + model.body_geomnum[body])
    model.geom_pos[every] += growth(model.geom_pos[every])
    for geom in geoms:
        _lengthen(model, geom, axis, scale)
    sites = model.site_bodyid == body
    model.site_pos[sites] += growth(model.site_pos[sites])
    for child in np.flatnonzero(model.body_parentid == body).tolist():
        joint = model.body_pos[child] + _matrix(model.body_quat[child]) @ _anchor(model, child)
        model.body_pos[child] += growth(joint)
    _refill(model, body, before, _solid(model, geoms))
    _bound(model, body, geoms)


def _anchor(model: mujoco.MjModel, body: int) -> np.ndarray:
    """Where the body hangs, in its own frame: its first joint, or its origin."""
    return model.jnt_pos[model.body_jntadr[body]].copy() if model.body_jntnum[body] else np.zeros(3)


def _lengthen(model: mujoco.MjModel, geom: int, axis: np.ndarray, scale: float) -> None:
    """Scales the side of a geom that lies along the axis; geoms that lie across it keep their size."""
    side = int(np.argmax(np.abs(_matrix(model.geom_quat[geom]).T @ axis) > 0.99))
    if np.abs(_matrix(model.geom_quat[geom])[:, side] @ axis) <= 0.99:
        return
    if model.geom_type[geom] in _BOXY:
        model.geom_size[geom, side] *= scale
    elif model.geom_type[geom] in _ROUND and side == 2:
        model.geom_size[geom, 1] *= scale


class _Solid(NamedTuple):
    volume: float
    centre: np.ndarray  # (3,) in the body's frame
    spread: np.ndarray  # (3, 3) second moments of volume about the centre


def _solid(model: mujoco.MjModel, geoms: list[int]) -> _Solid:
    """The geoms' volume and its distribution; where geoms overlap it counts twice, as in MuJoCo's compiler."""
    parts = [_primitive(int(model.geom_type[geom]), model.geom_size[geom]) for geom in geoms]
    volumes, places = np.array([volume for volume, _ in parts]), model.geom_pos[geoms]
    centre = volumes @ places / volumes.sum()
    spread = np.zeros((3, 3))
    for geom, (volume, moments) in zip(geoms, parts, strict=True):
        frame, offset = _matrix(model.geom_quat[geom]), model.geom_pos[geom] - centre
        spread += volume * (frame @ np.diag(moments) @ frame.T + np.outer(offset, offset))
    return _Solid(float(volumes.sum()), centre, spread)


def _primitive(kind: int, size: np.ndarray) -> tuple[float, np.ndarray]:
    """Volume, and mean squares of x, y, z over it, of a geom in its own frame."""
    if kind == _BOX:
        return 8.0 * float(np.prod(size)), size**2 / 3.0
    if kind == _ELLIPSOID:
        return 4.0 / 3.0 * np.pi * float(np.prod(size)), size**2 / 5.0
    r, h = float(size[0]), float(size[1]) if kind in _ROUND else 0.0
    cylinder = 2.0 * np.pi * r**2 * h
    caps = 0.0 if kind == _CYLINDER else 4.0 / 3.0 * np.pi * r**3
    across = cylinder * r**2 / 4.0 + caps * r**2 / 5.0
    along = cylinder * h**2 / 3.0 + caps * (r**2 / 5.0 + h**2 + 0.75 * r * h)
    return cylinder + caps, np.array([across, across, along]) / (cylinder + caps)


def _refill(model: mujoco.MjModel, body: int, before: _Solid, after: _Solid) -> None:
    """Mass and inertia of the stretched body at the same density.

    Exact where MuJoCo had computed them from the geoms; a body with numbers of its own, or with a payload, is deformed
    as its geoms are: its second moments P become S·P·Sᵀ with the S that takes the geoms' from before to after.
    """
    frame = _matrix(model.body_iquat[body])
    deform = _root(after.spread) @ np.linalg.inv(_root(before.spread))
    spread = deform @ _spread(model.body_inertia[body], model.body_iquat[body]) @ deform.T
    inertia = np.trace(spread) * np.eye(3) - spread
    model.body_mass[body] *= after.volume / before.volume
    model.body_ipos[body] += after.centre - before.centre
    principal = frame.T @ inertia @ frame
    if np.abs(principal - np.diag(np.diag(principal))).max() > 1e-9 * np.trace(principal):
        moments, directions = np.linalg.eigh(inertia)
        directions[:, 0] *= np.sign(np.linalg.det(directions))
        quat = np.zeros(4)
        mujoco.mju_mat2Quat(quat, directions.ravel())
        model.body_iquat[body], model.body_inertia[body] = quat, moments
    else:
        model.body_inertia[body] = np.diag(principal)
    # 0: no short cut between frames. Always right; newer versions of MuJoCo find the short cuts again.
    model.body_sameframe[body] = 0
    model.geom_sameframe[model.geom_bodyid == body] = 0
    model.site_sameframe[model.site_bodyid == body] = 0


def _bound(model: mujoco.MjModel, body: int, geoms: list[int]) -> None:
    """Bounds for the search of contacts: exact for each geom, generous for the body's tree of boxes."""
    for geom in geoms:
        size, kind = model.geom_size[geom], model.geom_type[geom]
        if kind in _ROUND:
            cap = size[0] if kind == _CAPSULE else 0.0
            half = np.array([size[0], size[0], size[1] + cap])
            radius = half[2] if cap else np.hypot(size[0], size[1])
        elif kind in _BOXY:
            half = size.copy()
            radius = np.linalg.norm(size) if kind == _BOX else size.max()
        else:
            continue  # spheres keep their size
        model.geom_aabb[geom, 3:], model.geom_rbound[geom] = half, radius
    every = slice(model.body_geomadr[body], model.body_geomadr[body] + model.body_geomnum[body])
    reach = np.linalg.norm(model.geom_pos[every] - model.body_ipos[body], axis=1) + model.geom_rbound[every]
    boxes = slice(model.body_bvhadr[body], model.body_bvhadr[body] + model.body_bvhnum[body])
    model.bvh_aabb[boxes] = [0.0, 0.0, 0.0, *[reach.max()] * 3]


def _matrix(quat: np.ndarray) -> np.ndarray:
    """Rotation matrix (3, 3) of a quaternion."""
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, quat)
    return matrix.reshape(3, 3)


def _spread(moments: np.ndarray, quat: np.ndarray) -> np.ndarray:
    """Second moments ∫x·xᵀ (3, 3) of principal moments of inertia (3,) in a frame."""
    frame = _matrix(quat)
    return frame @ np.diag(0.5 * moments.sum() - moments) @ frame.T


def _root(matrix: np.ndarray) -> np.ndarray:
    """Symmetric square root of a positive matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return vectors @ np.diag(np.sqrt(values)) @ vectors.T
