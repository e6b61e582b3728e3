"""`fedrisk federation`: run the coordinator of a federation of real machines."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fedrisk.cli.options import (
    NAME,
    health_listen_option,
    health_port_option,
    if_missing_option,
    json_option,
)
from fedrisk.errors import FederationError, UsageError

if TYPE_CHECKING:
    from fedrisk.federation.provisioning.coordinator import Federation
    from fedrisk.federation.provisioning.documents import JoinRequest

#: Seconds for a running coordinator to refuse a site that was removed.
REMOVAL_SECONDS = 90.0

federation_option = click.option(
    "--federation",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="The coordinator's folder.",
)


@click.group()
def federation() -> None:
    """Run a federation of real machines: invite sites, approve their keys, coordinate."""


@federation.command()
@federation_option
@click.option(
    "--host",
    "hosts",
    multiple=True,
    required=True,
    metavar="NAME_OR_ADDRESS",
    help="How sites reach this machine; several times for several, sites use the first.",
)
@click.option("--port", default=9092, show_default=True, type=click.IntRange(1, 65_535))
@click.option("--listen", default="0.0.0.0", show_default=True, help="Address to listen on.")  # noqa: S104 sites come from other machines
@health_listen_option
@health_port_option
@if_missing_option
@json_option
def init(
    folder: Path,
    hosts: tuple[str, ...],
    port: int,
    listen: str,
    health_listen: str,
    health_port: int,
    if_missing: bool,
    as_json: bool,
) -> None:
    """Make a federation: its authority, its certificate, its settings."""
    from fedrisk.federation.provisioning.coordinator import Federation, new_settings

    there = if_missing and Federation.made(folder)
    if there:
        made = Federation.open(folder)
    else:
        health = {"health_listen": health_listen, "health_port": health_port}
        settings = new_settings(hosts, port, listen=listen, **health)
        made = Federation.create(folder, settings, datetime.now(UTC))
    name = made.settings.id
    if as_json:
        facts = {"federation": name, "superlink": made.superlink, "folder": str(folder)}
        click.echo(json.dumps(facts | {"made": not there}))
        return
    if there:
        click.echo(f"federation {name} is in {folder} already, and stays as it is")
        return
    click.echo(f"made federation {name} in {folder}; sites will connect to {made.superlink}")
    click.echo("next: fedrisk federation add-site NAME, then fedrisk federation start")


@federation.command("add-site")
@click.argument("name")
@federation_option
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The join bundle for the site.",
)
@click.option(
    "--address",
    metavar="HOST:PORT",
    help="How this site reaches the coordinator, where a load balancer or a relay is between.",
)
@json_option
def add_site(name: str, folder: Path, output: Path, address: str | None, as_json: bool) -> None:
    """Invite a site: write its join bundle, which holds no secret."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not a site's name",
            hint="letters, digits, '.', '_' and '-', at most 64, a letter or digit first",
        )
    opened = _open(folder)
    bundle = opened.invite(
        name,
        datetime.now(UTC),
        lambda bundle: _write(output, bundle.model_dump_json(indent=2) + "\n"),
        None if address is None else opened.reached_at(address),
    )
    if as_json:
        facts = {"site": name, "bundle": str(output), "superlink": bundle.superlink}
        click.echo(json.dumps(facts))
        return
    click.echo(f"wrote {output}: site {name} will connect to {bundle.superlink}")
    click.echo(f"the site's operator runs: fedrisk site init {output.name}")


@federation.command()
@click.argument("name")
@click.argument("request", type=click.Path(path_type=Path, dir_okay=False))
@federation_option
@click.option(
    "--fingerprint", help="What the site's operator reads out; without it, you are asked."
)
@json_option
def approve(name: str, request: Path, folder: Path, fingerprint: str | None, as_json: bool) -> None:
    """Take a site's keys, once both operators have compared their fingerprint."""
    from fedrisk.federation.compatibility import check_version, version_warnings
    from fedrisk.federation.provisioning.documents import JoinRequest

    opened = _open(folder)
    asked = opened.check_request(name, JoinRequest.read(request))
    check_version(asked.version, f"site {name!r}")
    for warning in version_warnings({name: asked.version}):
        click.secho(f"warning: {warning}", fg="yellow", err=True)
    _compare(asked, fingerprint)
    opened.approve(name, asked, datetime.now(UTC))
    if as_json:
        click.echo(json.dumps({"site": name, "fingerprint": asked.fingerprint}))
        return
    click.echo(f"site {name} is approved; a running coordinator lets it in within seconds")


