"""Progress while rounds run: on standard error, and alive only on a terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.status import Status

from fedrisk.study.request import SiteRequest
from fedrisk.study.training import RoundRecord

#: What a person reads for each kind of round.
KINDS = {
    "summary": "counts, sums and bins of the features",
    "newton": "loss, gradient and Hessian",
    "descent": "local steps",
    "evaluation": "evaluation on test rows",
    "profile": "bin counts by windows",
    "placement": "the models' scores by outcome",
    "comparison": "the models on the same rows",
}


class Display:
    """Shows a run's rounds as they finish.

    Parameters
    ----------
    request : SiteRequest
    """

    def __init__(self, request: SiteRequest) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._status: Status | None = None
        self._request = request

    def __enter__(self) -> Self:
        request, sites = self._request, self._request.sites
        names = ", ".join(sites[:6]) + (", ..." if len(sites) > 6 else "")
        self._print(
            f"run {request.run_id}: study {request.study.name}, {len(sites)} sites ({names}), "
            f"{request.described}"
        )
        if self._console.is_terminal:
            self._status = self._console.status("starting")
            self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def say(self, text: str) -> None:
        """Show what goes on now."""
        if self._status is not None:
            self._status.update(text)
        else:
            self._print(text)

    def warn(self, text: str) -> None:
        """Leave a warning standing."""
        self._print(f"warning: {text}")

    def watch(self, record: RoundRecord) -> None:
        """Show a finished round."""
        loss = record.metrics.get("loss_per_row")
        auroc = record.metrics.get("auroc")
        figures = [f"{record.seconds:5.1f} s", f"{record.bytes_in / 1024:7.1f} KiB in"]
        figures += [f"loss {loss:.6f}"] if loss is not None else []
        figures += [f"AUROC {auroc:.3f}"] if auroc is not None else []
        kind = KINDS.get(record.kind, record.kind)
        self._print(f"round {record.number:2d}  {kind:38s} {'  '.join(figures)}")
        for reason in record.dropped.values():
            self._print(f"          dropped from here on: {reason}")

    def _print(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, markup=False)
