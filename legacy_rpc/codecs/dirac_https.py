"""DIRAC's JSON over HTTPS, without I/O: what a TornadoClient posts, and what it is answered.

A call is a form, posted to ``/System/Component``::

    method=getJobsStatus&args=[[1, 2]]&clientVO=demo&clientSetup=None&extraCredentials="hosts"

with JEncode in ``args`` and ``extraCredentials``; ``rawContent`` asks for a file's bytes instead of a value.
The answer is a JEncoded ``S_OK`` or ``S_ERROR``.  Source: legacy-wire.md, section 6.
"""

from __future__ import annotations

import re
import secrets
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from typing import Any
from urllib.parse import urlencode

from legacy_rpc.codecs import jencode
from legacy_rpc.codecs.diset import DisetLimits, result_of
from legacy_rpc.codecs.steps import Steps, in_one_go
from legacy_rpc.messages import RPC, PeerError, Proposal

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"

# The method that a client calls to have a file, and to send one.
DOWNLOAD, UPLOAD = "streamToClient", "streamFromClient"

# What a site's own configuration may put before the name of a service that is reached by HTTPS.
PREFIX = "Tornado"
# The one whose own name begins so: there is none without.
OWN_NAMES = frozenset({"TornadoPilotLogging"})

# A TornadoClient sends six.
MOST_FIELDS = 50
# Where a percent sign begins three bytes, so many times as many bytes stand for a file's, base64 included.
LARGEST_GROWTH = 4


@dataclass(frozen=True, slots=True)
class HttpsLimits:
    """The largest message and file, in bytes, and the deepest nesting that a client may send."""

    message: int = 16 * 1024 * 1024
    transfer: int = 1024 * 1024 * 1024
    depth: int = 200

    @property
    def body(self) -> int:
        """The largest body: that which carries the largest file."""
        return self.message + LARGEST_GROWTH * self.transfer


class TooLarge(PeerError):
    """The client sends more than it may."""


Form = Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Question:
    """What a form asks.  ``arguments`` are read only when the caller has been admitted."""

    proposal: Proposal
    arguments_text: bytes
    raw: bool

    def arguments(self, depth: int) -> Sequence[Any]:
        """The arguments.  Raises PeerError."""
        return read_arguments(self.arguments_text, depth)

    def arguments_in_pieces(self, depth: int) -> Steps[Sequence[Any]]:
        """The same, piece by piece."""
        return read_arguments_in_pieces(self.arguments_text, depth)


def service_name(path: str) -> str:
    """The service that a URL's path names, with or without DIRAC's prefix for HTTPS services."""
    system, slash, component = path.strip("/").rpartition("/")
    name = component if component in OWN_NAMES else component.removeprefix(PREFIX)
    return f"{system}{slash}{name}"


def read_question(path: str, form: Form, **shells: str) -> Question:
    """What is asked, with what the shell knows of the client.  Raises PeerError.

    A field that is there twice counts as its last, one that is not known is passed over.
    """
    method = _text(form, "method")
    if not method:
        raise PeerError("The form has no field `method`")
    extra = form.get("extraCredentials", b"").strip()
    proposal = Proposal(
        service=service_name(path),
        action=RPC,
        method=method,
        extra_credentials=_json("extraCredentials", extra) if extra else "",
        setup=_text(form, "clientSetup"),
        vo=_text(form, "clientVO"),
        **shells,
    )
    return Question(proposal, form.get("args", b"[]"), raw=_text(form, "rawContent").lower() in _YES)


# DIRAC takes any word for yes; a client that writes the other one out means it.
_YES = ("true", "yes", "y", "1")


def read_arguments(text: bytes, depth: int) -> Sequence[Any]:
    """The arguments.  Raises PeerError."""
    return in_one_go(read_arguments_in_pieces(text, depth))


def read_arguments_in_pieces(text: bytes, depth: int) -> Steps[Sequence[Any]]:
    """The same, piece by piece."""
    try:
        arguments = yield from jencode.decode_in_pieces(text, max_depth=depth)
    except PeerError as error:
        raise _unreadable("args", error) from None
    if not isinstance(arguments, list):
        raise PeerError("The field `args` must hold a JSON list")
    return arguments


def _text(form: Form, name: str) -> str:
    try:
        return form.get(name, b"").decode().strip()
    except UnicodeDecodeError:
        raise PeerError(f"The field `{name}` is no UTF-8") from None


def _json(name: str, text: bytes, depth: int = 10) -> Any:
    try:
        return jencode.decode(text, max_depth=depth)
    except PeerError as error:
        raise _unreadable(name, error) from None


def _unreadable(name: str, error: PeerError) -> PeerError:
    return PeerError(f"The field `{name}` cannot be read: {error}")


# --- forms


def read_form(body: bytes, content_type: str) -> Form:
    """The fields of a whole form; ``content_type`` is the header's value.  Raises PeerError."""
    header = Message()
    header["Content-Type"] = content_type
    if header.get_content_type() == MULTIPART:
        boundary = header.get_boundary()
        if not boundary:
            raise PeerError("A multipart form needs a boundary in its Content-Type")
        return _multipart(body, boundary.encode("utf-8", "surrogateescape"))
    return _urlencoded(body)


