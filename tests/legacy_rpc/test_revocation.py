"""Whose certificates were revoked, by the CRLs of a directory of authorities (decision 0011)."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from legacy_rpc.credentials import ChainCache
from legacy_rpc.messages import PeerError
from legacy_rpc.revocation import Mode, Revocations
from wherry.demo.pki import Authority, KeyPair, make_keys, make_proxy, subject_hash

ALICE = "/DC=org/DC=wherry/OU=people/CN=alice"
CA = "/DC=org/DC=wherry/CN=Test CA"
HOUR = timedelta(hours=1)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


def certificate(
    subject: x509.Name, key: Any, issuer: x509.Name, issuer_key: Any, *, ca: bool = False
) -> x509.Certificate:
    """A certificate of any kind of keys."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - HOUR)
        .not_valid_after(datetime.now(UTC) + 24 * HOUR)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .sign(issuer_key, None if isinstance(issuer_key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    )


def crl(
    issuer: x509.Name,
    key: Any,
    revoked: Iterable[x509.Certificate] = (),
    *,
    extensions: Iterable[x509.ExtensionType] = (),
    pss: bool = False,
) -> bytes:
    """A CRL, DER, whose entries give a reason."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer)
        .last_update(datetime.now(UTC) - HOUR)
        .next_update(datetime.now(UTC) + HOUR)
    )
    for each in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder()
            .serial_number(each.serial_number)
            .revocation_date(datetime(2026, 1, 2, tzinfo=UTC))
            .add_extension(x509.CRLReason(x509.ReasonFlags.key_compromise), critical=False)
            .build()
        )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    how = padding.PSS(padding.MGF1(hashes.SHA256()), 32) if pss else None
    return builder.sign(key, algorithm, rsa_padding=how).public_bytes(Encoding.DER)


def pem(der: bytes) -> bytes:
    """The other form of a file."""
    return b"-----BEGIN X509 CRL-----\n" + base64.encodebytes(der) + b"-----END X509 CRL-----\n"


def chain(*pairs: KeyPair | x509.Certificate) -> list[bytes]:
    """A chain, leaf first, as TLS has verified it."""
    certificates: list[x509.Certificate] = []
    for pair in pairs:
        certificates += [pair.certificate, *pair.chain] if isinstance(pair, KeyPair) else [pair]
    return [each.public_bytes(Encoding.DER) for each in certificates]


class Site:
    """An authority in a directory, two users, and a proxy of the first."""

    def __init__(self, directory: Path, keys: list[rsa.RSAPrivateKey]) -> None:
        ca_key, user_key, proxy_key, self.spare = keys
        self.directory = directory
        self.authority = Authority.create("Test CA", key=ca_key)
        self.authority.write_directory(directory)
        self.alice = self.authority.issue_user("alice", key=user_key)
        self.bob = self.authority.issue_user("bob", key=user_key)
        self.proxy = make_proxy(make_proxy(self.alice, "a", key=proxy_key), key=self.spare)
        self.clock = Clock()

    @property
    def file(self) -> Path:
        """Where the authority's CRL belongs."""
        return self.directory / f"{subject_hash(self.authority.certificate.subject)}.r0"

    def revoke(self, *revoked: KeyPair, **more: Any) -> None:
        """What fetch-crl does."""
        self.authority.write_crl(self.directory, revoked, **more)

    def crl(self, *revoked: KeyPair, **more: Any) -> bytes:
        """A CRL of the authority's that gives reasons."""
        issuer = self.authority.certificate.subject
        return crl(issuer, self.authority.key, [each.certificate for each in revoked], **more)

    def revocations(self, mode: Mode = "if-present") -> Revocations:
        """What is in the directory now."""
        return Revocations(self.directory, mode, self.clock)

    def chain(self, leaf: KeyPair) -> list[bytes]:
        """The chain of a caller."""
        return chain(leaf, self.authority)


@pytest.fixture(scope="module")
def keys() -> list[rsa.RSAPrivateKey]:
    """Keys take long to make."""
    return make_keys(4)


@pytest.fixture
def site(tmp_path: Path, keys: list[rsa.RSAPrivateKey]) -> Site:
    """A site of its own for every test, which may change it."""
    return Site(tmp_path / "ca", keys)


def refused(revocations: Revocations, chain: list[bytes]) -> str:
    """Why a chain is refused; nothing if it is not."""
    try:
        revocations.check(chain)
    except PeerError as error:
        return str(error)
    return ""


MODES: list[Mode] = ["if-present", "required"]

# --- who is refused


@pytest.mark.parametrize("mode", MODES)
def test_a_revoked_user(site: Site, mode: Mode) -> None:
    """With the certificate, and behind every proxy of it; the other users of the authority are not."""
    site.file.write_bytes(site.crl(site.alice))
    revocations = site.revocations(mode)
    why = f"the certificate of {ALICE} is revoked by {CA} (2026-01-02, keyCompromise)"
    assert refused(revocations, site.chain(site.alice)) == why
    assert refused(revocations, site.chain(site.proxy)) == why
    assert refused(revocations, site.chain(site.bob)) == ""


def test_an_authority_without_a_crl(site: Site) -> None:
    """It is trusted all the same, or its users are refused: that is what the modes are about."""
    assert refused(site.revocations("if-present"), site.chain(site.proxy)) == ""
    assert refused(site.revocations("required"), site.chain(site.proxy)) == (
        f"whether the certificate of {ALICE} is revoked is not known: the CRL of {CA} is not there"
    )


def test_a_revoked_intermediate_authority(site: Site, keys: list[rsa.RSAPrivateKey]) -> None:
    """Users of an authority that its own authority has revoked are refused; both CRLs are required."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Sub CA")])
    root = site.authority.certificate.subject
    middle = certificate(name, keys[3], root, site.authority.key, ca=True)
    user = certificate(site.alice.certificate.subject, keys[1], name, keys[3])
    proxy = make_proxy(KeyPair(user, keys[1]), key=keys[2])
    path = chain(proxy, middle, site.authority)
    below = site.directory / f"{subject_hash(name)}.r0"
    below.write_bytes(pem(crl(name, keys[3])))
    assert "is not there" in refused(site.revocations("required"), path)
    site.revoke()
    assert refused(site.revocations("required"), path) == ""
    below.unlink()
    assert refused(site.revocations("if-present"), path) == ""
    assert "the CRL of /CN=Sub CA is not there" in refused(site.revocations("required"), path)
    site.file.write_bytes(pem(crl(root, site.authority.key, [middle])))
    assert refused(site.revocations("if-present"), path) == (
        f"the certificate of /CN=Sub CA is revoked by {CA} (2026-01-02, keyCompromise)"
    )


# --- which CRLs count


def test_several_crls_of_one_authority(site: Site) -> None:
    """What one of them says holds, whatever its number; two in one file are two."""
    site.file.with_suffix(".r0").write_bytes(pem(site.crl()))
    site.file.with_suffix(".r1").write_bytes(site.crl(site.bob))
    site.file.with_suffix(".r12").write_bytes(b"text before\n" + pem(site.crl()) + pem(site.crl(site.alice)))
    revocations = site.revocations()
    assert refused(revocations, site.chain(site.alice))
    assert refused(revocations, site.chain(site.bob))


def test_files_of_other_names_are_not_read(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Only what OpenSSL would look for: `hash.rN`."""
    for name in ("test.r0", "12345678.rx", "12345678.r0.bak", "12345678.crl_url", "12345678.0.r0"):
        (site.directory / name).write_bytes(site.crl(site.alice))
    (site.directory / "12345679.r0").symlink_to("nothing")
    assert refused(site.revocations(), site.chain(site.alice)) == ""
    assert caplog.records == []


def test_a_crl_of_another_authority_of_the_same_name(
    site: Site, keys: list[rsa.RSAPrivateKey], caplog: pytest.LogCaptureFixture
) -> None:
    """After a change of keys two authorities have one name; only its own CRL counts for each."""
    other = Authority.create("Test CA", key=keys[3])
    subject = other.certificate.subject
    site.file.write_bytes(crl(subject, other.key, [site.alice.certificate]))
    revocations = site.revocations("if-present")
    assert refused(revocations, site.chain(site.alice)) == ""
    assert caplog.messages == [f"the CRL {site.file} is signed by no authority of that name there"]
    assert "is not there" in refused(site.revocations("required"), site.chain(site.alice))
    # The other's users are refused by it, though its certificate is not in the directory.
    alice = other.issue(site.alice.certificate.subject, key=keys[1])
    site.file.write_bytes(crl(subject, other.key, [alice.certificate]))
    revocations.refresh()
    assert refused(revocations, chain(alice, other))


def test_an_authority_that_spells_its_name_otherwise_in_its_crl(site: Site) -> None:
    """As OpenSSL compares names: letters' case, blanks and kinds of strings do not matter."""
    name = x509.Name(
        [
            *site.authority.certificate.subject.rdns[:-1],
            x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.COMMON_NAME, " TEST  ca")]),
        ]
    )
    site.file.write_bytes(crl(name, site.authority.key, [site.alice.certificate]))
    assert refused(site.revocations("required"), site.chain(site.alice))
    assert refused(site.revocations("required"), site.chain(site.bob)) == ""


