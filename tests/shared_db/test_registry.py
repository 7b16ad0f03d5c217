"""The registry: who is who, in DIRAC's rules (sheet legacy-wire.md 4.2 and 4.3), and the file behind it."""

from __future__ import annotations

import dataclasses
import os
import time
from datetime import datetime, tzinfo
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shared_db import followed_file
from shared_db.cfg import parse_cfg
from shared_db.followed_file import FileError
from shared_db.registry import VO, Group, Host, Registry, RegistryError, RegistryFile, User, canonical_dn

TEXT = r"""
DIRAC
{
  VirtualOrganization = ownvo
}
Registry
{
  DefaultGroup = nogroup, lab_user
  Users
  {
    alice
    {
      DN = /C=CH/O=Grid/CN=alice, /C=CH/O=Grid/CN=alice two
      Email = alice@example.org
      Subject = 11111111-2222-3333-4444-555555555555
    }
    bob
    {
      DN = /C=CH/O=Grid/CN=bob, /C=CH/O=Grid/CN=shared
      DefaultGroup = lab_gone, lab_admin
    }
    carol
    {
      DN = /C=CH/O=Grid/CN=carol, /C=CH/O=Grid/CN=shared
      Suspended = lab, other
    }
    dave
    {
      DN = /C=CH/O=Grid/CN=dave
      Suspended = ownvo
    }
    robot
    {
      DN = /C=CH/O=Grid/CN=robot/portal.example.org, /C=CH/O=Grid/CN=C\+\+ robot
    }
    idle
    {
      DN = /C=CH/O=Grid/CN=idle
    }
  }
  Groups
  {
    lab_user
    {
      Users = alice, bob, carol
      Properties = NormalUser
      VO = lab
      JobShare = 1000
    }
    lab_admin
    {
      Users = carol, bob, ghost
      Properties = Operator, NormalUser, JobAdministrator
      VO = lab
    }
    zz_group
    {
      Users = robot, carol, dave
      VO = third
    }
    no_vo
    {
      Users = dave, robot
    }
  }
  Hosts
  {
    portal.example.org
    {
      DN = /C=CH/O=Grid/OU=hosts/CN=host/portal.example.org, /C=CH/O=Grid/CN=portal
      Properties = TrustedHost, FullDelegation
    }
  }
  VO
  {
    lab
    {
      VOAdmin = alice, bob
      DefaultGroup = lab_user
    }
    empty
    {
    }
  }
}
"""
DN = "/C=CH/O=Grid/CN="


def registry_of(text: str) -> Registry:
    """The registry in a CFG text."""
    return Registry.from_cfg(parse_cfg(text))


@pytest.fixture(scope="module")
def registry() -> Registry:
    """The registry of the example."""
    return registry_of(TEXT)


def test_reads_records(registry: Registry) -> None:
    """Users, groups, hosts and VOs become records that hold what the file says, in its order."""
    assert list(registry.users) == ["alice", "bob", "carol", "dave", "robot", "idle"]
    assert registry.users["alice"] == User(
        name="alice",
        dns=(DN + "alice", DN + "alice two"),
        email="alice@example.org",
        default_groups=(),
        suspended_vos=(),
        subject="11111111-2222-3333-4444-555555555555",
    )
    assert registry.users["carol"].suspended_vos == ("lab", "other")
    assert registry.groups["lab_user"] == Group(
        "lab_user", ("alice", "bob", "carol"), ("NormalUser",), "lab", 1000.0
    )
    assert registry.groups["no_vo"] == Group("no_vo", ("dave", "robot"), (), "ownvo", None)
    assert registry.hosts["portal.example.org"] == Host(
        "portal.example.org",
        ("/C=CH/O=Grid/OU=hosts/CN=host/portal.example.org", DN + "portal"),
        ("TrustedHost", "FullDelegation"),
    )
    assert dict(registry.vos) == {
        "lab": VO("lab", ("alice", "bob"), "lab_user", ("lab_admin", "lab_user")),
        "empty": VO("empty", (), None, ()),
        "ownvo": VO("ownvo", (), None, ("no_vo",)),
        "third": VO("third", (), None, ("zz_group",)),
    }
    assert registry.default_groups == ("nogroup", "lab_user")


def test_is_immutable(registry: Registry) -> None:
    """Neither the registry nor what it holds can be changed."""
    with pytest.raises(TypeError):
        registry.users["mallory"] = registry.users["alice"]  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        registry.default_groups = ()  # type: ignore[misc]


