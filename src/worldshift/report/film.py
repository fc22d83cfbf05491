"""Pictures of MuJoCo bodies without OpenGL: an orthographic drawing of the geoms, as frames, film strips and GIFs.

Every convex geom is outlined by its support function, so capsules, boxes and ellipsoids land where the projection says.
Deviation from a renderer: flat colours, no light or shadow; geoms are painted far to near and faded with distance.
"""

# MuJoCo ships no type stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Literal

import mujoco
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageColor, ImageDraw, ImageFont

from worldshift.files import replacing
from worldshift.report.camera import DIRECTIONS, Plane, View, drawn_geoms, floor_plane, outline, view_of

__all__ = ["Frame", "View", "film_strip", "frame", "gif", "view_of"]

Frame = UInt8[np.ndarray, "height width 3"]
Colour = tuple[int, int, int]

SUPERSAMPLING = 2
SKY_TOP, SKY_BOTTOM = (214, 226, 238), (246, 249, 251)
GROUND_STRIPES, GROUND_EDGE = ((187, 198, 207), (175, 187, 197)), (128, 142, 154)
VOID, FLOOR, FLOOR_LINE = (206, 215, 223), (240, 244, 247), (216, 224, 231)
INK, FAINT_INK, BASE_BAR, CORRECTION_BAR = (45, 55, 66), (104, 118, 131), (110, 125, 140), (226, 116, 38)
FADE = 0.4
"""Share of the sky in the colour of the farthest geom."""


def frame(
    model: mujoco.MjModel,
    data: mujoco.MjData,
    *,
    size: tuple[int, int] = (240, 180),
    view: View | Plane | Literal["auto"] = "auto",
    title: str | None = None,
    tint: str | None = None,
    action: Float[np.ndarray, "A"] | None = None,
    correction: Float[np.ndarray, "A"] | None = None,
    headroom: float = 2.0,
) -> Frame:
    """Draws the body as it stands in `data` (positions as of the last `mj_step` or `mj_forward`; nothing is changed).

    Args:
        model: the MuJoCo model, as it is now.
        data: its state.
        size: width and height (pixels).
        view: a `View`, or the plane to look at; for a film, pass `view_of(model)`.
        title: a word in the upper left corner.
        tint: colour of everything that moves, as a name or `#rrggbb`, in place of the model's own.
        action: base action (A,), drawn as one grey bar for each actuator.
        correction: what a method adds to it (A,), drawn in orange on top.
        headroom: the bars' full scale.
    """
    if min(size) < 16:
        raise ValueError(f"A frame needs at least 16 x 16 pixels, not {size[0]} x {size[1]}.")
    if not np.isfinite(data.geom_xpos).all():
        raise ValueError(
            "The body's positions are not finite: the simulation has diverged, so there is nothing to draw."
        )
    eye = view if isinstance(view, View) else view_of(model, view)
    canvas = _Canvas(size, eye, eye.aim(data))
    if eye.plane == "side":
        _draw_ground(canvas, model, scrolling=eye.follow is not None)
    else:
        _draw_floor(canvas, model)
    _draw_tendons(canvas, model, data)
    _draw_geoms(canvas, model, data, ImageColor.getrgb(tint)[:3] if tint else None)
    picture = canvas.image.reduce(SUPERSAMPLING)
    pen = ImageDraw.Draw(picture)
    for place, label in canvas.labels:
        pen.text(place, label, FAINT_INK, font=_font(9), anchor="mm")
    if title:
        pen.text((8, 6), title, INK, font=_font(13))
    if action is not None:
        _draw_bars(pen, size[0], action, np.zeros_like(action) if correction is None else correction, headroom)
    return np.array(picture)


