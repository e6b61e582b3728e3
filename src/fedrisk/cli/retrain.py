"""`fedrisk retrain`: the loop, once; its approval, its state, its plan."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from fedrisk.cli.options import (
    DAY,
    day_known,
    engine_option,
    federation_option,
    home_option,
    json_option,
    policy_option,
    read_sites,
    site_option,
)
from fedrisk.errors import RetrainingError, UsageError
from fedrisk.home import Home

if TYPE_CHECKING:
    from fedrisk.cli.federating import Federating, Place
    from fedrisk.retraining.decision import Trigger
    from fedrisk.retraining.loop import Loop
    from fedrisk.retraining.loop_store import LoopStore
    from fedrisk.settings import Settings


@dataclass(frozen=True)
class Arguments:
    """What was given on the command line."""

    trigger: str
    sites: tuple[str, ...]
    engine: str
    federation: Path | None
    policy: Path | None
    server: str | None
    server_key: Path | None
    as_of: datetime | None
    wait: float
    dry_run: bool

    def check(self) -> None:
        """Raise UsageError where arguments do not fit together."""
        if self.engine == "deployed":
            if self.sites or self.policy:
                raise UsageError("--engine deployed takes no --site and no --policy")
            if self.federation is None:
                raise UsageError("no federation is named", hint="--federation DIR")
        elif self.federation is not None:
            raise UsageError(f"--engine {self.engine} takes no --federation")

    def federating(self, settings: Settings) -> Federating:
        """The way to the sites."""
        from fedrisk.cli.federating import Federating

        if self.engine == "deployed":
            return Federating.deployed(cast("Path", self.federation), settings)
        place = cast("Place", self.engine)
        return Federating.local(settings, read_sites(self.sites), place, self.policy)


@click.group(invoke_without_command=True)
@click.option(
    "--trigger",
    type=click.Choice(["drift", "scheduled", "manual"]),
    help="Why: what the watch sees, the calendar, a person.",
)
@home_option
@site_option
@engine_option
@federation_option
@policy_option
@click.option("--server", metavar="URL", help="Server that tries the challenger and is watched.")
@click.option(
    "--server-key",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="File with an API key of that server, scope metrics.",
)
@click.option("--as-of", type=DAY, help="Look at the sites' rows as on this day.  [default: now]")
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=600.0,
    show_default=True,
    help="Seconds to wait for a trial, an approval or a watch; the same command goes on later.",
)
@click.option("--dry-run", is_flag=True, help="Judge and decide, fit nothing, keep nothing.")
@click.option(
    "--exit-code",
    is_flag=True,
    help="Exit with 21 while it waits, 22 where it is refused, 23 where it is given up or back.",
)
@json_option
@click.pass_context
def retrain(
    context: click.Context, /, home: Path | None, exit_code: bool, as_json: bool, **given: Any
) -> None:
    """Run the loop once: judge, fit challengers, gate, try in service, promote, watch, return.

    A retraining that is open is gone on with, wherever its process ended.
    """
    if context.invoked_subcommand is not None:
        return
    arguments = Arguments(**{**given, "as_of": day_known(given["as_of"])})
    if arguments.trigger is None:
        raise UsageError("no trigger is named", hint="--trigger drift, scheduled or manual")
    arguments.check()
    settings = _settings(home)
    document = _dry(arguments, settings) if arguments.dry_run else _run(arguments, settings)
    click.echo(json.dumps(document) if as_json else shown(document))
    if exit_code and not arguments.dry_run:
        from fedrisk.retraining.asking import retraining_code

        context.exit(retraining_code(str(document["state"])))


def _settings(home: Path | None) -> Settings:
    from fedrisk.settings import read_settings

    settings = read_settings()
    return settings if home is None else settings.model_copy(update={"home": home})


def _say(text: str) -> None:
    click.echo(text, err=True)


def _name(home: Home, settings: Settings) -> str:
    """The registered model that a home is about."""
    from fedrisk.registry.store import open_store
    from fedrisk.registry.versions import model_name, served_name

    known = settings.registry_name or served_name(home)
    return known or model_name(open_store(home, settings), home, settings)


def _server(arguments: Arguments) -> Any:
    from fedrisk.retraining.replicas import open_server

    if arguments.server is None:
        return None
    key = "" if arguments.server_key is None else arguments.server_key.read_text("utf-8").strip()
    return open_server(arguments.server, key)


def _run(arguments: Arguments, settings: Settings) -> dict[str, Any]:
    """Ask the sites of one federation, which starts with the first question and ends with this."""
    with arguments.federating(settings).kept() as sites:
        return _go_on(arguments, sites)


def _go_on(arguments: Arguments, sites: Federating) -> dict[str, Any]:
    """Hold the lease, and go on with what is open, or begin."""
    from fedrisk.cli.retraining_world import make_world, state_url
    from fedrisk.retraining.lease import held
    from fedrisk.retraining.loop_store import LoopStore
    from fedrisk.retraining.machine import Machine
    from fedrisk.retraining.plan import read_plan
    from fedrisk.retraining.running import begin
    from fedrisk.retraining.signed_plan import plan_is_signed

    settings = sites.settings
    home = Home(settings.home).existing()
    name, plan = _name(home, settings), read_plan(home.plan)
    world = make_world(sites, settings, name, plan, _server(arguments))
    store = LoopStore(state_url(settings))
    try:
        with held(store, name, home.root, world.clock.now) as lease:
            trigger = cast("Trigger", arguments.trigger)
            loop = begin(store, lease, trigger, plan, world.clock.now())
            machine = Machine(
                store,
                world,
                lease,
                lambda kept: plan_is_signed(kept, home.plan, settings.plan_keys),
                arguments.as_of,
                _say,
            )
            loop = machine.run(loop, arguments.wait)
        _record(home, settings, loop, store)
        return document_of(loop, world.registry.standing().champion)
    finally:
        store.close()


def _record(home: Home, settings: Settings, loop: Loop, store: LoopStore) -> None:
    """Bring the retraining's MLflow run up to date; what is kept does not depend on it."""
    from fedrisk.errors import RegistryError
    from fedrisk.registry.retraining_record import record_retraining
    from fedrisk.retraining.report import render_report

    told = {
        "id": loop.id,
        "scope": loop.scope,
        "trigger": loop.trigger,
        "created": loop.created.isoformat(timespec="seconds"),
        "state": loop.state,
        "reason": loop.reason,
        "plan": dict(loop.plan),
        "transitions": [each.document() for each in store.transitions(loop.id)],
    }
    try:
        run = record_retraining(home, settings, told, render_report(told), ended=not loop.open)
        _say(f"recorded as MLflow run {run}, with a report")
    except RegistryError as error:
        _say(f"warning: not recorded in MLflow: {error.message}; the next `fedrisk retrain` does")


