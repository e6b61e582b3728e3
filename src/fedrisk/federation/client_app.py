"""Flower's entry point at a site: open the cohort, answer the query, pass the gate.

Only this module opens a site's rows, from the path in the site's own node configuration. That
configuration may name the site's ``folder``: its policy rules then, and what leaves is logged
there; or a ``policy`` file alone. With neither, rows belong to whoever asks: the policy is open.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fedrisk.errors import (
    DataError,
    DisclosureError,
    FederationError,
    FedriskError,
    SiteFolderError,
)
from fedrisk.federation.answers import answer
from fedrisk.federation.profiling import closed_counts, cut_as_asked, window_counts
from fedrisk.federation.query import MESSAGE_TYPES, Query, refusal_content, reply_content
from fedrisk.sites.closed_rows import ClosedRows, close_rows, closed_stretches
from fedrisk.sites.closed_window import in_closed_window
from fedrisk.sites.cohort import Cohort, load_cohort
from fedrisk.sites.disclosure.case import Case
from fedrisk.sites.disclosure.review import examine, group_sizes, hide, protect
from fedrisk.sites.egress.gate import Errand, refuse, release, told
from fedrisk.sites.folder import Site, open_site
from fedrisk.sites.policy import OPEN, Policy, load_policy
from fedrisk.sites.windows import TimedRows, load_rows
from fedrisk.study import Study, parse_study

logger = logging.getLogger(__name__)
#: Refusals a day (UTC) with an entry each in the egress log; of further ones their number alone has
#: one, each time it has doubled. A coordinator that goes on asking fills no disk.
LOGGED_REFUSALS = 1000

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
    if "folder" in config:
        site = open_site(Path(str(config["folder"])))
        return site.identity.site, site.data
    if "site" not in config or "data" not in config:
        raise FederationError(
            "this site's node configuration names no rows",
            hint="start the SuperNode with --node-config, naming `site` and `data`",
        )
    return str(config["site"]), Path(str(config["data"]))


@lru_cache(maxsize=64)
def _cohort(
    canonical: str, site: str, path: Path, times: tuple[str, str, str], _stamp: tuple[int, int]
) -> Cohort:
    study: Study = parse_study(canonical)
    as_of, since, until = (datetime.fromisoformat(time) if time else None for time in times)
    if as_of is None:
        raise FederationError("the question names no time as of which rows are mature")
    return load_cohort(study, site, path, as_of, since=since, until=until)


def open_cohort(query: Query, site: str, path: Path) -> Cohort:
    """The site's cohort, read again only when the file, the study or a time has changed.

    Raises
    ------
    DataError
        When the file is missing or its rows break the study.
    """
    times = (query.as_of, query.since, query.until)
    return _cohort(query.study.canonical, site, path, times, _stamp(path))


@lru_cache(maxsize=8)
def _rows(canonical: str, site: str, path: Path, as_of: str, _stamp: tuple[int, int]) -> TimedRows:
    return load_rows(parse_study(canonical), site, path, datetime.fromisoformat(as_of))


def open_rows(query: Query, site: str, path: Path) -> TimedRows:
    """All rows of the site, also such as break the study, read again only after a change.

    Raises
    ------
    DataError
        When the file is missing or cannot be read.
    """
    return _rows(query.study.canonical, site, path, query.as_of, _stamp(path))


def _stamp(path: Path) -> tuple[int, int]:
    """What a changed file differs by."""
    try:
        state = path.stat()
    except OSError as error:
        raise DataError(f"rows cannot be opened: {error.strerror}") from None
    return state.st_mtime_ns, state.st_size


@dataclass(frozen=True)
class Guard:
    """What stands between question and rows: a policy, and the site's folder if it has one."""

    policy: Policy
    site: Site | None = None

    def examine_question(self, query: Query, now: datetime) -> None:
        """Judge what is asked before any row is opened, and count it.

        Raises
        ------
        DisclosureError
            When the policy does not allow it.
        """
        if self.policy is OPEN:
            return
        if self.site is not None:
            self._check_approved(self.site, query, now)
        examine(Case(self.policy, query))
        if self.site is not None:
            self.site.check_related(query.study)
            self.site.check_time(query.study, query.run_id, query.as_of, now)
            time = now.isoformat(timespec="microseconds")
            cost = max(len(query.parameters), len(query.contenders), 1)
            # Scores of all rows, or of several models, tell as much as an evaluation's.
            scores = query.kind == "profile" and query.parameters.size > 0
            kind = "evaluation" if scores or query.contenders else query.kind
            about = (query.study.hash, query.run_id, kind, query.digest)
            self.site.charge(*about, cost=cost, now=time)

    def examine_rows(self, query: Query, cohort: Cohort, now: datetime) -> Case | None:
        """Judge what is asked of these rows; the case, with small groups recoded.

        Raises
        ------
        DisclosureError
            When the policy does not allow it.
        """
        if self.policy is OPEN:
            return None
        if self.site is not None:
            self.site.freeze(cohort, query.run_id, now)
        case = Case(self.policy, query, protect(self.policy, cohort))
        examine(case)
        return case

    def close(self, rows: TimedRows, query: Query, now: datetime) -> ClosedRows:
        """The rows that windows may count: of closed stretches of time, as they were told before.

        Raises
        ------
        SiteFolderError
            When the ledger cannot be used.
        """
        kept = None if self.site is None else self.site.stretches
        return close_rows(rows, self.policy, kept, datetime.fromisoformat(query.as_of), now)

    def within(self, cohort: Cohort, rows: TimedRows, query: Query, now: datetime) -> Cohort:
        """The cohort of a window of time, of whole closed stretches alone.

        Raises
        ------
        SiteFolderError
            When the ledger cannot be used.
        """
        kept = None if self.site is None else self.site.stretches
        stretches = closed_stretches(rows, self.policy, kept, now)
        return in_closed_window(cohort, stretches, query.since, query.until)

    def count_refusal(self, query: Query, now: datetime) -> None:
        """Count a refusal that depends on the rows: each tells something of them."""
        if self.site is not None:
            time, most = now.isoformat(timespec="microseconds"), self.policy.refusals_per_day
            self.site.ledger.refused(query.study.hash, query.run_id, query.digest, time, most)

    def _check_approved(self, site: Site, query: Query, now: datetime) -> None:
        """Refuse what nobody approved, and count that: who asks so has no other budget."""
        try:
            site.check_approved(query.study.hash)
        except DisclosureError:
            self.count_refusal(query, now)
            raise


