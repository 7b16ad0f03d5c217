"""Chains of every shape, and what each proves (reference sheet ``legacy-wire.md`` section 4.2).

The outcomes of the table were seen at a DIRAC 9.1.22 server with the same chains.
"""

import ctypes
import ctypes.util
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from legacy_rpc.credentials import (
    DIRAC_GROUP,
    PROXY_INFORMATION,
    SHORT_NAMES,
    ChainCache,
    credential_from_chain,
    openssl_dn,
)
from legacy_rpc.messages import PeerError
from wherry.demo.pki import Authority, Key, KeyPair, make_keys, make_proxy

ALICE = "/DC=org/DC=wherry/OU=people/CN=alice"
FULL_POLICY = bytes.fromhex("300c300a06082b06010505071501")
LIMITED_POLICY_AND_PATH_LENGTH = bytes.fromhex("3012020100300d060b2b060104019b5001010109")


def extension(oid: x509.ObjectIdentifier, value: bytes) -> tuple[x509.ExtensionType, bool]:
    return x509.UnrecognizedExtension(oid, value), False


@dataclass(frozen=True)
class Grid:
    """An authority, alice, and one spare key for all proxies: keys are what takes time."""

    authority: Authority
    alice: KeyPair
    spare: Key

    def chain(self, leaf: KeyPair) -> list[bytes]:
        """The chain as TLS verifies it."""
        return list(map(der, [leaf.certificate, *leaf.chain, self.authority.certificate]))

    def proxy(self, *steps: tuple[str | None, bool], lifetime: timedelta = timedelta(days=1)) -> KeyPair:
        """A proxy of alice's in steps of (group, limited), the first one made by alice herself."""
        owner = self.alice
        for group, limited in steps:
            owner = make_proxy(owner, group, limited=limited, lifetime=lifetime, key=self.spare)
        return owner

    def odd_proxy(self, cn: str, *extensions: tuple[x509.ExtensionType, bool]) -> list[bytes]:
        """The chain of a certificate that alice signed, with whatever extensions."""
        subject = x509.Name([*self.alice.certificate.subject, x509.NameAttribute(NameOID.COMMON_NAME, cn)])
        alice = Authority(self.alice.certificate, self.alice.key)
        leaf = alice.issue(subject, extensions, key=self.spare)
        return self.chain(KeyPair(leaf.certificate, leaf.key, (self.alice.certificate,)))


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


@pytest.fixture(scope="module")
def grid() -> Grid:
    authority_key, alice_key, spare = make_keys(3)
    authority = Authority.create("Test CA", key=authority_key)
    return Grid(authority, authority.issue_user("alice", key=alice_key), spare)


# --- chains

SHAPES = {
    "one proxy": ([("lab_admin", False)], (True, False, "lab_admin")),
    "no group": ([(None, False)], (True, False, None)),
    "empty group": ([("", False)], (True, False, None)),
    "limited": ([("lab_admin", True)], (True, True, "lab_admin")),
    "limited of full": ([("lab_admin", False), (None, True)], (True, True, "lab_admin")),
    "limited of limited": ([(None, True), ("lab_admin", True)], (True, True, "lab_admin")),
    "full of limited": ([("lab_admin", True), (None, False)], (False, False, None)),
    "full of limited of full": ([("lab_admin", False), (None, True), (None, False)], (False, False, None)),
    "group in the second": ([(None, False), ("lab_admin", False)], (True, False, "lab_admin")),
    "group changed": ([("lab_user", False), ("lab_admin", False)], (True, False, "lab_user")),
}


@pytest.mark.parametrize(("steps", "expected"), SHAPES.values(), ids=SHAPES)
def test_proxies_in_any_number_of_steps(grid, steps, expected):
    """Limited ones must be contiguous from the leaf; the group nearest to the end entity holds."""
    proxy = grid.proxy(*steps)
    credential = credential_from_chain(grid.chain(proxy))
    assert (credential.is_proxy, credential.limited, credential.group) == expected
    assert credential.dn == (ALICE if credential.is_proxy else credential.subject)
    assert credential.subject == openssl_dn(proxy.certificate.subject)
    assert credential.issuer == openssl_dn(proxy.certificate.issuer)