def _urlencoded(body: bytes) -> Form:
    fields = body.split(b"&", MOST_FIELDS)
    if len(fields) > MOST_FIELDS:
        raise PeerError(f"The form has more than {MOST_FIELDS} fields")
    form = {}
    for field in filter(None, fields):
        name, _, value = field.partition(b"=")
        form[_name(unquoted(name))] = unquoted(value)
    return form


def _name(name: bytes) -> str:
    return name.decode("utf-8", "replace").strip()


def unquoted(value: bytes) -> bytes:
    """What a form's percent-encoded text stands for.  Raises PeerError.

    Ten times as fast as the library's, which looks at every sign in Python: megabytes come in forms.
    """
    if b"+" in value:
        value = value.replace(b"+", b" ")
    if b"%" not in value:
        return value
    escaped = value.replace(b"\\", b"\\\\").replace(b"%", b"\\x")
    try:
        return escaped.decode("unicode_escape").encode("latin-1")
    except UnicodeDecodeError:
        raise PeerError(
            "The form is not percent-encoded: a % needs two hexadecimal digits after it"
        ) from None


def _multipart(body: bytes, boundary: bytes) -> Form:
    """RFC 7578: every part between two delimiters is a field with its name in a header."""
    parts = (b"\r\n" + body).split(b"\r\n--" + boundary, MOST_FIELDS + 2)
    end = next((index for index, part in enumerate(parts) if index and part.startswith(b"--")), None)
    if end is None:
        raise PeerError(f"The multipart form does not end, or has more than {MOST_FIELDS} fields")
    form = {}
    for part in parts[1:end]:
        head, blank, value = part.partition(b"\r\n\r\n")
        if not blank:
            raise PeerError("A part of the multipart form has no headers")
        form[_part_name(head)] = value
    return form


def _part_name(head: bytes) -> str:
    """The name in a part's Content-Disposition."""
    for line in head.split(b"\r\n"):
        name, _, value = line.decode("utf-8", "replace").partition(":")
        if name.strip().lower() == "content-disposition":
            header = Message()
            header["Content-Disposition"] = value.strip()
            field = header.get_param("name", header="content-disposition")
            if isinstance(field, str):
                return field
    raise PeerError("A part of the multipart form has no name")


# --- a file in a form

# A string in `args` that is longer than this is the file.
LONG_STRING = 64 * 1024
# What may stand beside the file.
_BESIDE = 1024 * 1024
_IN_STRING = re.compile(rb'"|\\.', re.DOTALL)


class UploadReader:
    """Reads an urlencoded form whose ``args`` hold a file as base64, piece by piece.

    The method must be named before.  ``feed`` gives the file's bytes as they come; the rest of the form is
    kept until the ``end``.
    """

    def __init__(self, limits: HttpsLimits) -> None:
        self._limits = limits
        self._before = bytearray()
        self._after: bytearray | None = None
        self._in_arguments = False
        self._undecoded = b""
        self._arguments = _FileInJson(limits.transfer)

    def feed(self, data: bytes) -> bytes:
        """Take what came; returns what of the file was in it.

        Raises PeerError; TooLarge for a form that is no upload, or brings more than it may.
        """
        if self._after is not None:
            self._after += data
            self._check(self._after)
            return b""
        if not self._in_arguments:
            data = self._begin(data)
            if not self._in_arguments:
                return b""
        value, ended, rest = data.partition(b"&")
        value = self._undecoded + value
        cut = len(value)
        if not ended and (percent := value.rfind(b"%", -2)) >= 0:
            cut = percent
        self._undecoded = value[cut:]
        file = self._arguments.feed(unquoted(value[:cut]))
        if ended:
            self._after = bytearray(rest)
            self._check(self._after)
        return file

    def _begin(self, data: bytes) -> bytes:
        """Look for the arguments; returns what came of them."""
        self._before += data
        start = 0 if self._before.startswith(b"args=") else self._before.find(b"&args=") + 1
        found = start > 0 or self._before.startswith(b"args=")
        if not found:
            self._check(self._before)
            return b""
        rest = bytes(self._before[start + len(b"args=") :])
        del self._before[start:]
        if _urlencoded(bytes(self._before)).get("method", b"").strip() != UPLOAD.encode():
            raise self._too_large()
        self._in_arguments = True
        return rest

    def _check(self, beside: bytearray) -> None:
        if len(beside) > min(_BESIDE, self._limits.message):
            raise self._too_large()

    def end(self) -> tuple[Form, Sequence[Any], bytes]:
        """All is there: the form but for ``args``, the arguments but for the file, and a file that is short.

        Raises PeerError.
        """
        if not self._in_arguments:
            raise self._too_large()
        if self._undecoded:
            unquoted(self._undecoded)
        text, mark = self._arguments.end()
        arguments = read_arguments(text, self._limits.depth)
        if len(arguments) != 4 or not isinstance(arguments[3], bytes) or (mark and arguments[3] != mark):
            raise PeerError(
                f"{UPLOAD} takes fileID, token, size and data, and data must be the file in base64"
            )
        fields = bytes(self._before) + bytes(self._after or b"")
        return _urlencoded(fields), arguments[:3], b"" if mark else arguments[3]

    def _too_large(self) -> TooLarge:
        return TooLarge(f"A call is larger than the limit of {self._limits.message} bytes")