def _compare(request: JoinRequest, told: str | None) -> None:
    shown = request.fingerprint
    if told is None:
        click.echo(f"site:        {request.site} (fedrisk {request.version})", err=True)
        click.echo(f"fingerprint: {shown}", err=True)
        try:
            question = "Does the site's operator read out the same fingerprint, on the telephone?"
            same = click.confirm(question, err=True)
        except click.Abort:
            raise UsageError("nobody compared the fingerprint", hint="--fingerprint F") from None
    else:
        same = _letters(told) == _letters(shown)
    if not same:
        raise FederationError(
            f"the fingerprint of {request.site!r} is not the one that its operator reads out",
            hint="the request was changed on its way, or is another's: ask for it again",
        )


def _letters(fingerprint: str) -> str:
    return "".join(sign for sign in fingerprint.upper() if sign.isalnum())


@federation.command("remove-site")
@click.argument("name")
@federation_option
@json_option
def remove_site(name: str, folder: Path, as_json: bool) -> None:
    """Refuse a site from now on; a running coordinator cuts it off before this returns."""
    from fedrisk.federation.provisioning.folders import is_held

    opened = _open(folder)
    opened.remove(name, datetime.now(UTC))
    running = is_held(folder)
    if running:
        _await_refusal(opened, name)
    if as_json:
        click.echo(json.dumps({"site": name, "running": running}))
        return
    when = "now" if running else "when the coordinator starts"
    click.echo(f"site {name} is removed; its key is refused {when} and for ever")


def _await_refusal(opened: Federation, name: str) -> None:
    import time

    end = time.monotonic() + REMOVAL_SECONDS
    while opened.members.read().sites[name].retired_nodes:
        if time.monotonic() > end:
            raise FederationError(
                f"site {name} is removed, but the running coordinator has not confirmed it",
                hint=f"its log says why; see also {opened.folder / 'logs'}",
            )
        time.sleep(0.2)


@federation.command()
@federation_option
@click.option("--authority", is_flag=True, help="Begin a change of the authority.")
@click.option("--finish", is_flag=True, help="Finish it: the new authority takes over.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where the trust update for sites goes.  [default: trust-update.json in the folder]",
)
@json_option
def rotate(folder: Path, authority: bool, finish: bool, output: Path | None, as_json: bool) -> None:
    """Renew the server's certificate, or change the authority that signs it; no site is lost."""
    from fedrisk.federation.provisioning.certificates import expiry

    if authority and finish:
        raise UsageError("--authority begins a change and --finish ends it: one at a time")
    opened, now = _open(folder), datetime.now(UTC)
    update: Path | None = None
    if authority or finish:
        made = opened.begin_authority(now) if authority else opened.finish_authority(now)
        update = output or folder / "trust-update.json"
        _write(update, made.model_dump_json(indent=2) + "\n")
    else:
        opened.renew_server(now)
    ends = expiry(folder / "server.crt").isoformat()
    if as_json:
        facts = {"server_certificate_ends": ends, "trust_update": update and str(update)}
        click.echo(json.dumps(facts))
        return
    if not authority:
        click.echo(f"new server certificate until {ends}; a running coordinator shows it at once")
    if update is not None:
        click.echo(f"wrote {update}; every site runs: fedrisk site trust {update.name}")


@federation.command()
@federation_option
def start(folder: Path) -> None:
    """Coordinate until SIGTERM or Ctrl-C; events go to standard output, one JSON object a line."""
    from fedrisk.cli.supervising import supervising
    from fedrisk.federation.supervision.coordinator import Coordinator

    opened = _open(folder)
    with supervising(opened.running_alone()) as given:
        now = datetime.now(UTC)
        words = (opened, given.environment, given.resident, given.log, now)
        coordinator = Coordinator(*words, given.backup_status)
        settings = opened.settings
        coordinator.run(given.stop, given.place(settings.health_listen, settings.health_port))


@federation.command()
@federation_option
@json_option
def status(folder: Path, as_json: bool) -> None:
    """Show every site: connected or not, versions, rows, refusals; and runs and certificates."""
    from fedrisk.cli.federation_status import ask_nodes, print_overview
    from fedrisk.federation.provisioning.folders import is_held
    from fedrisk.federation.provisioning.roster import look

    opened, running = _open(folder), is_held(folder)
    nodes, note = ask_nodes(opened) if running else ({}, "the coordinator is stopped")
    found = look(opened, nodes, datetime.now(UTC), running=running, note=note)
    if as_json:
        click.echo(json.dumps(found.document()))
    else:
        print_overview(found, datetime.now(UTC))


def _open(folder: Path) -> Federation:
    from fedrisk.federation.provisioning.coordinator import Federation

    return Federation.open(folder)


def _write(path: Path, text: str) -> None:
    from fedrisk.durable import write_whole

    try:
        write_whole(path, text)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