@settings(max_examples=30, deadline=None)
@given(
    steps=st.lists(st.tuples(st.sampled_from([None, "", "a", "b"]), st.booleans()), min_size=1, max_size=5)
)
def test_any_proxy_path(grid, steps):
    """A path is a proxy unless a full proxy follows a limited one, and then the first group holds."""
    credential = credential_from_chain(grid.chain(grid.proxy(*steps)))
    limits = [limited for _, limited in steps]
    sound = (True, False) not in pairwise(limits)
    groups = [group for group, _ in steps if group]
    assert credential.is_proxy is sound
    assert credential.limited is (sound and any(limits))
    assert credential.group == (groups[0] if sound and groups else None)
    assert (credential.dn == ALICE) is sound


def test_a_certificate_without_proxy(grid):
    """A user's own certificate speaks for its subject and carries no group."""
    credential = credential_from_chain(grid.chain(grid.alice))
    assert (credential.dn, credential.subject) == (ALICE, ALICE)
    assert credential.issuer == "/DC=org/DC=wherry/CN=Test CA"
    assert (credential.is_proxy, credential.limited, credential.group) == (False, False, None)


def test_a_chain_without_its_root(grid):
    """What the client sent, without the authority, proves the same."""
    chain = grid.chain(grid.proxy(("lab_user", False)))
    assert credential_from_chain(chain[:-1]).dn == ALICE


def test_expires_with_the_first_certificate_of_the_chain(grid):
    """A proxy that claims to outlive its user does not."""
    user = grid.authority.issue_user("alice", lifetime=timedelta(hours=1), key=grid.alice.key)
    proxy = make_proxy(user, lifetime=timedelta(days=9), key=grid.spare)
    credential = credential_from_chain(grid.chain(proxy))
    assert credential.expires == user.certificate.not_valid_after_utc
    assert 3590 <= credential.seconds_left() <= 3600


def test_an_expired_chain_can_be_read(grid):
    """Expiry is no error of reading: nothing is left of it."""
    proxy = grid.proxy(("lab_user", False), lifetime=timedelta(minutes=-5))
    assert credential_from_chain(grid.chain(proxy)).seconds_left() == 0


# --- what is no proxy


def test_a_proxy_with_another_signature(grid):
    """A certificate that looks like alice's proxy but is not signed with her key is not hers."""
    forger = KeyPair(grid.alice.certificate, grid.spare)
    credential = credential_from_chain(grid.chain(make_proxy(forger, "lab_admin", key=grid.spare)))
    assert (credential.is_proxy, credential.group) == (False, None)
    assert credential.dn == credential.subject != ALICE


def test_a_proxy_under_another_name(grid):
    """A proxy's name is its issuer's and one part more."""
    chain = grid.odd_proxy("1", extension(PROXY_INFORMATION, FULL_POLICY))
    bob = grid.authority.issue_user("bob", key=grid.alice.key)
    credential = credential_from_chain([chain[0], *grid.chain(bob)])
    assert (credential.is_proxy, credential.dn) == (False, f"{ALICE}/CN=1")


def test_an_authority_makes_no_proxies(grid):
    """A user whom the authority named `proxy` is not taken for the authority (DIRAC does)."""
    subject = x509.Name(
        [*grid.authority.certificate.subject, x509.NameAttribute(NameOID.COMMON_NAME, "proxy")]
    )
    user = grid.authority.issue(subject, key=grid.spare)
    credential = credential_from_chain(grid.chain(user))
    assert (credential.is_proxy, credential.dn) == (False, "/DC=org/DC=wherry/CN=Test CA/CN=proxy")


@pytest.mark.parametrize(("name", "limited"), [("proxy", False), ("limited proxy", True)])
def test_proxies_from_before_rfc_3820(grid, name, limited):
    """Old proxies say by their last CN what they are."""
    credential = credential_from_chain(grid.odd_proxy(name))
    assert (credential.is_proxy, credential.limited, credential.dn) == (True, limited, ALICE)