KEYS: dict[str, Callable[[], Any]] = {
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
}


@pytest.mark.parametrize("make_key", KEYS.values(), ids=KEYS)
def test_signatures_of_other_kinds(tmp_path: Path, make_key: Callable[[], Any]) -> None:
    """Authorities of today have other keys than RSA."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "EC CA")])
    key, other = make_key(), make_key()
    root = certificate(name, key, name, key, ca=True)
    user = certificate(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "u")]), other, name, key)
    (tmp_path / f"{subject_hash(name)}.r0").write_bytes(crl(name, key, [user]))
    assert refused(Revocations(tmp_path, "if-present"), chain(user, root))
    (tmp_path / f"{subject_hash(name)}.r0").write_bytes(crl(name, other, [user]))
    assert refused(Revocations(tmp_path, "if-present"), chain(user, root)) == ""


def test_rsa_pss(site: Site) -> None:
    """The newer padding of RSA."""
    site.file.write_bytes(site.crl(site.alice, pss=True))
    revocations = site.revocations("required")
    assert refused(revocations, site.chain(site.alice))
    assert refused(revocations, site.chain(site.bob)) == ""


# --- CRLs that are out of date


def test_a_crl_out_of_date(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """What it says still holds; the others are refused where a CRL is required, and only there."""
    site.revoke(site.alice, lifetime=timedelta(minutes=-1))
    lax, strict = site.revocations("if-present"), site.revocations("required")
    assert refused(lax, site.chain(site.alice))
    assert refused(lax, site.chain(site.bob)) == ""
    assert "is revoked by" in refused(strict, site.chain(site.alice))
    assert refused(strict, site.chain(site.bob)).endswith(f"the CRL of {CA} is out of date")
    first, second = caplog.messages
    assert f"the CRL of {CA} is out of date since" in first
    assert first.endswith("what it says still holds")
    assert second.endswith("its users are refused")


def test_a_crl_comes_of_age(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Its end is noticed while the program runs, told once, and undone by a new one."""
    site.revoke(lifetime=HOUR)
    revocations = site.revocations("required")
    path = site.chain(site.bob)
    assert refused(revocations, path) == ""
    assert not revocations.refresh()
    site.clock.now += 2 * HOUR
    assert revocations.refresh()
    assert "out of date" in refused(revocations, path)
    assert not revocations.refresh()
    assert len(caplog.messages) == 1
    site.revoke(lifetime=3 * HOUR)
    assert revocations.refresh()
    assert refused(revocations, path) == ""


