"""The command line, `worldshift VERB`: a file a verb, each a frozen dataclass whose documented fields are its options.

`worldshift VERB --help` is the manual. Results go to standard output, progress and complaints to standard error; with
`--json` standard output holds exactly one JSON object. What a user can get wrong ends with status 2 and one sentence.
"""

import importlib
import importlib.metadata
import os
import sys
from collections.abc import Sequence

VERBS = {
    "demo": "a shipped walker, motors that change mid-walk, and how each method copes",
    "doctor": "what this machine can do, and what to do about each lack",
    "train": "train an agent on a dm_control task or a Gymnasium environment",
    "eval": "whole episodes of an agent: return and smoothness, with or without a shift",
    "pretrain": "train a DRAW world model with exploration, for offline adaptation",
    "distil": "an agent of images from an agent of states, for offline adaptation",
    "record": "record episodes of a body, for offline adaptation",
    "calibrate": "minutes on the healthy body, which the fast reflex needs",
    "adapt": "adapt an agent: online by a reflex, offline by a residual",
    "study": "run a study of the evidence, and keep its rows",
    "results": "summarise committed rows, draw their figures",
    "report": "one self-contained HTML page of all the evidence",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb. Returns the exit status: 0, 1 (found wanting), 2 (used wrongly) or 130 (interrupted)."""
    asked = list(sys.argv[1:] if arguments is None else arguments)
    if not asked or asked[0] in ("-h", "--help"):
        print(overview())
        return 0
    if asked[0] == "--version":
        print(importlib.metadata.version("worldshift"))
        return 0
    if asked[0] not in VERBS:
        return _complain(f"there is no command {asked[0]!r}: choose among {', '.join(VERBS)}.")
    return _run(asked[0], asked[1:])


def overview() -> str:
    """What `worldshift --help` says."""
    lines = [f"  {verb:<10} {about}" for verb, about in VERBS.items()]
    return "\n".join(["usage: worldshift COMMAND [OPTIONS]", "", *lines, "", "worldshift COMMAND --help says more."])


def _run(verb: str, arguments: list[str]) -> int:
    if verb != "doctor":  # dm_control looks for a display when it is imported; nothing but the doctor wants one
        os.environ.setdefault("MUJOCO_GL", "disable")
    import tyro

    # Imported only now, so that --help does not wait for JAX.
    try:
        module = importlib.import_module(f"worldshift.cli.{verb}_verb")
        Verb = module.verb(arguments) if hasattr(module, "verb") else module.Verb
        # A verb with presets has other defaults for another preset.
        begun = {"default": Verb.defaults(arguments)} if hasattr(Verb, "defaults") else {}
        flags = (tyro.conf.FlagCreatePairsOff,)
        return tyro.cli(Verb, prog=f"worldshift {verb}", args=arguments, config=flags, **begun).run()
    except KeyboardInterrupt:
        _complain("stopped.")
        return 130
    except (ValueError, OSError) as error:
        if not _is_ours(error):
            raise
        return _complain(str(error))


def _is_ours(error: BaseException) -> bool:
    """Whether it was raised by this package, for the user; anything else is a defect and keeps its traceback."""
    if isinstance(error, OSError):
        return True
    frame = error.__traceback__
    while frame and frame.tb_next:
        frame = frame.tb_next
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return frame is not None and os.path.abspath(frame.tb_frame.f_code.co_filename).startswith(package + os.sep)


def _complain(sentence: str) -> int:
    print(f"worldshift: {sentence}", file=sys.stderr)
    return 2