def test_a_certificate_of_an_end_entity_is_no_proxy_of_another(grid):
    """Neither a proxy's extension nor a proxy's name: alice cannot issue identities."""
    credential = credential_from_chain(grid.odd_proxy("bob"))
    assert (credential.is_proxy, credential.dn) == (False, f"{ALICE}/CN=bob")


def test_a_path_length_before_the_policy(grid):
    """The optional path length does not hide the policy."""
    chain = grid.odd_proxy("1", extension(PROXY_INFORMATION, LIMITED_POLICY_AND_PATH_LENGTH))
    assert credential_from_chain(chain).limited


POLICY_LANGUAGES = {
    "independent": "300c300a06082b06010505071502",  # 1.3.6.1.5.5.7.21.2
    "any language": "300c300a06082b06010505071500",  # 1.3.6.1.5.5.7.21.0
    "a policy of its own": "300f300d06082b060105050715000401ff",
    "of Globus": "300f300d060b2b060104019b5001010108",  # 1.3.6.1.4.1.3536.1.1.1.8
}


@pytest.mark.parametrize("information", POLICY_LANGUAGES.values(), ids=POLICY_LANGUAGES)
def test_policies_that_inherit_nothing(grid, information):
    """A proxy with none of its user's rights, or with some that we cannot tell, has none (RFC 3820)."""
    group = extension(DIRAC_GROUP, b"\x16\x03lab")
    chain = grid.odd_proxy("1", extension(PROXY_INFORMATION, bytes.fromhex(information)), group)
    credential = credential_from_chain(chain)
    assert (credential.is_proxy, credential.group, credential.dn) == (False, None, f"{ALICE}/CN=1")


def test_a_proxy_of_a_proxy_that_inherits_nothing(grid):
    """What is made of it is no more than it is."""
    chain = grid.odd_proxy("1", extension(PROXY_INFORMATION, bytes.fromhex(POLICY_LANGUAGES["independent"])))
    independent = KeyPair(x509.load_der_x509_certificate(chain[0]), grid.spare, (grid.alice.certificate,))
    credential = credential_from_chain(grid.chain(make_proxy(independent, "lab", key=grid.spare)))
    assert credential.dn == f"{ALICE}/CN=1"


def test_attributes_of_voms(grid):
    """An attribute certificate of any content changes nothing: VOMS is not asked here."""
    voms = extension(x509.ObjectIdentifier("1.3.6.1.4.1.8005.100.100.5"), b"\x30\x82\xff\xffopaque")
    group = extension(DIRAC_GROUP, b"\x16\x03lab")
    chain = grid.odd_proxy("1", extension(PROXY_INFORMATION, FULL_POLICY), group, voms)
    credential = credential_from_chain(chain)
    assert (credential.is_proxy, credential.group, credential.dn) == (True, "lab", ALICE)


# --- where a group may stand


def test_a_group_in_the_users_certificate(grid):
    """It holds for the user's proxies, as at the oracle, though not for the certificate alone."""
    user = grid.authority.issue(
        grid.alice.certificate.subject, [extension(DIRAC_GROUP, b"\x16\x01a")], key=grid.alice.key
    )
    assert credential_from_chain(grid.chain(make_proxy(user, "b", key=grid.spare))).group == "a"
    assert credential_from_chain(grid.chain(user)).group is None


def test_a_group_above_the_user(grid):
    """A group in a certificate that is no part of the proxy path is not accepted."""
    chain = grid.chain(grid.proxy((None, False)))
    other = grid.authority.issue(
        grid.authority.certificate.subject, [extension(DIRAC_GROUP, b"\x16\x01a")], key=grid.spare
    )
    assert credential_from_chain([*chain[:-1], der(other.certificate)]).group is None


def test_a_long_group_name(grid):
    """A name of more than 127 characters has its length in a longer form."""
    group = "g" * 300
    assert credential_from_chain(grid.chain(grid.proxy((group, False)))).group == group


# --- what cannot be read


@pytest.mark.parametrize("group", [b"", b"\x16", b"\x16\x05abc", b"\x0c\x01a", b"lab", b"\x16\x01\xff"])
def test_a_malformed_group(grid, group):
    """A group that is no IA5String ends the connection, rather than leaving the choice to a later proxy."""
    chain = grid.odd_proxy("1", extension(PROXY_INFORMATION, FULL_POLICY), extension(DIRAC_GROUP, group))
    with pytest.raises(PeerError):
        credential_from_chain(chain)


