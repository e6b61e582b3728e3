"""What a site's folder holds for the client app: policy, signing key, approvals, log, ledger.

::

    site.toml         the site's name, its rows, the coordinator's key that countersigns
    policy.toml       what the site answers
    signing.key       Ed25519, signs the log's head
    approvals.json    studies that a person approved
    egress/           the log of what left
    ledger.db         questions a study and day, cohorts

`fedrisk site init` makes the folder (`fedrisk.federation.provisioning.site`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedrisk.attestation import read_private
from fedrisk.errors import DisclosureError, SiteFolderError
from fedrisk.sites.approvals import read_approvals
from fedrisk.sites.cohort import Cohort
from fedrisk.sites.cohort_rows import Apart, cohort_rows, fingerprint
from fedrisk.sites.egress.log import EgressLog
from fedrisk.sites.ledger import Ledger, Limits
from fedrisk.sites.policy import Policy, explain, load_policy, read_toml
from fedrisk.sites.stretch_ledger import StretchLedger
from fedrisk.study import Study

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

#: How far the coordinator's clock may be ahead.
LARGEST_SKEW = timedelta(minutes=5)


class SiteIdentity(BaseModel):
    """The part of ``site.toml`` that answering needs; provisioning checks the other keys.

    Attributes
    ----------
    site : str
        The site's name in the federation.
    data : Path
        Its rows; relative paths start at the folder.
    coordinator_key : str
        Ed25519 public key (OpenSSH) that countersigns; empty where receipts are ignored.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    site: str = Field(min_length=1)
    data: Path
    coordinator_key: str = ""


