"""Flower's entry point at a site: open the cohort, answer the query, pass the gate.

Only this module opens a site's rows, from the path in the site's own node configuration.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fedrisk.errors import DataError, FederationError, FedriskError
from fedrisk.federation.answers import answer
from fedrisk.federation.query import MESSAGE_TYPES, Query, refusal_content, reply_content
from fedrisk.sites.cohort import Cohort, load_cohort
from fedrisk.sites.egress import release
from fedrisk.study import Study, parse_study

logger = logging.getLogger(__name__)


#: Finds a site's name and the path of its rows.
Locate = Callable[[Context], tuple[str, Path]]


def from_node_config(context: Context) -> tuple[str, Path]:
    """The site's name and the path of its rows, as its SuperNode was started with.

    Raises
    ------
    FederationError
        When the node configuration does not name both.
    """
    config = context.node_config
    if "site" not in config or "data" not in config:
        raise FederationError(
            "this site's node configuration names no rows",
            hint="start the SuperNode with --node-config, naming `site` and `data`",
        )
    return str(config["site"]), Path(str(config["data"]))


@lru_cache(maxsize=64)
def _cohort(canonical: str, site: str, path: Path, as_of: str, _stamp: tuple[int, int]) -> Cohort:
    study: Study = parse_study(canonical)
    return load_cohort(study, site, path, datetime.fromisoformat(as_of))


def open_cohort(query: Query, site: str, path: Path) -> Cohort:
    """The site's cohort, read again only when the file, the study or the time has changed.

    Raises
    ------
    DataError
        When the file is missing or its rows break the study.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise DataError(f"rows cannot be opened: {error.strerror}") from None
    stamp = (state.st_mtime_ns, state.st_size)
    return _cohort(query.study.canonical, site, path, query.as_of, stamp)


def handle(message: Message, context: Context, locate: Locate = from_node_config) -> Message:
    """Answer one message, or refuse it with a reason that names no value of any row."""
    site = "?"
    try:
        site, path = locate(context)
        query = Query.from_content(message.content)
        content = _answered(query, site, path)
    except FedriskError as error:
        logger.error("site %s refuses: %s", site, error.message)
        for violation in getattr(error, "violations", ()):
            logger.error("%s", violation)
        content = refusal_content(site, error)
    return Message(content, reply_to=message)


def _answered(query: Query, site: str, path: Path) -> RecordDict:
    cohort = open_cohort(query, site, path)
    released = release(answer(cohort, query), query.dimensions)
    return reply_content(site, released.arrays, rows=cohort.counts.train)


def make_client_app(locate: Locate = from_node_config) -> ClientApp:
    """A client app that handles every message type of `MESSAGE_TYPES`."""
    client = ClientApp()

    def answered(message: Message, context: Context) -> Message:
        return handle(message, context, locate)

    register: dict[str, Callable[..., Callable[..., object]]] = {
        "query": client.query,
        "train": client.train,
        "evaluate": client.evaluate,
    }
    for message_type in MESSAGE_TYPES.values():
        category, _, action = message_type.partition(".")
        decorate = register[category](action) if action else register[category]()
        decorate(answered)
    return client


app = make_client_app()