def _dry(arguments: Arguments, settings: Settings) -> dict[str, Any]:
    from fedrisk.cli.retraining_world import make_world, state_url
    from fedrisk.retraining.dry_run import dry_run
    from fedrisk.retraining.loop_store import LoopStore
    from fedrisk.retraining.plan import read_plan
    from fedrisk.retraining.signed_plan import plan_is_signed

    sites = arguments.federating(settings)
    settings = sites.settings
    home = Home(settings.home).existing()
    name, plan = _name(home, settings), read_plan(home.plan)
    world = make_world(sites, settings, name, plan, _server(arguments))
    store = LoopStore(state_url(settings))
    try:
        signed = plan_is_signed(plan, home.plan, settings.plan_keys)
        trigger = cast("Trigger", arguments.trigger)
        return dry_run(store, world, name, trigger, plan, signed, arguments.as_of)
    finally:
        store.close()


def document_of(loop: Loop, champion: str | None) -> dict[str, Any]:
    """What `fedrisk retrain --json` prints."""
    closing = loop.facts.get("closing", {})
    opened = loop.facts.get("frozen", closing)
    gated = loop.facts.get("gated", closing)
    return {
        "id": loop.id,
        "trigger": loop.trigger,
        "state": loop.state,
        "reason": loop.reason,
        "champion": champion,
        "challenger": gated.get("version"),
        "decision": opened.get("decision"),
        "verdict": opened.get("verdict"),
        "gate": gated.get("gate"),
        "released": "promoted" in loop.facts and loop.state != "returned",
    }


def shown(document: dict[str, Any]) -> str:
    """A retraining for people."""
    lines = [f"retraining {document.get('id', '(dry run)')}: {document['state']}"]
    lines.append(f"  {document['reason']}")
    named = {name: document.get(name) for name in ("champion", "challenger")}
    lines += [f"  {name}: version {each}" for name, each in named.items() if each is not None]
    if document.get("gate"):
        lines.append(f"  gate: {document['gate']['verdict']}")
    lines += [f"  then: {each}" for each in document.get("then", ())]
    return "\n".join(lines)


