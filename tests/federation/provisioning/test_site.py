"""A site's folder: one that answering can open, keys that change without losing the site."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fedrisk.errors import FederationError, HomeError
from fedrisk.federation.provisioning.coordinator import Federation, new_settings
from fedrisk.federation.provisioning.documents import JoinBundle
from fedrisk.federation.provisioning.keys import public_text
from fedrisk.federation.provisioning.site import SiteFolder
from fedrisk.sites.folder import open_site
from fedrisk.sites.policy import Policy

NOW = datetime.now(UTC)


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    return Federation.create(tmp_path / "fed", new_settings(["127.0.0.1"], 9092), NOW)


@pytest.fixture
def bundle(federation: Federation) -> JoinBundle:
    return federation.invite("north", NOW)


@pytest.fixture
def site(bundle: JoinBundle, tmp_path: Path) -> SiteFolder:
    (tmp_path / "rows.csv").write_text("age\n1\n", encoding="utf-8")
    return SiteFolder.create(tmp_path / "north", bundle, tmp_path / "rows.csv")


def test_both_readers_of_the_folder_agree(site: SiteFolder, bundle: JoinBundle) -> None:
    opened, answering = SiteFolder.open(site.folder), open_site(site.folder)
    assert opened.settings == site.settings
    assert answering.identity.site == opened.settings.site == "north"
    assert answering.data == Path(opened.settings.data)
    assert answering.identity.coordinator_key == bundle.coordinator_key
    assert answering.policy == Policy()
    assert answering.check_log() == 0


def test_both_readers_start_a_relative_path_at_the_folder(site: SiteFolder) -> None:
    path = site.folder / "site.toml"
    path.write_text(path.read_text().replace(site.settings.data, "../rows.csv"), encoding="utf-8")
    told = [Path(SiteFolder.open(site.folder).settings.data), open_site(site.folder).data]
    assert [p.resolve() for p in told] == [Path(site.settings.data)] * 2


def test_only_its_owner_reads_the_folder(site: SiteFolder) -> None:
    assert site.folder.stat().st_mode & 0o777 == 0o700
    for path in site.folder.glob("*.key"):
        assert path.stat().st_mode & 0o777 == 0o600


def test_two_sites_of_one_bundle_have_two_keys(
    site: SiteFolder, bundle: JoinBundle, tmp_path: Path
) -> None:
    other = SiteFolder.create(tmp_path / "other", bundle, tmp_path / "rows.csv")
    mine, theirs = site.request(), other.request()
    assert mine.node_key != theirs.node_key
    assert mine.signing_key != theirs.signing_key
    assert mine.fingerprint != theirs.fingerprint


def test_a_folder_that_is_not_empty_stays(site: SiteFolder, bundle: JoinBundle) -> None:
    with pytest.raises(HomeError, match="not empty"):
        SiteFolder.create(site.folder, bundle, Path(site.settings.data))


@pytest.mark.parametrize("name", ["site.toml", "ca.crt", "node.key"])
def test_a_file_that_is_missing_is_told(site: SiteFolder, name: str) -> None:
    (site.folder / name).unlink()
    with pytest.raises((FederationError, HomeError), match=name):
        SiteFolder.open(site.folder)


def test_an_update_of_another_coordinator_is_refused(
    site: SiteFolder, federation: Federation, tmp_path: Path
) -> None:
    other = Federation.create(tmp_path / "other", new_settings(["127.0.0.1"], 9092), NOW)
    forged = other.begin_authority(NOW)
    before = site.authorities.read_text()
    with pytest.raises(FederationError, match="another federation"):
        site.trust(forged)
    with pytest.raises(FederationError, match="not signed"):
        site.trust(forged.model_copy(update={"federation": federation.settings.id}))
    assert site.authorities.read_text() == before


def test_an_update_that_was_changed_is_refused(site: SiteFolder, federation: Federation) -> None:
    update = federation.begin_authority(NOW)
    later = (NOW + timedelta(days=1)).isoformat(timespec="seconds")
    for change in ({"authorities": federation.authorities() * 2}, {"issued": later}):
        with pytest.raises(FederationError, match="not signed"):
            site.trust(update.model_copy(update=change))


def test_an_authority_that_was_given_up_does_not_come_back(
    site: SiteFolder, federation: Federation
) -> None:
    both = federation.begin_authority(NOW)
    site.trust(both)
    site.trust(federation.finish_authority(NOW + timedelta(minutes=1)))
    latest = site.authorities.read_text()
    with pytest.raises(FederationError, match="older"):
        site.trust(both)
    assert site.authorities.read_text() == latest


def test_the_next_key_takes_over(site: SiteFolder) -> None:
    former = public_text(site.key)
    following = site.next_request().node_key
    assert site.next_request().node_key == following
    assert public_text(site.key) == former
    assert site.take_next_key()
    assert public_text(site.key) == following
    assert site.request().node_key == following


def test_a_refusal_before_approval_loses_neither_key(site: SiteFolder) -> None:
    former = public_text(site.key)
    following = site.next_request().node_key
    assert site.take_next_key()
    assert not site.take_next_key()
    assert public_text(site.key) == former
    assert site.request().node_key == following
    assert site.take_next_key()
    assert public_text(site.key) == following


def test_a_refusal_without_a_next_key_changes_nothing(site: SiteFolder) -> None:
    former = public_text(site.key)
    assert not site.take_next_key()
    assert public_text(site.key) == former


def test_a_second_rotation_begins_at_the_key_in_use(site: SiteFolder) -> None:
    site.next_request()
    site.take_next_key()
    second = public_text(site.key)
    third = site.next_request().node_key
    assert len({second, third}) == 2
    assert site.take_next_key()
    assert not site.take_next_key()
    assert public_text(site.key) == second


def test_a_request_is_what_its_reader_accepts(site: SiteFolder, tmp_path: Path) -> None:
    request = site.request()
    request.write(tmp_path / "request.json")
    assert type(request).read(tmp_path / "request.json") == request
    assert set(json.loads((tmp_path / "request.json").read_text())) == {
        *("format", "kind", "federation", "site", "node_key", "signing_key", "version")
    }
