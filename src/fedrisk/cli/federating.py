"""Ask the sites of a federation, wherever they are: train, profile, compare.

The same three questions go to files on this machine (real SuperLink and SuperNodes, Flower's
simulation runtime, or all in this process) and to a running federation. A question whose run ended
well is not asked again: its kept result is the answer, so who was killed in between asks anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fedrisk.cli.training import Trained
from fedrisk.settings import Settings
from fedrisk.study.questions import (
    ComparisonRequest,
    ComparisonResult,
    ProfileRequest,
    ProfileResult,
)
from fedrisk.study.training import TrainingRequest

#: Where the sites of files on this machine run.
Place = Literal["local", "simulation", "in_memory"]


@dataclass(frozen=True)
class Federating:
    """The way to the sites; make it by `local` or `deployed`.

    Attributes
    ----------
    settings : Settings
        Its home is where runs and models go.
    sites : tuple of str
        Names of the sites that are asked.
    """

    settings: Settings
    sites: tuple[str, ...]

    @classmethod
    def local(
        cls,
        settings: Settings,
        sites: Mapping[str, Path],
        engine: Place = "local",
        policy: Path | None = None,
    ) -> Federating:
        """Sites that are files on this machine.

        Parameters
        ----------
        settings : Settings
        sites : mapping of name to path
        engine : str
            ``local``: real SuperLink and SuperNodes; ``simulation``: Flower's simulation runtime;
            ``in_memory``: this process alone, quick, for tests and notebooks.
        policy : Path, optional
            What every site answers; without one everything, for the files are the asker's own.
        """
        raise NotImplementedError

    @classmethod
    def deployed(cls, federation: Path, settings: Settings, only: Sequence[str] = ()) -> Federating:
        """Sites of a running federation; its home is the federation's.

        Parameters
        ----------
        federation : Path
            Folder of the coordinator.
        settings : Settings
        only : sequence of str
            Some of its sites.
        """
        raise NotImplementedError

    def train(self, request: TrainingRequest) -> Trained:
        """Fit, evaluate at the sites, register a version; no alias is given or moved."""
        raise NotImplementedError

    def profile(self, request: ProfileRequest) -> ProfileResult:
        """Bin counts of the sites' rows by windows."""
        raise NotImplementedError

    def compare(self, request: ComparisonRequest) -> ComparisonResult:
        """Models on the same matured test rows of every site."""
        raise NotImplementedError
