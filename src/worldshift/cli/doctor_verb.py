"""`worldshift doctor`."""

from dataclasses import dataclass

from worldshift import doctor


@dataclass(frozen=True)
class Verb:
    """Looks at this machine: Python, packages, JAX devices, cores, simulator, rendering, disk; says what to do."""

    json: bool = False
    """Print one JSON object and nothing else."""

    def run(self) -> int:
        """The doctor's own status."""
        return doctor.main(json=self.json)
