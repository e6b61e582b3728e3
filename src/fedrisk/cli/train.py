"""`fedrisk train`: one federated run."""

from __future__ import annotations

import json
from pathlib import Path

import click

from fedrisk.cli.options import home_option, json_option, read_sites, site_option, study_option


@click.command()
@study_option
@site_option
@home_option
@click.option("--model", default="logistic", show_default=True, help="Kind of model.")
@click.option(
    "--strategy", default="exact", show_default=True, help="exact, fedavg, fedprox or fedadam."
)
@click.option(
    "--engine",
    type=click.Choice(["local", "simulation"]),
    default="local",
    show_default=True,
    help="local: real SuperLink and SuperNodes; simulation: Flower's simulation runtime.",
)
@click.option("--rounds", type=click.IntRange(min=1), help="Most messages of the fit to each site.")
@click.option(
    "--option", "options", multiple=True, metavar="NAME=NUMBER", help="An option of the strategy."
)
@click.option("--promote", is_flag=True, help="Make the new version champion at once.")
@json_option
def train(
    study_name: str,
    sites: tuple[str, ...],
    home: Path | None,
    model: str,
    strategy: str,
    engine: str,
    rounds: int | None,
    options: tuple[str, ...],
    promote: bool,
    as_json: bool,
) -> None:
    """One federated run over the sites: fit, evaluate there, register.

    The first version of a home becomes champion, later ones challenger unless --promote is given.
    """
    from datetime import UTC, datetime

    from fedrisk.cli.training import new_request, train_on
    from fedrisk.settings import read_settings
    from fedrisk.study import find_study

    started = datetime.now(UTC)
    settings = read_settings()
    if home is not None:
        settings = settings.model_copy(update={"home": home})
    named = read_sites(sites)
    request = new_request(
        find_study(study_name),
        named,
        started,
        model=model,
        strategy=strategy,
        rounds=rounds,
        options=read_numbers(options),
    )
    trained = train_on(engine, request, named, settings, promote=promote, started=started)
    if as_json:
        click.echo(json.dumps(trained.document()))
    else:
        from fedrisk.cli.summary import print_trained

        print_trained(trained)


def read_numbers(given: tuple[str, ...]) -> dict[str, float]:
    """Read ``NAME=NUMBER`` values.

    Raises
    ------
    UsageError
        On a value of another form.
    """
    from fedrisk.errors import UsageError

    numbers: dict[str, float] = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            numbers[name] = float(value)
        except ValueError:
            raise UsageError(f"--option {text!r} is not NAME=NUMBER") from None
    return numbers
