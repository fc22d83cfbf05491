"""What several verbs need: one JSON object on standard output, progress on standard error, shifts by name or JSON."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as Remaining

from worldshift.run.online.methods import GAINS
from worldshift.shifts import Shift

PRESETS: dict[str, Shift] = {"gain": GAINS}


def say() -> Console:
    """Where people read results."""
    return Console()


def aside() -> Console:
    """Where progress goes: never into the results."""
    return Console(stderr=True)


def emit(found: Mapping[str, Any]) -> None:
    """The one JSON object of `--json`."""
    print(json.dumps(found, allow_nan=False))


def chosen(option: str, arguments: Sequence[str]) -> str | None:
    """The value of `--option` among the words of a command, before anything else of it is understood."""
    for word, following in zip(arguments, [*arguments[1:], ""], strict=False):
        if word == f"--{option}":
            return following
        if word.startswith(f"--{option}="):
            return word.partition("=")[2]
    return None


def shift_from(text: str) -> Shift:
    """A preset's shift, or the one that a line of JSON describes.

    Raises:
        ValueError: neither.
    """
    if text in PRESETS:
        return PRESETS[text]
    if not text.lstrip().startswith("{"):
        raise ValueError(
            f"a shift is a preset ({', '.join(PRESETS)}) or a line of JSON such as "
            f'{{"kind": "ActuatorGain", "p": -0.3}}, not {text!r}.'
        )
    return Shift.from_json(text)


def bar_of(*columns: ProgressColumn, transient: bool = False) -> Progress:
    """A progress bar on standard error; nothing is drawn where nobody looks (a pipe, a file)."""
    console = aside()
    return Progress(*columns, console=console, transient=transient, disable=not console.is_terminal)


@contextmanager
def progress(total: int, what: str) -> Iterator[Callable[[str, int], None]]:
    """A bar on standard error; gives a function to call with (what is being done, how much is done in all)."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), Remaining())
    with bar_of(*columns, transient=True) as bar:
        task = bar.add_task(what, total=total)

        def told(doing: str, done: int) -> None:
            bar.update(task, description=doing, completed=done)

        yield told


@contextmanager
def method_progress(methods: tuple[str, ...], steps: int) -> Iterator[Callable[[str, int], None]]:
    """A bar over all methods; gives what `compare` reports to."""
    with progress(len(methods) * steps, methods[0]) as told:
        yield lambda method, done: told(method, methods.index(method) * steps + done)
