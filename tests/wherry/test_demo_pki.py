"""OpenSSL believes in the throw-away grid, and refuses what was made to be refused."""

import _ssl
import shutil
import ssl
import stat
import subprocess
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from legacy_rpc.credentials import credential_from_chain
from wherry.demo.pki import Authority, Key, KeyPair, make_key, make_keys, make_proxy, subject_hash

ALICE = "/DC=org/DC=wherry/OU=people/CN=alice"


@dataclass(frozen=True)
class Grid:
    """An authority with its directory, a host, a user, and a spare key for proxies."""

    directory: Path
    authority: Authority
    host: KeyPair
    alice: KeyPair
    spare: Key


@pytest.fixture(scope="module")
def grid(tmp_path_factory) -> Grid:
    ca_key, host_key, alice_key, spare = make_keys(4)
    authority = Authority.create("Test CA", key=ca_key)
    directory = tmp_path_factory.mktemp("grid") / "ca"
    authority.write_directory(directory)
    return Grid(
        directory,
        authority,
        authority.issue_host("wherry.example.org", key=host_key),
        authority.issue_user("alice", key=alice_key),
        spare,
    )


# --- TLS


def server_context(grid: Grid, tmp_path: Path) -> ssl.SSLContext:
    """A server's side, set up as reference sheet section 4.4 says."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_verify_locations(capath=grid.directory)
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_ALLOW_PROXY_CERTS
    context.set_ciphers("DEFAULT:@SECLEVEL=1")
    context.load_cert_chain(grid.host.write(tmp_path / "host.pem"))
    return context


def client_context(grid: Grid, tmp_path: Path, client: KeyPair) -> ssl.SSLContext:
    """A client's side, as strict as Python can be."""
    context = ssl.create_default_context(capath=grid.directory)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.set_ciphers("DEFAULT:@SECLEVEL=1")
    context.load_cert_chain(client.write(tmp_path / "client.proxy"))
    return context


def handshake(grid: Grid, tmp_path: Path, client: KeyPair, hostname: str = "localhost") -> list[bytes]:
    """The client's chain as the server verified it; ssl.SSLError if either side refuses."""
    upward, downward = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context(grid, tmp_path).wrap_bio(upward, downward, server_side=True)
    peer = client_context(grid, tmp_path, client).wrap_bio(downward, upward, server_hostname=hostname)
    waiting = [peer, server]
    while waiting:
        for side in list(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)
    chain = server._sslobj.get_verified_chain()
    return [certificate.public_bytes(_ssl.ENCODING_DER) for certificate in chain]


def test_a_proxy_shakes_hands(grid, tmp_path):
    """OpenSSL accepts a proxy, and its chain proves the user and the group."""
    credential = credential_from_chain(handshake(grid, tmp_path, make_proxy(grid.alice, "demo_user")))
    assert (credential.dn, credential.group, credential.is_proxy) == (ALICE, "demo_user", True)
    assert 86390 <= credential.seconds_left() <= 86400


def test_a_proxy_of_a_proxy(grid, tmp_path):
    """A limited second step that carries the group is accepted as well."""
    first = make_proxy(grid.alice, key=make_key())
    second = make_proxy(first, "demo_user", limited=True, key=grid.spare)
    credential = credential_from_chain(handshake(grid, tmp_path, second))
    assert (credential.dn, credential.group, credential.limited) == (ALICE, "demo_user", True)
    assert len(second.chain) == 2


def test_a_proxy_key_of_1024_bits(grid, tmp_path):
    """DIRAC 7.3's proxies have such keys; a server with SECLEVEL 1 takes them."""
    proxy = make_proxy(grid.alice, key=make_key(1024))
    assert credential_from_chain(handshake(grid, tmp_path, proxy)).dn == ALICE


def test_a_host_calls(grid, tmp_path):
    """A host's certificate serves and calls."""
    credential = credential_from_chain(handshake(grid, tmp_path, grid.host))
    assert credential.dn == "/DC=org/DC=wherry/OU=hosts/CN=wherry.example.org"
    assert not credential.is_proxy


@pytest.mark.parametrize("hostname", ["localhost", "wherry.example.org", "127.0.0.1", "::1"])
def test_the_names_of_a_host(grid, tmp_path, hostname):
    """A strict client finds the host under its own name and as the local host."""
    assert handshake(grid, tmp_path, grid.alice, hostname)


def test_a_host_named_localhost(grid):
    """A name is not listed twice."""
    host = grid.authority.issue_host("localhost", key=grid.spare)
    names = host.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert names.get_values_for_type(x509.IPAddress) == [ip_address("127.0.0.1"), ip_address("::1")]


def test_a_forger(grid, tmp_path):
    """An authority of the same name and another key convinces nobody."""
    forger = Authority.create("Test CA", key=grid.spare)
    assert forger.certificate.subject == grid.authority.certificate.subject
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(grid, tmp_path, make_proxy(forger.issue_user("alice", key=grid.spare), key=grid.spare))


@pytest.mark.parametrize("expired", ["user", "proxy"])
def test_expired(grid, tmp_path, expired):
    """A negative lifetime makes a certificate that is refused."""
    ago, ahead = timedelta(minutes=-1), timedelta(hours=1)
    user = grid.authority.issue_user(
        "alice", lifetime=ago if expired == "user" else ahead, key=grid.alice.key
    )
    proxy = make_proxy(user, lifetime=ago if expired == "proxy" else ahead, key=grid.spare)
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        handshake(grid, tmp_path, proxy)