@pytest.mark.parametrize("information", [b"", b"\x30\x00", FULL_POLICY[:-1], b"\x16\x02\x30\x00"])
def test_malformed_proxy_information(grid, information):
    """A proxy that does not say which policy it has is refused."""
    with pytest.raises(PeerError):
        credential_from_chain(grid.odd_proxy("1", extension(PROXY_INFORMATION, information)))


@pytest.mark.parametrize("chain", [[], [b""], [b"no certificate"], [b"\x30\x82\xff\xff"]])
def test_no_certificate(chain):
    """An empty chain and bytes that are no certificate end the connection."""
    with pytest.raises(PeerError):
        credential_from_chain(chain)


@settings(max_examples=200, deadline=None)
@given(which=st.integers(0, 3), where=st.integers(0), change=st.integers(1, 255))
def test_a_damaged_chain(grid, which, where, change):
    """A changed byte of a proxy's signed part costs it alice's name; anywhere, it raises only PeerError."""
    chain = grid.chain(grid.proxy(("a", False), (None, False)))
    damaged = bytearray(chain[which])
    position = where % len(damaged)
    signed = x509.load_der_x509_certificate(chain[which]).tbs_certificate_bytes
    # Outside it some bytes have two spellings: the signature's count of unused bits, for one.
    in_signed_part = 0 <= position - chain[which].index(signed) < len(signed)
    damaged[position] ^= change
    chain[which] = bytes(damaged)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # cryptography frowns at some serial numbers
        try:
            credential = credential_from_chain(chain)
        except PeerError:
            return
    is_proxy = which in (0, 1)  # the others were TLS's to verify
    assert credential.dn != ALICE or not (is_proxy and in_signed_part)


# --- DNs


def name(*rdns: dict[str, str], kind: _ASN1Type | None = None) -> x509.Name:
    """A name of these parts, each of one or more attributes by their dotted numbers."""
    return x509.Name(
        [
            x509.RelativeDistinguishedName(
                [x509.NameAttribute(x509.ObjectIdentifier(oid), value, kind) for oid, value in rdn.items()]
            )
            for rdn in rdns
        ]
    )


OIDS = {short: oid for oid, short in SHORT_NAMES.items()}
CN, UID = OIDS["CN"], OIDS["UID"]

DNS = [
    (
        name(
            {OIDS["C"]: "ch"},
            {OIDS["O"]: "DIRAC"},
            {OIDS["OU"]: "DIRAC CI"},
            {CN: "ciuser"},
            {OIDS["emailAddress"]: "ci@example.org"},
        ),
        "/C=ch/O=DIRAC/OU=DIRAC CI/CN=ciuser/emailAddress=ci@example.org",
    ),
    (name({OIDS["DC"]: "org"}, {CN: "José"}), r"/DC=org/CN=Jos\xC3\xA9"),
    (name({CN: "José"}, kind=_ASN1Type.BMPString), r"/CN=\x00J\x00o\x00s\x00\xE9"),
    (name({CN: "J"}, kind=_ASN1Type.UniversalString), r"/CN=\x00\x00\x00J"),
    (name({CN: "host/a.org"}, {CN: "a+b"}), r"/CN=host\/a.org/CN=a\+b"),
    (name({CN: "a b", UID: "u1"}), "/CN=a b+UID=u1"),
    (name({CN: 'a,b=c"d<e\\f'}), '/CN=a,b=c"d<e\\f'),
    (name({CN: "a\tb\x7f"}), r"/CN=a\x09b\x7F"),
    (name({"1.2.3.4": "x"}), "/1.2.3.4=x"),
    (name({CN: "x" * 64}, {OIDS["O"]: "é" * 64}), "/CN=" + "x" * 64 + "/O=" + r"\xC3\xA9" * 64),
    (x509.Name([]), ""),
]


@pytest.mark.parametrize(("certificate_name", "text"), DNS, ids=[text[:30] for _, text in DNS])
def test_dn(certificate_name, text):
    """A DN is printed as OpenSSL 3 does, from the bytes in the certificate."""
    assert openssl_dn(certificate_name) == text