def _store(home: Path | None) -> LoopStore:
    from fedrisk.cli.retraining_world import state_url
    from fedrisk.retraining.loop_store import LoopStore

    settings = _settings(home)
    Home(settings.home).existing()
    return LoopStore(state_url(settings))


@retrain.command()
@click.argument("identifier", required=False)
@home_option
@json_option
def status(identifier: str | None, home: Path | None, as_json: bool) -> None:
    """Show retrainings, or every step of one."""
    from fedrisk.retraining.loop_store import check_chain

    store = _store(home)
    try:
        if identifier is None:
            rows = [
                {"id": each.id, "model": each.scope, "state": each.state, "reason": each.reason}
                for each in store.listed()
            ]
            lines = [f"{each['id']}  {each['state']:<18} {each['reason']}" for each in rows]
            click.echo(json.dumps(rows) if as_json else "\n".join(lines) or "none yet")
            return
        if store.find(identifier) is None:
            raise RetrainingError(f"no retraining {identifier!r}", hint="`fedrisk retrain status`")
        steps = store.transitions(identifier)
    finally:
        store.close()
    check_chain(steps)
    if as_json:
        click.echo(json.dumps([each.document() for each in steps]))
        return
    for each in steps:
        click.echo(f"{each.at:%Y-%m-%d %H:%M:%S}  {each.state:<18} {each.reason}")


def _answer(identifier: str, home: Path | None, by: str, reason: str, *, approved: bool) -> None:
    from fedrisk.retraining.loop import Approval

    store = _store(home)
    try:
        store.answer(identifier, Approval(approved, by, datetime.now(UTC), reason))
    finally:
        store.close()
    said = "approved" if approved else "rejected"
    click.echo(f"{identifier} is {said}; the next `fedrisk retrain` goes on with it")


by_option = click.option("--by", required=True, metavar="NAME", help="Who answers; kept.")
reason_option = click.option("--reason", default="", help="Why; kept.")


@retrain.command()
@click.argument("identifier")
@by_option
@reason_option
@home_option
def approve(identifier: str, by: str, reason: str, home: Path | None) -> None:
    """Let a challenger that passed the gate and the shadow answer callers."""
    _answer(identifier, home, by, reason, approved=True)


@retrain.command()
@click.argument("identifier")
@by_option
@reason_option
@home_option
def reject(identifier: str, by: str, reason: str, home: Path | None) -> None:
    """End a retraining that waits for an answer."""
    _answer(identifier, home, by, reason, approved=False)


@retrain.group()
def plan() -> None:
    """Show, begin and sign the change plan."""


@plan.command(name="show")
@home_option
def show_plan(home: Path | None) -> None:
    """Print the plan in force with every default, and whether a signature covers it."""
    from fedrisk.retraining.plan import read_plan
    from fedrisk.retraining.signed_plan import plan_is_signed

    settings = _settings(home)
    file = Home(settings.home).plan
    found = read_plan(file)
    signed = plan_is_signed(found, file, settings.plan_keys)
    document = {"hash": found.hash, "signed": signed, "plan": found.document()}
    click.echo(json.dumps(document, indent=2))


@plan.command(name="init")
@home_option
def init_plan(home: Path | None) -> None:
    """Write a plan to change, where there is none."""
    from fedrisk.retraining.plan import template

    file = Home(_settings(home).home).prepare().plan
    if file.exists():
        raise UsageError(f"{file} is there already", hint="change it; `plan show` reads it")
    file.write_text(template(), encoding="utf-8")
    click.echo(str(file))


@plan.command(name="sign")
@click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    required=True,
    help="Private Ed25519 key, as `ssh-keygen -t ed25519` makes one.",
)
@home_option
def sign(key: Path, home: Path | None) -> None:
    """Sign the plan as it is; any change to it makes the signature void."""
    from fedrisk.retraining.plan import read_plan
    from fedrisk.retraining.signed_plan import sign_plan

    file = Home(_settings(home).home).existing().plan
    public = sign_plan(read_plan(file), file, key)
    click.echo(f"signed by {public}")
    click.echo("it counts where FEDRISK_PLAN_KEYS names a file that has this key", err=True)
