"""The home directory: where one coordinator keeps everything it must not lose."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fedrisk.errors import FedriskError, HomeError

#: Seconds to wait for another process that changes the same files, and between two looks.
LOCK_SECONDS, LOOK_SECONDS = 30.0, 0.05
#: Raised when a release changes the layout; homes of a newer format are refused.
FORMAT = 1
#: What a fresh volume may hold that nobody put there.
_OF_A_VOLUME = frozenset({"lost+found"})


@contextmanager
def locked(
    path: Path, error: type[FedriskError] = HomeError, patience: float | None = None
) -> Iterator[None]:
    """Hold a lock file; the operating system frees the lock of a process that dies.

    Parameters
    ----------
    path : Path
    error : type
    patience : float, optional
        Most seconds to wait for it; `LOCK_SECONDS` without.

    Raises
    ------
    FedriskError
        Of the class ``error``, when another process has held it for so long.
    """
    patience = LOCK_SECONDS if patience is None else patience
    end = time.monotonic() + patience
    with path.open("w") as lock:
        while not taken(lock.fileno()):
            if time.monotonic() > end:
                raise error(
                    f"{path}: another process has held this lock for {patience:g} s",
                    hint="find out which, by `fuser`, and why it does not go on",
                )
            time.sleep(LOOK_SECONDS)
        yield


def taken(lock: int) -> bool:
    """Take the lock of an open file, if nobody else has it; whether it was free."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Home:
    """Paths below one home.

    >>> Home(Path("h")).champion.as_posix()
    'h/models/champion'
    """

    root: Path

    @property
    def mlflow_database(self) -> Path:
        return self.root / "mlflow" / "mlflow.db"

    @property
    def mlflow_artifacts(self) -> Path:
        return self.root / "mlflow" / "artifacts"

    @property
    def champion(self) -> Path:
        """Cache of the champion: model.json, reference.json, checks.json, hashes.json."""
        return self.root / "models" / "champion"

    @property
    def challenger(self) -> Path:
        """Cache of the challenger, same files."""
        return self.root / "models" / "challenger"

    @property
    def trial(self) -> Path:
        """How the challenger is tried, as the registry says it; missing where it says nothing."""
        return self.root / "models" / "trial.json"

    @property
    def plan(self) -> Path:
        """The change plan of retrainings, where the defaults do not do."""
        return self.root / "plan.toml"

    @property
    def federation(self) -> Path:
        """Certificates, registered keys, SuperLink database, logs."""
        return self.root / "federation"

    @property
    def keys(self) -> Path:
        """API keys, hashed."""
        return self.root / "keys.json"

    @property
    def fhir(self) -> Path:
        """Which FHIR codes the features have, where the defaults do not do."""
        return self.root / "fhir.toml"

    @property
    def state(self) -> Path:
        """Monitoring windows and other state, unless a database is named."""
        return self.root / "state.db"

    @property
    def alerts(self) -> Path:
        """Who is told of drift and retrainings."""
        return self.root / "alerts.toml"

    @property
    def serving(self) -> Path:
        """What serving processes keep between starts."""
        return self.root / "serving"

    @property
    def follower_status(self) -> Path:
        """What the process that follows the registry saw last."""
        return self.serving / "follower.json"

    @property
    def follower_wake(self) -> Path:
        """Changes when that process is to look at once."""
        return self.serving / "follower.wake"

    @property
    def records(self) -> Path:
        """Sealed record of predictions, by day; empty unless an operator turns it on."""
        return self.root / "records"

    @property
    def jobs(self) -> Path:
        """Bodies and results of asynchronous jobs, a folder each."""
        return self.root / "jobs"

    def pinned(self, version: str) -> Path:
        """Cache of one version, which no alias moves; same files as the champion's."""
        return self.root / "models" / f"pinned-{version}"

    def run(self, run_id: str) -> Path:
        """Checkpoints, progress and messages of one run."""
        return self.root / "runs" / run_id

    def prepare(self) -> Home:
        """Create the home, or check that this version may use it.

        Several processes may do so at the same time, as containers that share a fresh volume do.

        Raises
        ------
        HomeError
            When the home was written by a newer version, is something else, or cannot be made.
        """
        marker = self.root / "home.json"
        if marker.exists():
            self._check(marker)
            return self
        if self.root.exists() and not self.root.is_dir():
            raise self._foreign()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            found = {each.name for each in self.root.iterdir()} - _OF_A_VOLUME
            if any(not name.startswith(marker.name) for name in found):
                if marker.exists():  # Another process made it in this moment.
                    return self.prepare()
                raise self._foreign()
            draft = marker.with_name(f"{marker.name}.{os.getpid()}-{time.monotonic_ns()}")
            draft.write_text(json.dumps({"format": FORMAT}) + "\n", encoding="utf-8")
            draft.replace(marker)
        except OSError as error:
            raise HomeError(
                f"{self.root} cannot be made: {error.strerror or error}",
                hint="choose a folder that you may write to with --home",
            ) from None
        return self

    def _foreign(self) -> HomeError:
        return HomeError(
            f"{self.root} exists and is not a fedrisk home",
            hint="choose another folder with --home",
        )

    def existing(self) -> Home:
        """Check that the home is there and that this version may use it.

        Raises
        ------
        HomeError
            When it is missing, or was written by a newer version.
        """
        marker = self.root / "home.json"
        if not marker.exists():
            raise HomeError(
                f"{self.root} is not a fedrisk home",
                hint="`fedrisk train` or `fedrisk up` makes one; --home names it",
            )
        self._check(marker)
        return self

    def _check(self, marker: Path) -> None:
        try:
            found = json.loads(marker.read_text(encoding="utf-8"))["format"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise HomeError(f"{marker} is damaged: {error!r}") from None
        if not isinstance(found, int) or found > FORMAT:
            raise HomeError(
                f"{self.root} has home format {found}; this version knows up to {FORMAT}",
                hint="use the newer fedrisk that wrote it",
            )