@pytest.mark.parametrize(
    ("dn", "group", "username"),
    [
        (DN + "alice", "lab_user", "alice"),
        (DN + "alice two", "lab_user", "alice"),
        (DN + "alice", "lab_admin", None),  # not a member
        (DN + "alice", "no_such_group", None),
        (DN + "alice", "hosts", None),
        (DN + "Alice", "lab_user", None),  # a DN's case counts
        (DN + "ghost", "lab_admin", None),  # listed by the group, unknown as a user
        (DN + "carol", "lab_user", None),  # suspended in the group's VO
        (DN + "carol", "zz_group", "carol"),  # and not in another
        (DN + "dave", "no_vo", None),  # suspended in the VO that the group has from /DIRAC
        (DN + "dave", "zz_group", "dave"),
        (DN + "shared", "lab_user", "bob"),  # the user whom the group lists first
        (DN + "shared", "lab_admin", None),  # that is carol here, who is suspended
        (DN + "shared", "zz_group", "carol"),
        ("", "lab_user", None),
    ],
)
def test_username(registry: Registry, dn: str, group: str, username: str | None) -> None:
    """A user needs the DN, membership of the group, and must not be suspended in its VO."""
    assert registry.username(dn, group) == username


@pytest.mark.parametrize(
    ("dn", "group"),
    [
        (DN + "alice", "lab_user"),  # the registry's default; its first is none of hers
        (DN + "bob", "lab_admin"),  # the user's own default comes before it
        (DN + "carol", "lab_user"),  # also while suspended: username() refuses
        (DN + "dave", "no_vo"),  # in neither default: the first by name, not in file order
        (DN + "shared", "lab_admin"),  # the first user with this DN is bob
        (DN + "idle", None),  # in no group
        (DN + "mallory", None),
        (DN + "portal", None),  # a host
    ],
)
def test_default_group(registry: Registry, dn: str, group: str | None) -> None:
    """The default is the user's, else the registry's, else the first group by name that the user is in."""
    assert registry.default_group(dn) == group


def test_default_group_without_option() -> None:
    """Where the registry names no default group, DIRAC's `user` is it."""
    registry = registry_of(
        "Registry {\nUsers {\na {\nDN = /CN=a\n}\n}\n"
        "Groups {\nguest {\nUsers = a\n}\nuser {\nUsers = a\n}\n}\n}"
    )
    assert registry.default_group("/CN=a") == "user"


@pytest.mark.parametrize(
    ("dn", "username"),
    [
        (DN + "robot/portal.example.org", "robot"),
        (DN + r"robot\/portal.example.org", "robot"),
        (DN + "C++ robot", "robot"),
        (DN + r"C\+\+ robot", "robot"),
        (DN + r"C\+ robot", None),
    ],
)
def test_dn_in_both_spellings(registry: Registry, dn: str, username: str | None) -> None:
    r"""A `/` or `+` inside a value matches escaped or not, whichever way the registry spells it."""
    assert registry.username(dn, "zz_group") == username


@pytest.mark.parametrize(
    ("dn", "canonical"),
    [
        ("/O=Grid/CN=a b+UID=u", "/O=Grid/CN=a b+UID=u"),
        (r"/O=Grid/CN=a\/b\+c", "/O=Grid/CN=a/b+c"),
        (r"/O=Grid/CN=Jos\xC3\xA9", r"/O=Grid/CN=Jos\xC3\xA9"),
        (r"/O=Grid/CN=a\/CN=boss", r"/O=Grid/CN=a\/CN=boss"),
        (r"/O=Grid/CN=a\+UID=boss", r"/O=Grid/CN=a\+UID=boss"),
        (r"/O=Grid/CN=a\/1.2.3=boss", r"/O=Grid/CN=a\/1.2.3=boss"),
    ],
)
def test_canonical_dn(dn: str, canonical: str) -> None:
    """Separators are unescaped unless that would make one value look like two."""
    assert canonical_dn(dn) == canonical


