"""`fedrisk trigger`: have a running watch do something, and follow it to its verdict."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from fedrisk.cli.options import json_option

#: Seconds for which an operation is followed, where nobody says how long.
WAIT_SECONDS = 3600.0
_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.group()
def trigger() -> None:
    r"""Have a running `fedrisk watch --operations` do something, and follow it to its verdict.

    \b
    Exit codes beside those of a command that fails:
      0   it did what was asked for; of a retraining: it is promoted or done
      20  drift, harm or broken data (with --exit-code)
      21  a retraining goes on: it waits for a person, a trial or labels
      22  the gate, a trial or a person refused the challenger
      23  a retraining was abandoned, or its champion taken back
      24  the command had not ended within --wait; the watch goes on with it
    """


def _asking(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that every question takes."""
    options = (
        click.option("--at", "url", required=True, metavar="URL", help="Address of the watch."),
        click.option(
            "--token-file", type=_FILE, required=True, help="File with the operator's token."
        ),
        click.option(
            "--wait",
            type=click.FloatRange(min=0),
            default=WAIT_SECONDS,
            show_default=True,
            help="Seconds to follow it; 0 asks and leaves.",
        ),
        click.option(
            "--id",
            "identifier",
            help="A name for it: the same one again follows the same operation.",
        ),
        json_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


@trigger.command()
@_asking
@click.option("--exit-code", is_flag=True, help="Exit with 20 on drift, harm or broken data.")
def drift(exit_code: bool, **given: Any) -> None:
    """Look for drift now."""
    _run({"command": "drift"}, drift_counts=exit_code, **given)


@trigger.command()
@_asking
@click.option(
    "--trigger",
    type=click.Choice(["drift", "scheduled", "manual"]),
    default="manual",
    show_default=True,
    help="Why: what the watch sees, the calendar, a person.",
)
def retrain(trigger: str, **given: Any) -> None:
    """Run the loop: judge, fit challengers, gate, try in service, promote, watch.

    A retraining that is open is gone on with, whatever began it.
    """
    _run({"command": "retrain", "trigger": trigger}, **given)


@trigger.command()
@_asking
@click.option("--study", type=_FILE, required=True, help="Study file, which is sent.")
@click.option("--model", help="Kind of model.  [default: logistic]")
@click.option("--strategy", help="exact, fedavg, fedprox or fedadam.  [default: exact]")
@click.option("--promote", is_flag=True, help="Make the new version champion at once.")
def train(
    study: Path, model: str | None, strategy: str | None, promote: bool, **given: Any
) -> None:
    """One federated run over the sites; the first version becomes champion."""
    from fedrisk.errors import UsageError

    try:
        text = study.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{study} is no text") from None
    named = {"model": model, "strategy": strategy, "promote": promote or None}
    chosen = {name: value for name, value in named.items() if value is not None}
    _run({"command": "train", "study": text, **chosen}, **given)


def _run(
    wanted: dict[str, Any],
    *,
    url: str,
    token_file: Path,
    wait: float,
    identifier: str | None,
    as_json: bool,
    drift_counts: bool = False,
) -> None:
    from fedrisk.retraining.asking import Watched, operation_code
    from fedrisk.retraining.operation import new_id

    watch = Watched(url, token_file)
    wanted["id"] = identifier or new_id(datetime.now(UTC))
    found = watch.ask(wanted)
    click.echo(f"operation {found['id']}: {found['command']} is {found['state']}", err=True)
    if wait:
        found = watch.follow(found["id"], wait, Telling(found["state"]))
    click.echo(json.dumps(found) if as_json else shown(found))
    # Who asks and leaves has got what was asked for.
    code = operation_code(found, drift_counts=drift_counts) if wait else 0
    click.get_current_context().exit(code)


class Telling:
    """Tells on standard error what is new of an operation."""

    def __init__(self, state: str) -> None:
        self._state, self._seen, self._begun = state, 0, 0

    def __call__(self, found: dict[str, Any]) -> None:
        """Tell a changed state, and the command's lines that were not told yet."""
        answer = found["answer"] or {}
        state = f"{found['state']}: {answer['state']}" if "state" in answer else found["state"]
        if found["begun"] != self._begun:
            self._begun, self._seen = found["begun"], 0
        new = min(found["told"] - self._seen, len(found["lines"]))
        for line in found["lines"][len(found["lines"]) - max(new, 0) :]:
            click.echo(f"  {line}", err=True)
        self._seen = max(self._seen, found["told"])
        if state != self._state:
            self._state = state
            click.echo(f"operation {found['id']}: {state}", err=True)


def shown(found: dict[str, Any]) -> str:
    """An operation for people."""
    answer = found["answer"] or {}
    if "error" in answer:
        lines = [
            f"error: {answer['error']}",
            f"hint: {answer.get('hint') or 'see the lines above'}",
        ]
        return "\n".join(lines)
    if found["state"] in ("queued", "running"):
        return (
            f"{found['command']} {found['id']} is {found['state']}; --id {found['id']} follows it"
        )
    if found["command"] == "drift":
        return "\n".join([f"drift: {answer.get('verdict')}", *answer.get("sentences", ())])
    if found["command"] == "train":
        version = f"{answer.get('model')} version {answer.get('model_version')}"
        return f"train: {version} is {answer.get('alias')}"
    lines = [f"retraining {answer.get('id')}: {answer.get('state')}", f"  {answer.get('reason')}"]
    named = {name: answer.get(name) for name in ("champion", "challenger")}
    lines += [f"  {name}: version {each}" for name, each in named.items() if each is not None]
    return "\n".join(lines)
