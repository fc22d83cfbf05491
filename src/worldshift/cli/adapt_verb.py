"""`worldshift adapt METHOD`: online by a reflex, or offline by a residual."""

from typing import Annotated

import tyro

from worldshift.cli.adapt_reflex import Reflex
from worldshift.cli.adapt_residual import Residual

Verb = Annotated[Reflex, tyro.conf.subcommand("reflex")] | Annotated[Residual, tyro.conf.subcommand("residual")]
