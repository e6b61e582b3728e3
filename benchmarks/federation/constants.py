"""What one question costs without transport: objects, bytes, the coordinator's time and memory.

``python benchmarks/federation/constants.py [--sites 10 100 1000]`` prints tables in Markdown. The
sites are of one simulated cohort and answer in this process, one after the other; their time is
taken off, so that what is left is the coordinator's. docs/scaling.md calculates with the figures.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from flwr.app import Message
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

from fedrisk.federation.broadcast import Broadcast
from fedrisk.federation.engines.in_memory import InMemoryGrid
from fedrisk.federation.training import train
from fedrisk.simulation import latest_start, write_cohort
from fedrisk.study.catalogue import find_study
from fedrisk.study.training import TrainingRequest

DAYS, PEOPLE = 60, 20


@dataclass
class Cost:
    """Flower's objects of one message to a site and its answer, and their bytes."""

    objects_out: int
    bytes_out: int
    objects_in: int
    bytes_in: int


@dataclass
class Measured:
    """Costs of the first exchange of every kind, and the seconds that sites took."""

    costs: dict[str, Cost] = field(default_factory=dict)
    site_seconds: list[float] = field(default_factory=list)


class MeasuringGrid(InMemoryGrid):
    """Weighs messages and answers, and times the sites."""

    def __init__(self, sites: Mapping[str, Path], measured: Measured) -> None:
        super().__init__(sites)
        self._measured = measured

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        identifiers: list[str] = []
        for message in messages:
            start = time.perf_counter()
            identifiers += super().push_messages([message])
            self._measured.site_seconds.append(time.perf_counter() - start)
            kind = message.metadata.message_type
            question = str(message.content.config_records["config"].get("kind", kind))
            if question not in self._measured.costs:
                answer = self._replies[identifiers[-1]]
                self._measured.costs[question] = Cost(*weigh(message), *weigh(answer))
        return identifiers


def weigh(message: Message) -> tuple[int, int]:
    """Objects that Flower takes a message apart into, and their bytes."""
    parts = get_all_nested_objects(message)
    return len(parts), sum(len(part.deflate()) for part in parts.values())


def measure(file: Path, study_file: Path, sites: int) -> tuple[Measured, float, int]:
    """One training of so many sites: what it weighs, the coordinator's seconds, messages each."""
    names = {f"site-{number:04}": file for number in range(sites)}
    measured = Measured()
    request = TrainingRequest(
        run_id=f"constants-{sites}",
        study=find_study(str(study_file)),
        sites=tuple(names),
        as_of=datetime.now(UTC).isoformat(),
        deadline=3600.0,
    )
    start = time.perf_counter()
    broadcast = Broadcast(MeasuringGrid(names, measured), request, 0.001)
    train(broadcast, datetime.now(UTC))
    spent = time.perf_counter() - start - sum(measured.site_seconds)
    return measured, spent, len(measured.site_seconds) // sites


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, nargs="*", default=[10, 100, 1000])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = latest_start(datetime.now(UTC).date(), DAYS)
        (file,) = write_cohort(folder, 1, PEOPLE, DAYS, 1, start).values()
        rows = []
        for sites in options.sites:
            measured, spent, messages = measure(file, folder / "study.toml", sites)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            each = 1e3 * statistics.median(measured.site_seconds)
            pace = spent / messages
            rows.append(f"| {sites} | {messages} | {pace:.3f} | {each:.0f} | {peak:.0f} |")
    print("| message | objects out | bytes out | objects in | bytes in |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for kind, cost in measured.costs.items():
        numbers = (cost.objects_out, cost.bytes_out, cost.objects_in, cost.bytes_in)
        print(f"| {kind} | " + " | ".join(f"{number:,}" for number in numbers) + " |")
    print("\n| sites | messages | coordinator, s each | a site, ms | memory, MiB |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
