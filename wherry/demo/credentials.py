"""The demo grid's certificates, proxies and registry: who is who."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from wherry.demo.pki import DAY, Authority, make_keys, make_proxy

VO = "demo"
PROXY_LIFETIME = 7 * DAY
# Credentials with less time left than this are made anew at the next start.
NEEDED_LIFETIME = DAY

# Each group's members and properties.
GROUPS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "demo_user": (("alice", "bob"), ("NormalUser",)),
    "demo_admin": (
        ("alice",),
        (
            "Operator",
            "NormalUser",
            "JobAdministrator",
            "ServiceAdministrator",
            "CSAdministrator",
            "FullDelegation",
            "ProxyManagement",
            "SiteManager",
        ),
    ),
    "demo_pilot": (("pilot",), ("GenericPilot", "LimitedDelegation")),
}
USERS = ("alice", "bob", "pilot")


@dataclass(frozen=True, slots=True)
class GridCredentials:
    """Where the files are: ``proxies`` maps user and group to a proxy file, ``users`` a user to a
    certificate and its key, of which the user's own proxies can be made."""

    ca_path: Path
    host_certificate: Path
    host_key: Path
    users: dict[str, tuple[Path, Path]]
    proxies: dict[str, dict[str, Path]]


def grid_credentials(directory: Path) -> GridCredentials:
    """The grid's credentials, made (all of them) when missing or about to end."""
    credentials = GridCredentials(
        ca_path=directory / "ca",
        host_certificate=directory / "hostcert.pem",
        host_key=directory / "hostkey.pem",
        users={user: (directory / f"{user}cert.pem", directory / f"{user}key.pem") for user in USERS},
        proxies={
            user: {
                group: directory / "proxies" / f"{user}.{group}.pem"
                for group, (members, _) in GROUPS.items()
                if user in members
            }
            for user in USERS
        },
    )
    if not _usable(credentials):
        shutil.rmtree(directory, ignore_errors=True)
        _make(directory, credentials)
    return credentials


def _usable(credentials: GridCredentials) -> bool:
    """Whether every file is there and ends late enough."""
    keys = [credentials.host_key, *(key for _, key in credentials.users.values())]
    files = [credentials.host_certificate, *(file for file, _ in credentials.users.values()), *keys]
    files += [file for groups in credentials.proxies.values() for file in groups.values()]
    authority = [any(credentials.ca_path.glob(pattern)) for pattern in ("*.0", "*.r0")]
    if not all(file.is_file() for file in files) or not all(authority):
        return False
    try:
        ends = [
            x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc
            for file in files
            if file not in keys
        ]
    except ValueError:
        return False
    return min(ends) > datetime.now(UTC) + NEEDED_LIFETIME


def _make(directory: Path, credentials: GridCredentials) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    wanted = [
        (user, group, file)
        for user, by_group in credentials.proxies.items()
        for group, file in by_group.items()
    ]
    keys = iter(make_keys(2 + len(USERS) + len(wanted)))
    authority = Authority.create("Demo CA", key=next(keys))
    authority.write_directory(credentials.ca_path)
    authority.write_crl(credentials.ca_path)
    authority.issue_host("localhost", key=next(keys)).write_pair(
        credentials.host_certificate, credentials.host_key
    )
    owners = {}
    for user, files in credentials.users.items():
        owners[user] = authority.issue_user(user, key=next(keys))
        owners[user].write_pair(*files)
    (directory / "proxies").mkdir()
    for user, group, file in wanted:
        make_proxy(owners[user], group, lifetime=PROXY_LIFETIME, key=next(keys)).write(file)


def registry_text(credentials_directory: Path) -> str:
    """The registry, as a DIRAC CFG file, for the certificates in a directory."""
    from legacy_rpc.credentials import openssl_dn

    def dn(name: str) -> str:
        certificate = (credentials_directory / f"{name}cert.pem").read_bytes()
        return openssl_dn(x509.load_pem_x509_certificate(certificate).subject)

    from shared_db.cfg import CfgSection

    cfg = CfgSection()
    cfg.set("DIRAC/VirtualOrganization", VO)
    cfg.set("DIRAC/Configuration/Name", "Demo")
    cfg.set("Registry/DefaultGroup", "demo_user")
    for user in USERS:
        cfg.set(f"Registry/Users/{user}/DN", dn(user))
        cfg.set(f"Registry/Users/{user}/Email", f"{user}@example.org")
    for group, (members, properties) in GROUPS.items():
        cfg.set(f"Registry/Groups/{group}/Users", ", ".join(members))
        cfg.set(f"Registry/Groups/{group}/Properties", ", ".join(properties))
        cfg.set(f"Registry/Groups/{group}/VO", VO)
    cfg.set("Registry/Hosts/localhost/DN", dn("host"))
    cfg.set("Registry/Hosts/localhost/Properties", "TrustedHost, Operator, JobAdministrator")
    cfg.set(f"Registry/VO/{VO}/VOAdmin", "alice")
    cfg.set(f"Registry/VO/{VO}/DefaultGroup", "demo_user")
    for site, ce in SITES.items():
        place = f"Resources/Sites/DEMO/{site}/CEs/{ce}"
        cfg.set(f"{place}/CEType", "HTCondorCE")
        cfg.set(f"{place}/Queues/demo/maxCPUTime", "2880")  # minutes
        cfg.set(f"{place}/Queues/demo/SI00", "3100")
        cfg.set(f"{place}/Queues/demo/VO", VO)
    return cfg.to_text()


# Sites of the grid, and the computing element of each.
SITES = {
    "DEMO.Geneva.ch": "ce01.geneva.example.org",
    "DEMO.Lyon.fr": "ce01.lyon.example.org",
    "DEMO.Tsukuba.jp": "ce01.tsukuba.example.org",
}
