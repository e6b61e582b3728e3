"""`fedrisk train`: one federated run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fedrisk.cli.options import home_option, json_option, read_sites, site_option

if TYPE_CHECKING:
    from fedrisk.cli.training import Trained
    from fedrisk.federation.engines.deployed import DeployedEngine
    from fedrisk.settings import Settings
    from fedrisk.study.training import TrainingRequest

#: What a run that is taken up keeps as it began.
FIXED = (
    "study_name",
    "model",
    "strategy",
    "rounds",
    "options",
    "quorum",
    "deadline",
    "only",
    "since",
    "until",
)


@dataclass(frozen=True)
class Arguments:
    """What was given on the command line, and which of it a person wrote."""

    study_name: str | None
    sites: tuple[str, ...]
    home: Path | None
    model: str
    strategy: str
    engine: str
    federation: Path | None
    only: tuple[str, ...]
    rounds: int | None
    options: tuple[str, ...]
    quorum: int | None
    deadline: float | None
    since: str | None
    until: str | None
    policy: Path | None
    resume: str | None
    run_id: str | None
    on_interrupt: str
    promote: bool
    written: frozenset[str]

    def check(self) -> None:
        """Raise UsageError where arguments do not fit together."""
        from fedrisk.errors import UsageError

        self._check_engine()
        if self.resume is None:
            if self.study_name is None:
                raise UsageError("no study is named", hint="--study FILE, or a built-in's name")
            return
        if self.run_id is not None:
            raise UsageError("--resume names the run: leave out --run-id")
        fixed = [_flag(name) for name in FIXED if name in self.written]
        if fixed:
            raise UsageError(
                f"--resume takes up a run as it began: leave out {', '.join(fixed)}",
                hint="a run with other options is a new run",
            )

    def _check_engine(self) -> None:
        from fedrisk.errors import UsageError

        deployed = self.engine == "deployed"
        foreign = ("sites", "home", "policy") if deployed else ("federation", "only")
        wrong = [_flag(name) for name in foreign if getattr(self, name)]
        if wrong:
            raise UsageError(
                f"--engine {self.engine} takes no {', '.join(wrong)}",
                hint="its sites, home and policies are the federation's" if deployed else "",
            )
        if deployed and self.federation is None:
            raise UsageError("no federation is named", hint="--federation DIR")
        if self.engine == "simulation" and self.policy is not None:
            raise UsageError("--engine simulation takes no --policy", hint="use --engine local")


def _flag(name: str) -> str:
    names = {"study_name": "study", "sites": "site", "options": "option"}
    return f"--{names.get(name, name)}"


@click.command()
@click.option("--study", "study_name", help="Study file, or a built-in study's name.")
@site_option
@home_option
@click.option("--model", default="logistic", show_default=True, help="Kind of model.")
@click.option(
    "--strategy", default="exact", show_default=True, help="exact, fedavg, fedprox or fedadam."
)
@click.option(
    "--engine",
    type=click.Choice(["local", "simulation", "deployed"]),
    default="local",
    show_default=True,
    help="local: real SuperLink and SuperNodes on this machine; simulation: Flower's simulation "
    "runtime; deployed: a running federation.",
)
@click.option(
    "--federation",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder of the running coordinator, for --engine deployed.",
)
@click.option(
    "--only", multiple=True, metavar="NAME", help="Some of the federation's sites; once for each."
)
@click.option("--rounds", type=click.IntRange(min=1), help="Most messages of the fit to each site.")
@click.option(
    "--option", "options", multiple=True, metavar="NAME=NUMBER", help="An option of the strategy."
)
@click.option(
    "--quorum",
    type=click.IntRange(min=1),
    help="How many sites must answer every message.  [default: all]",
)
@click.option(
    "--deadline",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds to wait for the answers to one message, a day at most.  [default: 600]",
)
@click.option("--since", metavar="TIME", help="Only rows with time from then on, ISO 8601.")
@click.option("--until", metavar="TIME", help="Only rows with time before then, ISO 8601.")
@click.option(
    "--policy",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="What every site answers, for --engine local.",
)
@click.option(
    "--resume",
    metavar="RUN_ID",
    help="Take up or follow a run that began, as it was asked for; local rows by --site again.",
)
@click.option("--run-id", hidden=True, help="Name of the run, so that its asker can take it up.")
@click.option(
    "--on-interrupt",
    type=click.Choice(["leave", "stop"]),
    default="leave",
    show_default=True,
    help="What Ctrl-C does to a run of --engine deployed.",
)
@click.option("--promote", is_flag=True, help="Make the new version champion at once.")
@json_option
@click.pass_context
def train(context: click.Context, /, as_json: bool, **given: Any) -> None:
    """One federated run over the sites: fit, evaluate there, register.

    The first version of a home becomes champion, later ones challenger unless --promote is given.
    """
    from datetime import UTC

    from fedrisk.settings import read_settings

    started = datetime.now(UTC)
    source = click.core.ParameterSource.DEFAULT
    written = frozenset(n for n in given if context.get_parameter_source(n) != source)
    arguments = Arguments(**given, written=written)
    arguments.check()
    run = _train_deployed if arguments.engine == "deployed" else _train_here
    trained = run(arguments, read_settings(), started)
    if as_json:
        click.echo(json.dumps(trained.document()))
    else:
        from fedrisk.cli.summary import print_trained

        print_trained(trained)


def _train_here(arguments: Arguments, settings: Settings, started: datetime) -> Trained:
    from fedrisk.cli.training import kept_request, train_on
    from fedrisk.errors import UsageError
    from fedrisk.home import Home
    from fedrisk.sites.policy import load_policy

    if arguments.home is not None:
        settings = settings.model_copy(update={"home": arguments.home})
    if arguments.policy is not None:
        load_policy(arguments.policy)  # a typo is an error before anything starts
    named = read_sites(arguments.sites)
    if arguments.resume is None:
        request = _new(arguments, tuple(named), started)
    else:
        request = kept_request(Home(settings.home).existing(), arguments.resume)
        if set(named) != set(request.sites):
            raise UsageError(
                f"run {request.run_id} is of the sites {', '.join(request.sites)}",
                hint="name each by --site NAME=FILE again",
            )
    return train_on(
        arguments.engine,
        request,
        named,
        settings,
        promote=arguments.promote,
        started=started,
        policy=arguments.policy,
    )


def _train_deployed(arguments: Arguments, settings: Settings, started: datetime) -> Trained:
    from fedrisk.cli.training import kept_request, train_deployed

    engine = _engine(arguments)
    if arguments.resume is None:
        request = _new(arguments, engine.sites(arguments.only), started)
    else:
        request = kept_request(engine.home, arguments.resume)
    stop = arguments.on_interrupt == "stop"
    return train_deployed(
        engine, request, settings, promote=arguments.promote, started=started, stop=stop
    )


def _engine(arguments: Arguments) -> DeployedEngine:
    from fedrisk.errors import UsageError
    from fedrisk.federation.engines.deployed import DeployedEngine
    from fedrisk.federation.provisioning.coordinator import Federation
    from fedrisk.settings import process_environment

    if arguments.federation is None:
        raise UsageError("no federation is named", hint="--federation DIR")
    return DeployedEngine(Federation.open(arguments.federation), process_environment())


def _new(arguments: Arguments, sites: tuple[str, ...], started: datetime) -> TrainingRequest:
    from fedrisk.cli.training import new_request
    from fedrisk.study import find_study

    return new_request(
        find_study(arguments.study_name or ""),
        sites,
        started,
        model=arguments.model,
        strategy=arguments.strategy,
        rounds=arguments.rounds,
        options=read_numbers(arguments.options),
        quorum=arguments.quorum,
        deadline=arguments.deadline,
        since=arguments.since,
        until=arguments.until,
        run_id=arguments.run_id,
    )


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