def test_value_that_looks_like_another_name_is_not_that_name() -> None:
    """A certificate whose CN contains a whole RDN never becomes the user with these RDNs."""
    registry = registry_of(
        r"Registry {" + "\nUsers {\nboss {\nDN = /O=G/CN=a/CN=boss\n}\nodd {\nDN = /O=G/CN=a\\/CN=odd\n}\n}\n"
        "Groups {\ng {\nUsers = boss, odd\n}\n}\n}"
    )
    assert registry.username("/O=G/CN=a/CN=boss", "g") == "boss"
    assert registry.username(r"/O=G/CN=a\/CN=boss", "g") is None
    assert registry.username(r"/O=G/CN=a\/CN=odd", "g") == "odd"


def test_hosts(registry: Registry) -> None:
    """A host is found by any of its DNs, in both spellings; a user's DN is no host."""
    host = registry.hosts["portal.example.org"]
    assert registry.host(DN + "portal") is host
    assert registry.host("/C=CH/O=Grid/OU=hosts/CN=host/portal.example.org") is host
    assert registry.host(r"/C=CH/O=Grid/OU=hosts/CN=host\/portal.example.org") is host
    assert registry.host(DN + "alice") is None


def test_look_ups_of_groups_and_users(registry: Registry) -> None:
    """Properties keep the file's order, groups come by name, and an unknown name has nothing."""
    assert registry.properties_of("lab_admin") == ("Operator", "NormalUser", "JobAdministrator")
    assert registry.properties_of("no_vo") == ()
    assert registry.properties_of("no_such_group") == ()
    assert registry.vo_of("lab_user") == "lab"
    assert registry.vo_of("no_vo") == "ownvo"
    assert registry.vo_of("no_such_group") is None
    assert registry.groups_of_vo("lab") == ("lab_admin", "lab_user")
    assert registry.groups_of_vo("empty") == ()
    assert registry.groups_of_vo("no_such_vo") == ()
    assert registry.groups_of_user("carol") == ("lab_admin", "lab_user", "zz_group")
    assert registry.groups_of_user("idle") == ()
    assert registry.groups_of_user("ghost") == ()
    assert registry.dns_of("bob") == (DN + "bob", DN + "shared")
    assert registry.dns_of("ghost") == ()


def test_group_without_any_vo() -> None:
    """Without its own VO and without /DIRAC/VirtualOrganization a group has none."""
    registry = registry_of("Registry {\nGroups {\ng {\nUsers =\n}\n}\n}")
    assert registry.vo_of("g") is None
    assert dict(registry.vos) == {}


def test_subject(registry: Registry) -> None:
    """A subject is the registry's, else derived from VO and user name, always the same."""
    assert registry.subject("alice", "lab") == "11111111-2222-3333-4444-555555555555"
    assert registry.subject("bob", "lab") == "41229b28-36ee-5063-b2e5-cf4222cc60db"
    assert registry.subject("bob", "third") != registry.subject("bob", "lab")
    assert registry.subject("ghost", "lab") == "30d95add-f3d5-52b6-b71d-9a11133a00c4"


SYNCHRONISED = """
DiracX
{
  CsSync
  {
    VOs
    {
      lab
      {
        UserSubjects
        {
          bob = from-the-iam
          alice = alices-in-lab
          ghost = x
          carol =
        }
      }
      third
      {
      }
    }
  }
}
"""


def test_subjects_of_identity_providers() -> None:
    """What DIRAC's synchronisation wrote for a VO comes first, in that VO."""
    registry = registry_of(TEXT + SYNCHRONISED)
    assert registry.subject("bob", "lab") == "from-the-iam"
    assert registry.subject("alice", "lab") == "alices-in-lab"
    assert registry.subject("alice", "third") == "11111111-2222-3333-4444-555555555555"
    assert registry.subject("carol", "lab") == registry_of(TEXT).subject("carol", "lab")


def test_users_by_subject(registry: Registry) -> None:
    """Every member of a VO is found by the subject that tokens of that VO have, and nobody else is."""
    for text in (TEXT, TEXT + SYNCHRONISED):
        known = registry_of(text)
        for vo in known.vos:
            members = {name for group in known.groups_of_vo(vo) for name in known.groups[group].users}
            for name in known.users:
                found = known.user_with_subject(known.subject(name, vo), vo)
                assert found == (known.users[name] if name in members else None)
    assert registry.user_with_subject(registry.subject("bob", "lab"), "third") is None
    assert registry.user_with_subject("", "lab") is None
    assert registry.user_with_subject("x", "nope") is None