def openssl_oneline():
    """OpenSSL's own X509_NAME_oneline, or None where there is no OpenSSL 3."""
    library = ctypes.CDLL(ctypes.util.find_library("crypto") or None)
    if not hasattr(library, "OPENSSL_version_major"):
        return None
    library.d2i_X509_NAME.restype = ctypes.c_void_p
    library.X509_NAME_oneline.restype = ctypes.c_char_p
    library.X509_NAME_oneline.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
    library.X509_NAME_free.argtypes = [ctypes.c_void_p]

    def oneline(encoded: bytes) -> str:
        start = ctypes.cast(ctypes.create_string_buffer(encoded, len(encoded)), ctypes.c_void_p)
        parsed = library.d2i_X509_NAME(None, ctypes.byref(start), ctypes.c_long(len(encoded)))
        text = ctypes.create_string_buffer(65536)
        library.X509_NAME_oneline(parsed, text, len(text))
        library.X509_NAME_free(parsed)
        return text.value.decode("ascii")

    return oneline


ONELINE = openssl_oneline()
ATTRIBUTES = st.builds(
    x509.NameAttribute,
    st.sampled_from([*SHORT_NAMES, "1.2.3.4"])
    .filter(lambda oid: oid != OIDS["C"])
    .map(x509.ObjectIdentifier),
    st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), min_size=1, max_size=20),
    st.sampled_from([_ASN1Type.UTF8String, _ASN1Type.BMPString, _ASN1Type.UniversalString]),
)
RDNS = st.lists(ATTRIBUTES, min_size=1, max_size=3, unique_by=lambda attribute: attribute.oid).map(
    x509.RelativeDistinguishedName
)


@pytest.mark.skipif(ONELINE is None, reason="needs the library of OpenSSL 3")
@settings(max_examples=50, deadline=None)
@given(rdns=st.lists(RDNS, min_size=1, max_size=5))
def test_dn_as_openssl_prints_it(grid, rdns):
    """A name in a certificate, of any string types, is printed as OpenSSL prints it."""
    subject = grid.authority.issue(x509.Name(rdns), key=grid.spare).certificate.subject
    assert openssl_dn(subject) == ONELINE(subject.public_bytes())


# --- the cache


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


def test_a_chain_is_read_once(grid):
    """The second look-up of a chain gives the same record."""
    cache, chain = ChainCache(), grid.chain(grid.proxy(("lab_user", False)))
    first = cache.get(chain)
    assert first == credential_from_chain(chain)
    assert cache.get(list(chain)) is first


def test_two_chains_of_one_leaf(grid):
    """The whole chain is the key: the same leaf above another user's certificate is another caller."""
    cache, chain = ChainCache(), grid.chain(grid.proxy(("lab_user", False)))
    assert cache.get(chain).is_proxy
    assert not cache.get([chain[0], chain[-1]]).is_proxy


def test_an_expired_chain_is_not_used(grid):
    """From the second at which a chain ends, it is refused and forgotten, also on a living connection."""
    clock = Clock()
    cache, chain = ChainCache(clock=clock), grid.chain(grid.proxy(("lab_user", False)))
    expires = cache.get(chain).expires
    clock.now = expires - timedelta(microseconds=1)
    assert cache.get(chain).dn == ALICE
    clock.now = expires
    for _ in range(2):
        with pytest.raises(PeerError, match="expired"):
            cache.get(chain)
        assert len(cache) == 0


def test_the_cache_is_bounded(grid):
    """The chain that was not used for longest makes room."""
    cache = ChainCache(size=2)
    first, second, third = (grid.chain(grid.proxy((group, False))) for group in "abc")
    kept, dropped = cache.get(first), cache.get(second)
    assert cache.get(first) is kept
    cache.get(third)
    assert len(cache) == 2
    assert cache.get(first) is kept
    assert cache.get(second) is not dropped


def test_what_cannot_be_read_is_not_kept():
    """A bad chain leaves no trace."""
    cache = ChainCache()
    with pytest.raises(PeerError):
        cache.get([b"no certificate"])
    assert len(cache) == 0