def test_one_of_two_is_in_date(site: Site) -> None:
    """An old CRL that was left lying does not make the new one useless."""
    site.revoke(site.alice, lifetime=timedelta(minutes=-1))
    site.file.with_suffix(".r1").write_bytes(site.crl())
    revocations = site.revocations("required")
    assert refused(revocations, site.chain(site.bob)) == ""
    assert refused(revocations, site.chain(site.alice))


# --- following the directory


def test_edits_take_effect(site: Site) -> None:
    """A new CRL, a newer one, one by way of a link, and the removal of all."""
    revocations, path = site.revocations(), site.chain(site.alice)
    assert not revocations.refresh()
    site.revoke()
    assert revocations.refresh()
    assert refused(revocations, path) == ""
    site.revoke(site.alice)
    assert revocations.refresh()
    assert refused(revocations, path)
    assert not revocations.refresh()
    elsewhere = site.directory.parent / "elsewhere.r0"
    site.file.rename(elsewhere)
    site.file.symlink_to(elsewhere)
    site.file.with_suffix(".r1").symlink_to(elsewhere)
    revocations.refresh()
    assert refused(revocations, path)
    site.file.unlink()
    site.file.with_suffix(".r1").unlink()
    assert revocations.refresh()
    assert refused(revocations, path) == ""