def test_two_users_with_one_subject() -> None:
    """The first of them has it, and a warning names both."""
    text = TEXT.replace("Suspended = lab, other", "Subject = 11111111-2222-3333-4444-555555555555")
    registry = registry_of(text)
    found = registry.user_with_subject("11111111-2222-3333-4444-555555555555", "lab")
    assert found is not None
    assert found.name == "alice"
    [warning] = [each for each in registry.warnings if "same Subject" in each]
    assert "'alice'" in warning
    assert "'carol'" in warning
    assert not [each for each in registry_of(TEXT).warnings if "same Subject" in each]


def test_who_may_act(registry: Registry) -> None:
    """Members of a group, unless suspended in its VO."""
    assert registry.may_act("alice", "lab_user")
    assert registry.may_act("carol", "zz_group")
    assert not registry.may_act("carol", "lab_user")
    assert not registry.may_act("alice", "lab_admin")
    assert not registry.may_act("ghost", "lab_admin")
    assert not registry.may_act("alice", "nope")
    assert not registry.may_act("dave", "no_vo")


def test_default_groups_of_vos(registry: Registry) -> None:
    """The VO's own, else one of the registry's that is the VO's, else the first by name, else none."""
    assert registry.default_group_of_vo("lab") == "lab_user"
    assert registry.default_group_of_vo("third") == "zz_group"
    assert registry.default_group_of_vo("empty") is None
    assert registry.default_group_of_vo("nope") is None
    wrong = registry_of(TEXT.replace("      DefaultGroup = lab_user\n", "      DefaultGroup = zz_group\n"))
    assert wrong.default_group_of_vo("lab") == "lab_user"
    none = TEXT.replace("      DefaultGroup = lab_user\n", "").replace("nogroup, lab_user", "nogroup")
    assert registry_of(none).default_group_of_vo("lab") == "lab_admin"


def test_warns_of_likely_mistakes(registry: Registry) -> None:
    """What DIRAC passes over in silence is kept as sentences, and the rest is usable."""
    assert registry.warnings == (
        f"Registry/Users: 'bob' and 'carol' have the same DN {DN}shared",
        "group 'lab_admin' lists 'ghost', who is no user",
        "Registry: DefaultGroup names 'nogroup', which is no group",
        "user 'bob': DefaultGroup names 'lab_gone', which is no group",
        "user 'carol': Suspended names 'other', which is no VO",
    )


def test_warns_of_entries_it_ignores() -> None:
    """Options where sections belong, missing DNs, reserved groups and odd numbers are told."""
    registry = registry_of(
        "Registry {\nHosts = h\nUsers {\na = /CN=a\nb {\n}\n}\n"
        "Groups {\nhosts {\nJobShare = many\n}\n}\nVO {\nv {\nDefaultGroup = g\n}\n}\n}"
    )
    assert registry.warnings == (
        "Registry/Users/a is an option and is ignored: it must be a section",
        "Registry/Hosts is an option and is ignored: it must be a section",
        "Registry/Users/b has no DN: no certificate can act as it",
        "group 'hosts': DIRAC reserves this name and never asks for its users",
        "group 'hosts': JobShare 'many' is not a number and is ignored",
        "VO 'v': DefaultGroup names 'g', which is no group",
    )
    assert list(registry.users) == ["b"]
    assert registry.groups["hosts"].job_share is None


@pytest.mark.parametrize("text", ["", "Registry = lab", "DIRAC {\n}"])
def test_registry_section_is_required(text: str) -> None:
    """A configuration without a section Registry is an error, not an empty registry."""
    with pytest.raises(RegistryError, match="no section 'Registry': add one"):
        registry_of(text)


# -- the file ---------------------------------------------------------------------------------------

ONE = "Registry\n{\n  Users\n  {\n    alice\n    {\n      DN = /CN=alice\n    }\n  }\n}\n"
TWO = ONE.replace("alice", "bobby")  # of the same size
SECOND_NS = 1_000_000_000
NOON_NS = 1_795_262_400 * SECOND_NS  # 2026-11-21 12:00:00 UTC