def film_strip(rows: Mapping[str, Sequence[Frame]], path: str | os.PathLike[str]) -> None:
    """Writes a PNG with one labelled row of frames for each entry; all frames of one size."""
    width, height = _common_size([list(frames) for frames in rows.values()])
    gutter = 12 + max(int(_font(13).getlength(label)) for label in rows)
    gap, columns = 3, max(len(frames) for frames in rows.values())
    sheet = Image.new("RGB", (gutter + columns * (width + gap), len(rows) * (height + gap) - gap), "white")
    pen = ImageDraw.Draw(sheet)
    for row, (label, frames) in enumerate(rows.items()):
        top = row * (height + gap)
        pen.text((6, top + height / 2), label, INK, font=_font(13), anchor="lm")
        for column, picture in enumerate(frames):
            sheet.paste(Image.fromarray(picture), (gutter + column * (width + gap), top))
    _write(path, lambda file: sheet.save(file, "PNG", optimize=True))


def gif(
    frames: Sequence[Frame] | Mapping[str, Sequence[Frame]], path: str | os.PathLike[str], fps: float = 20.0
) -> None:
    """Writes an endless GIF of one sequence, or of several side by side under their labels.

    A sequence that ends early holds its last frame. GIF counts time in hundredths of a second and viewers slow down
    below two of them, hence at most 50 frames/s. Equal consecutive frames are stored once, for as long as they last.
    """
    if not 1.0 <= fps <= 50.0:
        raise ValueError(f"fps must lie between 1 and 50, not {fps}: GIF cannot time anything else.")
    labelled = frames if isinstance(frames, Mapping) else {"": frames}
    _common_size([list(sequence) for sequence in labelled.values()])
    length = max(len(sequence) for sequence in labelled.values())

    def picture(t: int) -> Image.Image:
        return _side_by_side({label: sequence[min(t, len(sequence) - 1)] for label, sequence in labelled.items()})

    samples = np.concatenate([np.asarray(picture(t)) for t in range(0, length, max(1, length // 8))])
    palette = Image.fromarray(samples).quantize(96, dither=Image.Dither.NONE)
    indexed = [picture(t).quantize(palette=palette, dither=Image.Dither.NONE) for t in range(length)]
    _write(
        path,
        lambda file: indexed[0].save(
            file,
            "GIF",
            save_all=True,
            append_images=indexed[1:],
            duration=10 * round(100.0 / fps),
            loop=0,
            optimize=True,
        ),
    )


class _Canvas:
    """An oversized picture and the map from metres to its pixels."""

    def __init__(self, size: tuple[int, int], view: View, aim: np.ndarray):
        self.size = (size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING)
        self.axes, self.aim = view.axes, aim
        self.toward_viewer = np.array([0.0, -1.0, 0.0] if view.plane == "side" else [0.0, 0.0, 1.0])
        self.scale = min(self.size[0] / view.span[0], self.size[1] / view.span[1])
        self.image = _sky(self.size).copy() if view.plane == "side" else Image.new("RGB", self.size, VOID)
        self.pen = ImageDraw.Draw(self.image)
        self.labels: list[tuple[tuple[float, float], str]] = []

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Pixels (N, 2) of points (N, 2) given as right and up (m)."""
        return (points - self.aim) * [self.scale, -self.scale] + np.array(self.size) / 2 - 0.5

    def limits(self, axis: int) -> tuple[float, float]:
        """What the picture shows along right (0) or up (1) (m)."""
        half = self.size[axis] / self.scale / 2
        return float(self.aim[axis]) - half, float(self.aim[axis]) + half

    def fill(self, points: np.ndarray, colour: Colour) -> None:
        """Fills the polygon with these corners (N, 2), right and up (m)."""
        self.pen.polygon(self.pixels(points).ravel().tolist(), fill=colour)


def _draw_ground(canvas: _Canvas, model: mujoco.MjModel, *, scrolling: bool) -> None:
    """The ground from its edge: stripes that stay where they are in the world, and distances (m) when it scrolls."""
    floor = floor_plane(model)
    if floor is None:
        return
    height = model.geom_pos[floor, 2]
    (_, top), bottom = canvas.pixels(np.array([[canvas.aim[0], height]]))[0], canvas.size[1]
    if top >= bottom:
        return
    left, right = canvas.limits(0)
    step = _round_length((right - left) / 6)
    marks = step * np.arange(np.floor(left / step), np.ceil(right / step) + 1)
    columns = canvas.pixels(np.stack([marks, np.full_like(marks, height)], -1))[:, 0]
    for mark, (x0, x1) in zip(marks, pairwise(columns), strict=False):
        canvas.pen.rectangle((x0, top, x1, bottom), fill=GROUND_STRIPES[round(mark / step) % 2])
    canvas.pen.line((0, top, canvas.size[0], top), fill=GROUND_EDGE, width=SUPERSAMPLING)
    middle = (top + bottom) / 2 / SUPERSAMPLING
    if scrolling and bottom - top > 24:
        sparse = int(np.ceil(38 * SUPERSAMPLING / (step * canvas.scale)))
        labelled = [(m, x) for m, x in zip(marks, columns, strict=True) if round(m / step) % sparse == 0]
        canvas.labels += [((x / SUPERSAMPLING, middle), f"{m:g} m") for m, x in labelled]


def _draw_floor(canvas: _Canvas, model: mujoco.MjModel) -> None:
    """The floor as seen from above: the plane's extent (all of the picture where it has none), with lines to scroll."""
    floor = floor_plane(model)
    if floor is None:
        return
    edges = np.array([canvas.limits(0), canvas.limits(1)])
    centre, half = model.geom_pos[floor, :2, None], model.geom_size[floor, :2, None]
    if (half > 0).all():
        edges = np.clip(edges, centre - half, centre + half)
    (x0, x1), (y0, y1) = edges
    canvas.fill(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]), FLOOR)
    step = _round_length(float(np.ptp(canvas.limits(0))) / 14)
    grid = [np.arange(np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9) + 1) * step for low, high in edges]
    lines = [[(x, y0), (x, y1)] for x in grid[0]] + [[(x0, y), (x1, y)] for y in grid[1]]
    for line in lines:
        canvas.pen.line(canvas.pixels(np.array(line)).ravel().tolist(), fill=FLOOR_LINE, width=SUPERSAMPLING)


def _draw_tendons(canvas: _Canvas, model: mujoco.MjModel, data: mujoco.MjData) -> None:
    """Strings: the path of every spatial tendon."""
    path = data.wrap_xpos.reshape(-1, 3)[:, canvas.axes]
    for tendon in range(model.ntendon):
        start, count = data.ten_wrapadr[tendon], data.ten_wrapnum[tendon]
        if count >= 2 and model.tendon_rgba[tendon, 3] > 0:
            string = canvas.pixels(path[start : start + count]).ravel().tolist()
            width = max(SUPERSAMPLING, round(2 * model.tendon_width[tendon] * canvas.scale))
            canvas.pen.line(string, fill=FAINT_INK, width=width)


def _draw_geoms(canvas: _Canvas, model: mujoco.MjModel, data: mujoco.MjData, tint: Colour | None) -> None:
    geoms = drawn_geoms(model)
    moving = model.body_weldid[model.geom_bodyid] != 0
    depth = data.geom_xpos @ canvas.toward_viewer
    body_depth = depth[[geom for geom in geoms if moving[geom]]]
    near, far = (np.median(body_depth), body_depth.min()) if body_depth.size else (0.0, 0.0)
    rim = 1.25 * SUPERSAMPLING / canvas.scale
    for geom in sorted(geoms, key=lambda g: (round(float(depth[g]), 4), moving[g])):
        colour = np.array(tint if tint and moving[geom] else _own_colour(model, geom), float)
        if moving[geom] and near - depth[geom] > 1e-4:
            fade = FADE * (near - depth[geom]) / (near - far)
            colour = (1 - fade) * colour + fade * np.array(SKY_BOTTOM)
        centre = data.geom_xpos[geom][canvas.axes]
        edge = centre + outline(model, geom, data.geom_xmat[geom].reshape(3, 3)[canvas.axes])
        canvas.fill(edge, _rgb(0.62 * colour))
        canvas.fill(edge - rim * DIRECTIONS, _rgb(colour))


def _own_colour(model: mujoco.MjModel, geom: int) -> Colour:
    """The material's colour, unless the geom has one of its own (MuJoCo's default grey is none)."""
    material, own = model.geom_matid[geom], model.geom_rgba[geom, :3]
    painted = material < 0 or not np.allclose(own, 0.5)
    return _rgb(255 * (own if painted else model.mat_rgba[material, :3]))


def _draw_bars(
    pen: ImageDraw.ImageDraw, width: int, action: np.ndarray, correction: np.ndarray, headroom: float
) -> None:
    """One upright bar for each actuator in the upper right corner: grey the base action, orange what is added to it."""
    half, pitch = 14, max(4, min(7, width // 2 // action.size))
    left, middle = width - 6 - pitch * action.size, 8 + half
    for index, (base, added) in enumerate(zip(action, correction, strict=True)):
        x = left + index * pitch
        levels = [middle - half * float(np.clip(v / headroom, -1, 1)) for v in (0.0, base, base + added)]
        pen.rectangle((x, middle - half, x + pitch - 3, middle + half), fill=SKY_BOTTOM, outline=GROUND_EDGE)
        for (start, end), colour in zip(pairwise(levels), (BASE_BAR, CORRECTION_BAR), strict=True):
            if abs(end - start) >= 0.5:
                pen.rectangle((x + 1, min(start, end), x + pitch - 4, max(start, end)), fill=colour)


def _side_by_side(panels: Mapping[str, Frame]) -> Image.Image:
    header = 20 if any(panels) else 0
    height, width = next(iter(panels.values())).shape[:2]
    gap = 4
    sheet = Image.new("RGB", (len(panels) * (width + gap) - gap, header + height), "white")
    pen = ImageDraw.Draw(sheet)
    for column, (label, picture) in enumerate(panels.items()):
        left = column * (width + gap)
        pen.text((left + width / 2, header / 2), label, INK, font=_font(13), anchor="mm")
        sheet.paste(Image.fromarray(picture), (left, header))
    return sheet


def _common_size(sequences: Sequence[Sequence[Frame]]) -> tuple[int, int]:
    """Width and height that all frames share, or a refusal."""
    if not sequences or not all(sequences):
        raise ValueError("There is nothing to draw: every sequence needs at least one frame.")
    sizes = {picture.shape for sequence in sequences for picture in sequence}
    if len(sizes) > 1:
        raise ValueError(
            f"All frames of a film must have one size, not {sorted(sizes)}: draw them with the same `size`."
        )
    height, width, _ = sizes.pop()
    return width, height


def _write(path: str | os.PathLike[str], save: Callable[[Path], None]) -> None:
    """Writes beside the target and renames, so that a reader never meets half a file."""
    target = Path(path)
    if not target.parent.is_dir():
        raise ValueError(f"The folder {target.parent} does not exist: create it before writing {target.name}.")
    if target.is_dir():
        raise ValueError(f"{target} is a folder: name the file to write.")
    with replacing(target) as beside:
        save(beside)


def _round_length(length: float) -> float:
    """The next of 1, 2, 5 times a power of ten (m)."""
    power = 10.0 ** np.floor(np.log10(length))
    return float(min(m * power for m in (1, 2, 5, 10) if m * power >= length * (1 - 1e-9)))


def _rgb(colour: np.ndarray) -> Colour:
    red, green, blue = (int(v) for v in np.clip(np.round(colour), 0, 255))
    return red, green, blue


@cache
def _sky(size: tuple[int, int]) -> Image.Image:
    share = np.linspace(0.0, 1.0, size[1])[:, None, None]
    rows = np.array(SKY_TOP) * (1 - share) + np.array(SKY_BOTTOM) * share
    return Image.fromarray(np.broadcast_to(np.round(rows), (size[1], size[0], 3)).astype(np.uint8))


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's built-in typeface, the same on every machine."""
    return ImageFont.load_default(size)