# --- files


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_proxy_file(grid, tmp_path):
    """Certificate, key and chain in this order, readable by the owner only, also in place of a laxer file."""
    path = tmp_path / "x509up"
    path.write_text("older and longer" * 1000)
    path.chmod(0o644)
    proxy = make_proxy(grid.alice, key=grid.spare)
    assert proxy.write(path) == path
    assert mode(path) == 0o600
    text = path.read_bytes()
    assert x509.load_pem_x509_certificates(text) == [proxy.certificate, grid.alice.certificate]
    key = load_pem_private_key(text[text.index(b"-----BEGIN RSA") :], None)
    assert key.private_numbers() == grid.spare.private_numbers()
    kinds = [line.split(b"-")[5] for line in text.splitlines() if line.startswith(b"-----BEGIN")]
    assert kinds == [b"BEGIN CERTIFICATE", b"BEGIN RSA PRIVATE KEY", b"BEGIN CERTIFICATE"]


def test_files_of_a_host(grid, tmp_path):
    """Certificate and key apart; the key is its owner's."""
    grid.host.write_pair(tmp_path / "hostcert.pem", tmp_path / "hostkey.pem")
    assert (mode(tmp_path / "hostcert.pem"), mode(tmp_path / "hostkey.pem")) == (0o644, 0o600)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
        tmp_path / "hostcert.pem", tmp_path / "hostkey.pem"
    )


def test_a_key_is_not_shown(grid):
    """The key does not appear in a log."""
    assert "key" not in repr(grid.alice)


def test_a_certificate_starts_in_the_past(grid):
    """Clocks may be 15 minutes apart."""
    proxy = make_proxy(grid.alice, lifetime=timedelta(hours=1), key=grid.spare).certificate
    assert proxy.not_valid_after_utc - proxy.not_valid_before_utc == timedelta(hours=1, minutes=15)


# --- names of files in a directory of authorities

CN, ORG, COUNTRY = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.COUNTRY_NAME


def name(*attributes: tuple) -> x509.Name:
    return x509.Name([x509.NameAttribute(*attribute) for attribute in attributes])


NAMES = [
    name((CN, "Test CA")),
    name((COUNTRY, "CH"), (ORG, "Grid"), (CN, "Oracle CA")),
    name((COUNTRY, "ch"), (ORG, "GRID"), (CN, "oracle ca")),
    name((ORG, "  The \t\n Old   Grid "), (CN, "A\x0b\x0cB")),
    name((ORG, "Université de Genève"), (CN, "İSTANBUL ÀÉ")),
    name((ORG, "\u00a0no\u2003blank\u00a0"), (CN, "x")),
    name((CN, "José", _ASN1Type.BMPString)),
    name((CN, "J" * 64), (ORG, "long" * 16), (NameOID.USER_ID, "u" * 200)),
    name((NameOID.DOMAIN_COMPONENT, "Org"), (NameOID.EMAIL_ADDRESS, "CA@Example.org")),
    name((x509.ObjectIdentifier("2.999.16384.1"), "X y"), (CN, "z")),
    x509.Name([x509.RelativeDistinguishedName(name((CN, "b"), (NameOID.USER_ID, "A"), (ORG, "c")))]),
]


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")
@pytest.mark.parametrize("subject", NAMES, ids=[str(subject)[6:36] for subject in NAMES])
def test_the_hash_of_a_name(grid, subject):
    """It is the one that openssl computes, whatever the case, blanks, letters and string types."""
    authority = Authority.create(subject, key=grid.spare)
    command = ["openssl", "x509", "-noout", "-hash"]
    answer = subprocess.run(command, input=authority.certificate_pem(), capture_output=True, check=True)
    assert subject_hash(authority.certificate.subject) == answer.stdout.decode().strip()


def test_a_known_hash(grid, tmp_path):
    """A directory gets the file that openssl would look for."""
    unit = NameOID.ORGANIZATIONAL_UNIT_NAME
    subject = name((COUNTRY, "CH"), (ORG, "Grid"), (unit, "Lab"), (CN, "Oracle CA"))
    path = Authority.create(subject, key=grid.spare).write_directory(tmp_path / "new" / "ca")
    assert (path.name, mode(path)) == ("e152478b.0", 0o644)


# --- what was revoked


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")
def test_a_list_of_revoked_certificates(tmp_path):
    """OpenSSL finds and honours it; a second one takes its place; one may be out of date."""
    authority = Authority.create("Revoking CA")
    directory = authority.write_directory(tmp_path / "ca").parent
    alice, bob = (authority.issue_user(each, key=authority.key) for each in ("alice", "bob"))

    def verdict(user: KeyPair) -> str:
        certificate = user.write(tmp_path / "user.pem")
        command = ["openssl", "verify", "-crl_check", "-CApath", str(directory), str(certificate)]
        return subprocess.run(command, capture_output=True, text=True).stderr

    assert "unable to get certificate CRL" in verdict(alice)
    path = authority.write_crl(directory, [alice])
    assert (path.name, mode(path)) == (f"{subject_hash(authority.certificate.subject)}.r0", 0o644)
    assert "certificate revoked" in verdict(alice)
    assert verdict(bob) == ""
    authority.write_crl(directory, [bob.certificate])
    assert verdict(alice) == ""
    assert "certificate revoked" in verdict(bob)
    authority.write_crl(directory, lifetime=timedelta(days=-1))
    assert "CRL has expired" in verdict(alice)
