"""A site's folder is opened whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from fedrisk.errors import DisclosureError, SiteFolderError
from fedrisk.federation.provisioning.keys import make_signing_pair
from fedrisk.sites.approvals import approve
from fedrisk.sites.cohort import Cohort, CohortCounts
from fedrisk.sites.folder import Site, open_site
from fedrisk.sites.policy import Policy, write_policy
from fedrisk.study import Study

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_signing_pair(tmp_path, "signing")
    write_policy(tmp_path / "policy.toml")
    (tmp_path / "site.toml").write_text('site = "north"\ndata = "rows.csv"\n', encoding="utf-8")
    return tmp_path


def test_what_a_folder_holds(folder: Path) -> None:
    site = open_site(folder)
    assert (site.identity.site, site.data) == ("north", folder / "rows.csv")
    assert site.policy == Policy()
    assert site.check_log() == 0
    elsewhere = folder / "elsewhere.csv"
    (folder / "site.toml").write_text(f'site = "n"\ndata = "{elsewhere}"\n', encoding="utf-8")
    assert open_site(folder).data == elsewhere


@pytest.mark.parametrize("name", ["site.toml", "policy.toml", "signing.key"])
def test_a_folder_that_lacks_a_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(SiteFolderError, match=name.partition(".")[0]):
        open_site(folder)


@pytest.mark.parametrize("text", ['data = "a"', 'site = ""\ndata = "a"', 'site = "n"', "site ="])
def test_settings_that_do_not_fit_are_refused(folder: Path, text: str) -> None:
    (folder / "site.toml").write_text(text, encoding="utf-8")
    with pytest.raises(SiteFolderError, match=r"site\.toml"):
        open_site(folder)


def test_a_policy_with_a_typo_opens_nothing(folder: Path) -> None:
    (folder / "policy.toml").write_text("contributers = 5\n", encoding="utf-8")
    with pytest.raises(SiteFolderError, match="contributers"):
        open_site(folder)


def test_only_approved_studies_are_answered(folder: Path, study: Study) -> None:
    site = open_site(folder)
    with pytest.raises(DisclosureError, match="approved study"):
        site.check_approved(study.hash)
    approve(site.approvals, study, "Ada", NOW)
    site.check_approved(study.hash)
    with pytest.raises(DisclosureError, match="approved study"):
        site.check_approved("0" * 64)
    replace(site, policy=Policy(approved_studies_only=False)).check_approved("0" * 64)


def test_damaged_approvals_approve_nothing(folder: Path, study: Study) -> None:
    site = open_site(folder)
    approve(site.approvals, study, "Ada", NOW)
    site.approvals.write_text("[", encoding="utf-8")
    with pytest.raises(SiteFolderError):
        site.check_approved(study.hash)


def test_a_second_study_needs_a_second_approval(
    folder: Path, make_study: Callable[..., Study]
) -> None:
    site, first, second = open_site(folder), make_study(), make_study(title="Another")
    approve(site.approvals, first, "Ada", NOW)
    approve(site.approvals, second, "Ada", NOW)
    site.check_related(first)
    with pytest.raises(DisclosureError, match=f"study {first.hash[:12]}, answered here before"):
        site.check_related(second)
    site.check_related(first)
    approve(site.approvals, second, "Ada", NOW + timedelta(hours=1))
    site.check_related(second)


def make_cohort(study: Study, rows: range) -> Cohort:
    count = len(rows)
    columns = {
        "age": np.array(rows, np.float64),
        "pulse": np.full(count, 70.0),
        "sex": np.zeros(count, np.int32),
    }
    counts = CohortCounts(count, count, count, 0, 0, 0, 0, {})
    return Cohort("n", study, columns, np.zeros(count, bool), np.zeros(count, bool), counts)


def test_cohorts_are_frozen_and_kept_apart(folder: Path, study: Study) -> None:
    site = open_site(folder)
    for _ in range(2):  # before the first question they say nothing about changed rows
        approve(site.approvals, study, "Ada", NOW)
    site.charge(study.hash, "r1", "summary", "a", 1, (NOW + timedelta(minutes=1)).isoformat())
    site.freeze(make_cohort(study, range(100)), "r1", NOW)
    site.freeze(make_cohort(study, range(100)), "r1", NOW)
    with pytest.raises(DisclosureError, match="frozen cohort"):
        site.freeze(make_cohort(study, range(150)), "r1", NOW)
    with pytest.raises(
        DisclosureError, match="differ from an earlier run's by too few: less than 50"
    ):
        site.freeze(make_cohort(study, range(101)), "r2", NOW)
    site.freeze(make_cohort(study, range(150)), "r3", NOW)
    # An approval after that lets the changed rows in, from then on.
    later = NOW + timedelta(days=1)
    approve(site.approvals, study, "Ada", later)
    site.freeze(make_cohort(study, range(101)), "r4", later + timedelta(hours=1))
    with pytest.raises(DisclosureError, match="cohort difference"):
        site.freeze(make_cohort(study, range(102)), "r5", later + timedelta(hours=2))


def test_approvals_before_the_first_question_let_no_changed_rows_in(
    folder: Path, make_study: Callable[..., Study]
) -> None:
    site, first, second = open_site(folder), make_study(), make_study(title="Another")
    site.freeze(make_cohort(first, range(100)), "r1", NOW)
    later = NOW + timedelta(days=1)
    for _ in range(2):
        approve(site.approvals, second, "Ada", later)
    asked = later + timedelta(hours=1)
    site.charge(second.hash, "r2", "summary", "a", 1, asked.isoformat())
    with pytest.raises(DisclosureError, match="cohort difference"):
        site.freeze(make_cohort(second, range(101)), "r2", asked)


def test_without_these_rules_rows_may_change(folder: Path, study: Study) -> None:
    site = replace(open_site(folder), policy=Policy(frozen_cohort=False, cohort_difference=0))
    site.freeze(make_cohort(study, range(100)), "r1", NOW)
    site.freeze(make_cohort(study, range(101)), "r1", NOW)
    assert not site.ledger.path.exists()


def test_the_day_s_limits_are_the_policy_s(folder: Path, study: Study) -> None:
    site = replace(open_site(folder), policy=Policy(queries_per_day=2, evaluations_per_day=1))
    now = NOW.isoformat()
    site.charge(study.hash, "r", "evaluation", "a", 1, now)
    with pytest.raises(DisclosureError, match="more than 1 evaluations"):
        site.charge(study.hash, "r", "evaluation", "b", 1, now)
    with pytest.raises(DisclosureError, match="more than 2 parameter vectors"):
        site.charge(study.hash, "r", "newton", "c", 2, now)


def test_each_site_s_digests_have_a_key_of_their_own(folder: Path, tmp_path: Path) -> None:
    key = open_site(folder).cohort_key
    assert key == open_site(folder).cohort_key
    (folder / "signing.key").unlink()
    make_signing_pair(folder, "signing")
    assert open_site(folder).cohort_key != key
    assert isinstance(open_site(folder), Site)