def guard_from_node_config(context: Context) -> Guard:
    """The guard that a SuperNode was started with.

    Raises
    ------
    SiteFolderError
        When the folder, or the policy file, cannot be used.
    """
    config = context.node_config
    if "folder" in config:
        site = open_site(Path(str(config["folder"])))
        return Guard(site.policy, site)
    if "policy" in config:
        return Guard(load_policy(Path(str(config["policy"]))))
    return Guard(OPEN)


def handle(message: Message, context: Context, locate: Locate = from_node_config) -> Message:
    """Answer one message, or refuse it with a reason that names no value of any row.

    Every exception becomes a refusal: of one that passed, Flower would send the text.
    """
    # The name that the node was started with: a folder that cannot be opened tells none.
    site, guard, errand = str(context.node_config.get("site", "?")), None, None
    try:
        guard = guard_from_node_config(context)
        now = datetime.now(UTC)
        errand = None if guard.site is None else Errand(guard.site.log, now)
        site, path = locate(context)
        query = Query.from_content(message.content)
        if errand is not None:
            errand = replace(errand, run=query.run_id, study=query.study.hash, kind=query.kind)
            errand.log.take(query.receipt)
        content = _answered(query, site, path, guard, errand, now)
    except Exception as error:  # noqa: BLE001 what passes here, Flower sends
        content = _refused(site, error, guard, errand)
    return Message(content, reply_to=message)