def write(path: Path, text: str, modified_ns: int | None = None) -> None:
    """Write the file and perhaps set the time of its modification."""
    path.write_text(text, encoding="utf-8")
    if modified_ns is not None:
        os.utime(path, ns=(modified_ns, modified_ns))


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The time (ns) at which the kernel says that files change, and our clock; both stand still at noon."""
    times = {"changed": NOON_NS, "now": NOON_NS + SECOND_NS}
    real = followed_file._read

    class Now(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Now:
            return cls.fromtimestamp(times["now"] / SECOND_NS, tz)

    def read(path: Path) -> Any:
        status, text = real(path)
        kept = {name: getattr(status, name) for name in ("st_mtime_ns", "st_size", "st_ino")}
        return SimpleNamespace(st_ctime_ns=times["changed"], **kept), text

    monkeypatch.setattr("shared_db.followed_file._read", read)
    monkeypatch.setattr("shared_db.registry.datetime", Now)
    return times


@pytest.fixture
def file(tmp_path: Path) -> RegistryFile:
    """A registry file with ONE in it, loaded."""
    write(tmp_path / "dirac.cfg", ONE)
    registry_file = RegistryFile(tmp_path / "dirac.cfg")
    registry_file.load()
    return registry_file


@pytest.fixture
def noon(tmp_path: Path, times: dict[str, int]) -> RegistryFile:
    """A registry file with ONE in it, written at noon, that was loaded a second later."""
    assert times["changed"] == NOON_NS
    write(tmp_path / "dirac.cfg", ONE, NOON_NS)
    registry_file = RegistryFile(tmp_path / "dirac.cfg")
    registry_file.load()
    return registry_file


def test_file_loads(noon: RegistryFile) -> None:
    """After load() the registry, the whole configuration and the version are there."""
    assert list(noon.current.users) == ["alice"]
    assert noon.cfg.get("Registry/Users/alice/DN") == "/CN=alice"
    assert noon.version == "2026-11-21 12:00:00.000000"
    assert noon.error is None


def test_file_unchanged_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refresh of an unchanged file only asks for its status."""
    write(tmp_path / "dirac.cfg", ONE, 2 * time.time_ns())  # no tick is waited for
    file = RegistryFile(tmp_path / "dirac.cfg")
    file.load()
    monkeypatch.setattr("shared_db.followed_file._read", lambda path: pytest.fail("was read"))
    assert file.refresh() is False


@pytest.mark.parametrize(
    ("modified", "changed", "version"),
    [
        (1_234_567_891, 1_234_567_891, "2026-11-21 12:00:01.234567"),
        (-3600 * SECOND_NS, 1_000, "2026-11-21 12:00:00.000001"),  # a back-up is restored, with its old time
        (999, 999, "2026-11-21 12:00:00.000001"),  # the same microsecond
        (-SECOND_NS, -SECOND_NS, "2026-11-21 12:00:00.000001"),  # the clock was put back
    ],
)
def test_file_changed(
    noon: RegistryFile, times: dict[str, int], modified: int, changed: int, version: str
) -> None:
    """A changed file takes effect at the next refresh, under a version that is greater than the last."""
    before = noon.current
    times |= {"changed": NOON_NS + changed, "now": NOON_NS + 60 * SECOND_NS}
    write(noon.path, TWO, NOON_NS + modified)
    assert noon.refresh() is True
    assert list(noon.current.users) == ["bobby"]
    assert list(before.users) == ["alice"]
    assert noon.version == version


def test_file_edited_twice_in_one_tick(tmp_path: Path, times: dict[str, int]) -> None:
    """Whoever read the first of two edits of the same time reads the second too, under a higher version.

    A worker that saw only the second one ends with the same version.
    """
    times["now"] = NOON_NS + 1_000_000
    write(tmp_path / "dirac.cfg", ONE, NOON_NS)
    one = RegistryFile(tmp_path / "dirac.cfg")
    one.load()
    first = one.version
    write(one.path, TWO, NOON_NS)  # same size, same inode, same times
    assert one.refresh() is True
    second = one.version
    assert list(one.current.users) == ["bobby"]
    times["now"] = NOON_NS + SECOND_NS
    other = RegistryFile(one.path)
    other.load()
    assert one.refresh() is False
    assert first < second < one.version == other.version == "2026-11-21 12:00:00.000000"


def test_file_replaced_by_another_with_the_same_time(noon: RegistryFile, tmp_path: Path) -> None:
    """Another file of the same size and time, moved into place, is noticed."""
    write(tmp_path / "new.cfg", TWO, NOON_NS)
    (tmp_path / "new.cfg").replace(noon.path)
    assert noon.refresh() is True
    assert list(noon.current.users) == ["bobby"]
    assert noon.version == "2026-11-21 12:00:00.000001"