@dataclass(frozen=True)
class Site:
    """An opened folder.

    Attributes
    ----------
    folder : Path
    identity : SiteIdentity
    policy : Policy
    key : Ed25519PrivateKey
        Signs the log's head.
    log : EgressLog
    ledger : Ledger
    """

    folder: Path
    identity: SiteIdentity
    policy: Policy
    key: Ed25519PrivateKey
    log: EgressLog
    ledger: Ledger

    @property
    def data(self) -> Path:
        """The site's rows."""
        return self.folder / self.identity.data

    @property
    def approvals(self) -> Path:
        """Where approvals are kept."""
        return self.folder / "approvals.json"

    def check_log(self) -> int:
        """Check the log, as before a start; how many entries it has.

        Raises
        ------
        TamperedLogError
            Naming the first entry that is off.
        """
        return len(self.log.entries())

    def check_approved(self, study_hash: str) -> None:
        """Raise DisclosureError unless a person approved this study."""
        if not self.policy.approved_studies_only:
            return
        if all(entry.study != study_hash for entry in read_approvals(self.approvals)):
            raise DisclosureError(
                f"study {study_hash[:12]} is not approved at this site (rule: approved study)",
                hint="the site's operator reads it, then `fedrisk site approve STUDY.toml`",
            )

    def check_related(self, study: Study) -> None:
        """Raise DisclosureError where another study read this one's columns before.

        An answer of one study subtracted from the other's may leave single rows: those between
        two bounds, with a value that one of them counts as an event, or that were recoded in one.
        """
        if self.policy.related_studies:
            return
        earlier = self.ledger.related(study.hash, frozenset(study.columns))
        if earlier and len(self._approved(study.hash)) < 2:
            raise DisclosureError(
                f"study {earlier[:12]}, answered here before, reads the same columns as "
                f"{study.hash[:12]} (rule: related studies)",
                hint="compare the two studies, then approve this one anew: `fedrisk site approve`",
            )

    def related_study(self, study: Study) -> str:
        """Hash of the earlier study for which this one needs a second approval; empty for none."""
        if self.policy.related_studies or len(self._approved(study.hash)) > 1:
            return ""
        return self.ledger.would_relate(study.hash, frozenset(study.columns))

    def charge(self, study: str, run: str, kind: str, question: str, cost: int, now: str) -> None:
        """Count a question; raise DisclosureError beyond a limit of the day."""
        policy = self.policy
        limits = Limits(policy.queries_per_day, policy.evaluations_per_day, policy.refusals_per_day)
        if reason := self.ledger.charge(study, run, kind, question, cost, now, limits):
            raise DisclosureError(
                f"{reason} (rule: questions a day)",
                hint="ask again tomorrow (UTC), or change the site's policy.toml",
            )

    def freeze(self, cohort: Cohort, run: str, now: datetime) -> None:
        """Bind a run to its cohort, and keep cohorts apart that differ by too few rows.

        Raises
        ------
        DisclosureError
            When rows changed in the middle of the run, or since another run, but only a few.
        """
        study, policy = cohort.study.hash, self.policy
        if not policy.frozen_cohort and not policy.cohort_difference:
            return
        rows = fingerprint(cohort, self.cohort_key)
        if policy.frozen_cohort and not self.ledger.freeze(run, study, rows):
            raise DisclosureError(
                "the rows changed since this run began (rule: frozen cohort)",
                hint="start a new run; replace a site's file only between runs",
            )
        since = self._since(study)
        if not policy.cohort_difference or self.ledger.knows(rows, since):
            return
        kept, time = cohort_rows(cohort, self.cohort_key), now.isoformat(timespec="microseconds")
        apart = self._apart()
        if not self.ledger.admit(study, rows, kept, self.cohort_key, since, apart, time):
            raise DisclosureError(
                "the rows differ from an earlier run's by too few: less than "
                f"{apart.train:g} for training or {apart.test:g} for testing, or a small group "
                "(rule: cohort difference)",
                hint="wait for more rows, or approve the study anew: `fedrisk site approve`",
            )

    def check_time(self, study: Study, run: str, as_of: str, now: datetime) -> None:
        """Where rows mature, hold a study's times in order: they pick no cohort.

        A time is not in the future, is one of a run, and lies not before that of an earlier run.

        Raises
        ------
        DisclosureError
            Naming which of these does not hold.
        """
        if study.time is None or not self.policy.cohort_difference:
            return
        time = datetime.fromisoformat(as_of)
        zoned = time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
        if zoned > now + LARGEST_SKEW:
            raise DisclosureError(
                "the time that the question is about has not come here (rule: time asked about)",
                hint="synchronise the clocks (NTP)",
            )
        if not self.ledger.in_order(run, study.hash, zoned.isoformat(timespec="microseconds")):
            raise DisclosureError(
                "the time that the question is about is not its run's, or lies before that of an "
                "earlier run (rule: time asked about)",
                hint="start a new run; it asks about the time at which it begins",
            )

    def _apart(self) -> Apart:
        """What the difference of two answers is held to: the rules for one answer."""
        policy = self.policy
        least = policy.cohort_difference
        train = max(least, policy.effective_rows)
        return Apart(train, least, policy.contributors, policy.pair_contributors)

    @property
    def cohort_key(self) -> bytes:
        """Key of the ledger's row digests, derived from the signing key."""
        return hashlib.sha256(b"fedrisk cohort 1\n" + self.key.private_bytes_raw()).digest()

    @property
    def stretches(self) -> StretchLedger:
        """How time was closed here, and which rows of it were told."""
        key = hashlib.sha256(b"fedrisk stretch 1\n" + self.key.private_bytes_raw()).digest()
        return StretchLedger(self.ledger, key)

    def _approved(self, study_hash: str) -> list[str]:
        """When a study was approved, oldest first."""
        entries = read_approvals(self.approvals)
        return [entry.time for entry in entries if entry.study == study_hash]

    def _since(self, study_hash: str) -> str:
        """Since when cohorts count: the newest approval after the study was first asked about.

        An approval before that says yes to the study, and not yet to rows that changed.
        """
        first = self.ledger.first_asked(study_hash)
        return max((t for t in self._approved(study_hash) if first and t > first), default="")


def open_site(folder: Path) -> Site:
    """Open a site's folder.

    Raises
    ------
    SiteFolderError
        When a file is missing, or holds an unknown key or a value that does not fit.
    """
    path = folder / "site.toml"
    try:
        identity = SiteIdentity.model_validate(read_toml(path))
    except ValidationError as error:
        raise SiteFolderError(f"{path}: {explain(error, 'site')}") from None
    key = read_private(folder / "signing.key")
    log = EgressLog(folder / "egress", identity.site, key, identity.coordinator_key)
    policy = load_policy(folder / "policy.toml")
    return Site(folder, identity, policy, key, log, Ledger(folder / "ledger.db"))
