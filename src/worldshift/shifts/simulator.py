"""The live MuJoCo model of an environment: finding it, editing it in memory, bringing it back bit by bit.

An edit remembers each element that it changed, also what MuJoCo derives (subtree masses, inverse weights, bounds).
Elements that somebody else writes meanwhile (a task that moves its target at each reset) are left as they are.
"""

# MuJoCo ships no type stubs.
# pyright: reportAttributeAccessIssue=false

import contextlib
from collections.abc import Callable, Sequence
from functools import reduce

import gymnasium
import mujoco
import numpy as np

DERIVED = (
    *("body_subtreemass", "body_invweight0", "dof_M0", "dof_invweight0", "dof_length", "body_sameframe"),
    *("geom_rbound", "geom_aabb", "geom_sameframe", "site_sameframe", "bvh_aabb"),
    *("tendon_length0", "tendon_invweight0", "tendon_lengthspring", "eq_data"),
    *("actuator_length0", "actuator_acc0", "actuator_biasprm"),
    *("cam_pos0", "cam_poscom0", "cam_mat0", "light_pos0", "light_poscom0", "light_dir0"),
    *("flex_vert0", "flex_vertmetric", "flexedge_length0", "flexedge_invweight0", "efm0_L", "tree_sleep_policy"),
)
"""The model's arrays that `mj_setConst` may write, over the supported versions of MuJoCo."""

_SIZES = ("meaninertia", "meanmass", "meansize", "extent")


def simulator(env: gymnasium.Env) -> tuple[mujoco.MjModel, mujoco.MjData] | None:
    """The MuJoCo model and state behind an environment, or None.

    Found as `.model` and `.data` (Gymnasium's convention, ours too) or as dm_control's `.physics`, of the innermost
    environment.
    """
    inner = env.unwrapped
    for owner in (inner, getattr(inner, "physics", None)):
        # A property that says "no MuJoCo here" with an AttributeError is a None as well.
        model, data = (getattr(owner, name, None) for name in ("model", "data"))
        model, data = getattr(model, "ptr", model), getattr(data, "ptr", data)
        if isinstance(model, mujoco.MjModel) and isinstance(data, mujoco.MjData):
            return model, data
    return None


def _array(model: mujoco.MjModel, name: str) -> np.ndarray | None:
    with contextlib.suppress(AttributeError):  # not in this version of MuJoCo
        return reduce(getattr, name.split("."), model)  # pyright: ignore[reportReturnType]
    return None


def _bits(array: np.ndarray) -> np.ndarray:
    """The same memory as unsigned integers, so that -0.0 and NaN compare as what they are."""
    return array.view(f"u{array.itemsize}")


class Workbench:
    """Edits one live model and takes the edits back."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData):
        self._model, self._data = model, data
        self._scratch: mujoco.MjData | None = None
        self._found: dict[tuple[str, ...], list[np.ndarray]] = {}
        self._undo: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []

    def apply(self, writes: Sequence[str], derives: bool, edits: Sequence[Callable[[mujoco.MjModel], None]]) -> None:
        """Makes the model nominal plus these edits, in order, and brings the state's derived quantities up to date.

        Arguments:
            writes: the model's arrays that the edits write (`opt.gravity` for a nested one).
            derives: whether MuJoCo's constants depend on them.
        """
        touched, arrays = self._take_back(), self._memory((*writes, *(DERIVED if derives else ())))
        before = [array.copy() for array in arrays]
        try:
            for edit in edits:
                edit(self._model)
            if derives:
                self._derive()
        finally:  # also when an edit fails half-way
            for array, old in zip(arrays, before, strict=True):
                changed = array != old
                if changed.any():
                    self._undo.append((array, changed, old, array.copy()))
        if touched or self._undo:
            mujoco.mj_forward(self._model, self._data)

    def restore(self) -> None:
        """Takes every edit back: the model is nominal again, bit by bit."""
        if self._take_back():
            mujoco.mj_forward(self._model, self._data)

    def _memory(self, names: tuple[str, ...]) -> list[np.ndarray]:
        """The live memory of these arrays, those that this version of MuJoCo has; looked up once."""
        if names not in self._found:
            arrays = [_array(self._model, name) for name in dict.fromkeys(names)]
            self._found[names] = [_bits(array) for array in arrays if array is not None and array.size]
        return self._found[names]

    def _take_back(self) -> bool:
        undo, self._undo = self._undo, []
        for array, changed, old, new in undo:
            np.copyto(array, old, where=changed & (array == new))
        return bool(undo)

    def _derive(self) -> None:
        """Lets MuJoCo derive its constants, on a scratch state. The model's statistics are the solver's scale: kept."""
        if self._scratch is None:
            self._scratch = mujoco.MjData(self._model)
        stat = self._model.stat
        sizes, centre = {name: getattr(stat, name) for name in _SIZES}, stat.center.copy()
        mujoco.mj_setConst(self._model, self._scratch)
        for name, value in sizes.items():
            setattr(stat, name, value)
        stat.center[:] = centre