def test_file_touched_backwards_keeps_its_version(noon: RegistryFile) -> None:
    """The same content with an older time does not change the version, and nothing takes effect."""
    write(noon.path, ONE, NOON_NS - SECOND_NS)
    assert noon.refresh() is False
    assert noon.version == "2026-11-21 12:00:00.000000"


def test_two_readers_agree_on_the_version(noon: RegistryFile, times: dict[str, int]) -> None:
    """Workers that follow the same file have the same version, whenever they started."""
    other = RegistryFile(noon.path)
    other.load()
    for step, text in enumerate([TWO, ONE], start=1):
        times |= {"changed": NOON_NS + step * SECOND_NS, "now": NOON_NS + 60 * SECOND_NS}
        write(noon.path, text, NOON_NS - step * SECOND_NS)
        assert noon.refresh() is other.refresh() is True
        late = RegistryFile(noon.path)
        late.load()
        assert late.version == other.version == noon.version == f"2026-11-21 12:00:0{step}.000000"


@pytest.mark.parametrize(
    ("broken", "part"),
    [
        (ONE + "}\n", "dirac.cfg, line 11: '}' closes a section that was never opened"),
        ("", "dirac.cfg: the configuration has no section 'Registry': add one"),
        ("A\n{\n", "dirac.cfg, line 2: section 'A' opened here is never closed"),
    ],
)
def test_file_broken_edit_keeps_the_last_good_one(file: RegistryFile, broken: str, part: str) -> None:
    """A broken edit is told in `error`, changes nothing else, and mending it clears the error."""
    before = file.version
    write(file.path, broken)
    assert file.refresh() is False
    assert file.refresh() is False
    assert list(file.current.users) == ["alice"]
    assert file.version == before
    assert file.error is not None
    assert part in file.error

    write(file.path, TWO)
    assert file.refresh() is True
    assert file.error is None
    assert list(file.current.users) == ["bobby"]
    assert file.version > before


def test_file_missing_for_a_while(file: RegistryFile, tmp_path: Path) -> None:
    """A file that goes away leaves the last good one in force, and is read again when it is back."""
    file.path.rename(tmp_path / "away")
    assert file.refresh() is False
    assert list(file.current.users) == ["alice"]
    assert file.error is not None
    assert f"registry file {file.path} cannot be read" in file.error
    assert "point `registry` at a readable file" in file.error

    (tmp_path / "away").rename(file.path)
    assert file.refresh() is True
    assert file.error is None
    assert list(file.current.users) == ["alice"]


def test_file_first_load_fails_loudly(tmp_path: Path) -> None:
    """At start a missing, unreadable or broken file is an error that names the file and the mend."""
    path = tmp_path / "dirac.cfg"
    with pytest.raises(FileError, match=r"dirac\.cfg cannot be read .*No such file.*: point `registry` at"):
        RegistryFile(path).load()
    path.write_bytes(b"Registry\n{\n  x = \xff\n}\n")
    with pytest.raises(FileError, match=r"cannot be read .*in UTF-8"):
        RegistryFile(path).load()
    path.write_text("Registry\n{\n  Users\n}\n", encoding="utf-8")
    with pytest.raises(RegistryError, match=r"dirac\.cfg, line 3: expected '=' and a value behind 'Users'"):
        RegistryFile(path).load()


def test_file_before_load(tmp_path: Path) -> None:
    """What is asked before load() is an error that says so."""
    with pytest.raises(FileError, match=r"not loaded yet: call load\(\) first"):
        _ = RegistryFile(tmp_path / "dirac.cfg").current


def test_file_refresh_may_be_the_first_read(tmp_path: Path) -> None:
    """A refresh before load() reads the file as any other change."""
    write(tmp_path / "dirac.cfg", ONE, NOON_NS)
    file = RegistryFile(tmp_path / "dirac.cfg")
    assert file.refresh() is True
    assert list(file.current.users) == ["alice"]


def test_file_with_a_byte_order_mark_and_crlf(tmp_path: Path) -> None:
    """What editors on Windows add to a text file does not harm."""
    path = tmp_path / "dirac.cfg"
    path.write_bytes(b"\xef\xbb\xbf" + ONE.replace("\n", "\r\n").encode())
    file = RegistryFile(path)
    file.load()
    assert list(file.current.users) == ["alice"]