class _FileInJson:
    """Takes the one long string, base64, out of JSON text, and leaves a mark in its place."""

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._mark = secrets.token_bytes(24)
        self._text = bytearray()
        self._string_start: int | None = None
        self._escape = b""
        self._in_file = False
        self._found = False
        self._base64 = _Base64Reader()
        self._size = 0

    def feed(self, text: bytes) -> bytes:
        """Take JSON text; returns what of the file was in it."""
        return b"".join(self._file_in(self._escape + text))

    def _file_in(self, text: bytes) -> Iterator[bytes]:
        self._escape = b""
        at = 0
        while at < len(text):
            if self._in_file:
                end = text.find(b'"', at)
                yield self._decoded(text[at : end if end >= 0 else len(text)])
                if end < 0:
                    return
                self._base64.end()
                self._in_file, self._string_start = False, None
                self._text += b2a_base64(self._mark, newline=False) + b'"'
                at = end + 1
            elif self._string_start is None:
                quote = text.find(b'"', at)
                stop = quote + 1 if quote >= 0 else len(text)
                self._text += text[at:stop]
                if quote >= 0:
                    self._string_start = len(self._text)
                at = stop
            else:
                at = self._in_string(text, at)
                if not self._in_file and len(self._text) > _BESIDE:
                    raise TooLarge("The arguments beside the file are too large")
                if self._in_file:
                    yield self._decoded(self._diverted())

    def _in_string(self, text: bytes, at: int) -> int:
        """Go on in a string: to its end, or to where it proves to be the file."""
        assert self._string_start is not None
        found = _IN_STRING.search(text, at)
        closed = found is not None and found.group() == b'"'
        stop = found.end() - closed if found else len(text)
        if found is None and text.endswith(b"\\"):
            self._escape, stop = b"\\", stop - 1
        self._text += text[at:stop]
        if len(self._text) - self._string_start > LONG_STRING:
            if self._found:
                raise TooLarge("The arguments hold more than one file")
            self._found = self._in_file = True
        elif closed:
            self._text += b'"'
            self._string_start = None
            stop += 1
        return stop + len(self._escape)

    def _diverted(self) -> bytes:
        """What was taken for a string like others: it is the file's beginning."""
        assert self._string_start is not None
        beginning = bytes(self._text[self._string_start :])
        del self._text[self._string_start :]
        return beginning

    def _decoded(self, base64: bytes) -> bytes:
        file = self._base64.feed(base64)
        self._size += len(file)
        if self._size > self._largest:
            raise TooLarge(f"The file is larger than the limit of {self._largest} bytes")
        return file

    def end(self) -> tuple[bytes, bytes]:
        """The text without the file, and what stands in its place; nothing where there was no long string.

        Raises PeerError.
        """
        if self._in_file or self._string_start is not None:
            raise PeerError("The field `args` ends inside a string")
        return bytes(self._text), self._mark if self._found else b""


class _Base64Reader:
    """Decodes base64 in pieces of any length."""

    def __init__(self) -> None:
        self._rest = b""
        self._padded = False

    def feed(self, text: bytes) -> bytes:
        text = self._rest + text
        whole = len(text) // 4 * 4
        self._rest = text[whole:]
        if not whole:
            return b""
        if self._padded:
            raise PeerError("The file goes on after the end of its base64")
        self._padded = text[whole - 1] == ord("=")
        try:
            return a2b_base64(text[:whole], strict_mode=True)
        except Base64Error as error:
            raise PeerError(f"The file is no base64: {error}") from None

    def end(self) -> None:
        if self._rest:
            raise PeerError("The file is no base64: it ends too early")


# --- the client's side


def write_form(proposal: Proposal, arguments: Sequence[Any], *, raw: bool = False) -> bytes:
    """The form of a call.  Raises TypeError for arguments that JEncode cannot hold."""
    fields = {
        "method": proposal.method,
        "args": jencode.encode(list(arguments)),
        "clientVO": proposal.vo,
        "clientSetup": proposal.setup,
    }
    if proposal.extra_credentials:
        fields["extraCredentials"] = jencode.encode(proposal.extra_credentials)
    if raw:
        fields["rawContent"] = "True"
    return urlencode(fields).encode()


def read_result(body: bytes, limits: DisetLimits) -> Steps[dict[str, Any]]:
    """The dictionary that an answer of status 200 holds, piece by piece.  Raises PeerError."""
    result = yield from jencode.decode_in_pieces(body, max_depth=limits.depth, max_values=limits.values)
    return result_of(result)