def _answered(
    query: Query, site: str, path: Path, guard: Guard, errand: Errand | None, now: datetime
) -> RecordDict:
    guard.examine_question(query, now)
    try:
        return _answered_from_rows(query, site, path, guard, errand, now)
    except SiteFolderError:  # a full disk tells nothing of the rows
        raise
    except Exception:
        guard.count_refusal(query, now)
        raise


def _answered_from_rows(
    query: Query, site: str, path: Path, guard: Guard, errand: Errand | None, now: datetime
) -> RecordDict:
    if query.kind == "profile":
        return _answered_windows(query, open_rows(query, site, path), guard, errand, now)
    cohort, study_hash = open_cohort(query, site, path), query.study.hash
    if guard.policy is not OPEN and (query.since or query.until):
        cohort = guard.within(cohort, open_rows(query, site, path), query, now)
    case = guard.examine_rows(query, cohort, now)
    if case is None or case.cohort is None:
        released = release(answer(cohort, query), query.dimensions)
        return reply_content(site, study_hash, released.arrays, cohort.counts.train)
    records = hide(case, answer(case.cohort, query))
    if errand is not None:
        errand = replace(errand, groups=group_sizes(case))
    released = release(records, query.dimensions, errand)
    return reply_content(site, study_hash, released.arrays, cohort.counts.train, released.head)


def _answered_windows(
    query: Query, rows: TimedRows, guard: Guard, errand: Errand | None, now: datetime
) -> RecordDict:
    if guard.policy is OPEN:
        counts = window_counts(rows, cut_as_asked(rows, query), query)
    else:
        counts = closed_counts(guard.close(rows, query, now), guard.policy, query)
    total = float(counts.rows.sum())
    if errand is not None:
        errand = replace(errand, groups={"rows": total, "windows": float(len(counts.rows))})
    released = release([counts], query.dimensions, errand)
    return reply_content(rows.site, query.study.hash, released.arrays, int(total), released.head)


def _refused(site: str, error: Exception, guard: Guard | None, errand: Errand | None) -> RecordDict:
    """The refusal as it leaves: in full where rows are the asker's own, else what may be told."""
    head = None
    _log_here(site, "refuses", error)
    try:
        error, number = _counted(error, guard, errand)
        if errand is not None and (number <= LOGGED_REFUSALS or number & (number - 1) == 0):
            head = refuse(error, errand)
    except Exception as unlogged:  # noqa: BLE001 then nothing but that leaves
        _log_here(site, "cannot log its refusal", unlogged)
        error = unlogged
    if guard is None or guard.policy is not OPEN:
        return refusal_content(site, told(error), head)
    return refusal_content(site, _in_full(error), head)


def _counted(error: Exception, guard: Guard | None, errand: Errand | None) -> tuple[Exception, int]:
    """What to refuse by, and how many refusals left today with this one."""
    if errand is None or guard is None or guard.site is None:
        return error, 0
    number = guard.site.ledger.count_told(errand.now.date().isoformat())
    if number <= LOGGED_REFUSALS:
        return error, number
    text = f"{number} refusals today; past {LOGGED_REFUSALS} only their number is logged"
    hint = "the log of the site's SuperNode has the reason of each"
    return DisclosureError(f"{text} (rule: logged refusals)", hint=hint), number


def _log_here(site: str, what: str, error: Exception) -> None:
    """Log everything that the site's own operator needs, a stack trace where it is a fault."""
    if not isinstance(error, FedriskError):
        logger.error("site %s %s", site, what, exc_info=error)
        return
    logger.error("site %s %s: %s", site, what, error.message)
    for violation in getattr(error, "violations", ()):
        logger.error("%s", violation)


def _in_full(error: Exception) -> FedriskError:
    if isinstance(error, FedriskError):
        return error
    return FederationError(
        f"the site cannot answer: {type(error).__name__}: {error}",
        hint="the log of the site's SuperNode has the stack trace",
    )


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