WHOLE = pem(b"\x30\x03\x02\x01\x01")
BROKEN = {
    "empty": b"",
    "no CRL": b"no CRL",
    "cut short": WHOLE[:-30],
    "no base64": WHOLE.replace(b"MA", b"!!"),
    "no DER": WHOLE,
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_crl(site: Site, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """It is told once, as an error, and what the file said before stays in force."""
    site.revoke(site.alice)
    revocations = site.revocations("required")
    site.file.write_bytes(content)
    for _ in range(3):
        revocations.refresh()
    assert refused(revocations, site.chain(site.alice))
    assert refused(revocations, site.chain(site.bob)) == ""
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert f"the CRL {site.file} is not used: it " in record.getMessage()
    assert record.getMessage().endswith("(the one before stays in force)")
    site.revoke()
    assert revocations.refresh()
    assert refused(revocations, site.chain(site.alice)) == ""


def test_a_crl_that_was_always_broken(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """It is as good as none."""
    site.file.write_bytes(b"no CRL")
    assert refused(site.revocations("if-present"), site.chain(site.alice)) == ""
    assert "is not there" in refused(site.revocations("required"), site.chain(site.alice))
    assert all(message.startswith(f"the CRL {site.file} is not used") for message in caplog.messages)


def test_the_directory_goes_away(site: Site) -> None:
    """A file system that is not there for a while makes nobody trusted again."""
    site.revoke(site.alice)
    revocations = site.revocations()
    away = site.directory.rename(site.directory.parent / "away")
    with pytest.raises(FileNotFoundError):
        revocations.refresh()
    assert refused(revocations, site.chain(site.alice))
    with pytest.raises(FileNotFoundError):
        site.revocations()
    away.rename(site.directory)
    assert not revocations.refresh()
    assert refused(revocations, site.chain(site.alice))


SCOPES = {
    "delta": x509.DeltaCRLIndicator(1),
    "indirect": x509.IssuingDistributionPoint(None, None, False, False, None, True, False),
}


@pytest.mark.parametrize("scope", SCOPES)
def test_crls_of_other_kinds(site: Site, scope: str, caplog: pytest.LogCaptureFixture) -> None:
    """What lists changes only, or the certificates of others, is no whole CRL, and refused as such."""
    site.file.write_bytes(site.crl(site.alice, extensions=[SCOPES[scope]]))
    assert refused(site.revocations(), site.chain(site.alice)) == ""
    assert f"{scope} CRL: put the" in caplog.text


# --- connections that stay open


def test_a_known_chain_is_asked_about_again(site: Site) -> None:
    """A credential that was read before is refused once it is revoked, and given again once it is not."""
    revocations = site.revocations()
    cache = ChainCache(revoked=revocations)
    path = site.chain(site.proxy)
    first = cache.get(path)
    assert cache.get(path) is first
    site.revoke(site.alice)
    assert cache.get(path) is first  # not looked at yet
    revocations.refresh()
    for _ in range(2):
        with pytest.raises(PeerError, match="is revoked by"):
            cache.get(path)
        assert len(cache) == 0
    assert cache.get(site.chain(site.bob)).dn.endswith("bob")
    site.revoke()
    revocations.refresh()
    assert cache.get(path) == first


def test_a_known_chain_is_not_asked_about_at_every_call(site: Site) -> None:
    """Only after a change: a call must not pay for it."""
    asked = []

    class Counting(Revocations):
        def check(self, chain: Any) -> None:
            asked.append(chain)
            super().check(chain)

    revocations = Counting(site.directory, "if-present")
    cache = ChainCache(revoked=revocations)
    for _ in range(3):
        cache.get(site.chain(site.proxy))
    assert len(asked) == 1
    site.revoke()
    revocations.refresh()
    for _ in range(3):
        cache.get(site.chain(site.proxy))
    assert len(asked) == 2
