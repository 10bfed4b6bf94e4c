"""How a calibration stands."""

from __future__ import annotations

from dataclasses import dataclass, field

from crdiff.webui.jobs.monitor import JobMonitor, JobStatus


@dataclass(frozen=True)
class CalibrationStatus(JobStatus):
    """A calibration at one moment.

    Attributes:
        images: how many are wanted.
        drawn: how many have been drawn.
        groups: whose Hessians the images are drawn for again; empty the first time.
        name: of what was kept; None if nothing was, or not yet.
    """

    images: int = 0
    drawn: int = 0
    groups: tuple[str, ...] = ()
    name: str | None = None

    @property
    def text(self) -> str:
        """One line."""
        if self.state == "running" and not self.message:
            again = f", again for the Hessians of {', '.join(self.groups)}" if self.groups else ""
            return f"Calibrating: {self.drawn} of {self.images} images{again}."
        return self.message


@dataclass
class CalibrationMonitor(JobMonitor[CalibrationStatus]):
    """Holds the status of the last calibration, and carries the page's requests to its job."""

    status: CalibrationStatus = field(default_factory=CalibrationStatus)
