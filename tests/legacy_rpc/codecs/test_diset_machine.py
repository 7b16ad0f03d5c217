"""A DISET client and a DISET server talk to each other in every order that Hypothesis can think of.

The machine is the wire: it hands over what each side has said in pieces of any length, lets both sides ping
at any time, decides when the server admits, refuses or answers, and asserts what the other side then sees.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from legacy_rpc.codecs.diset import (
    Arguments,
    ClientConversation,
    DisetLimits,
    FrameReader,
    Ping,
    ServerConversation,
    keep_alive,
)
from legacy_rpc.codecs.encodings import DENCODE, JENCODE, Encoding, decode_any
from legacy_rpc.messages import Errno, Failure, Outcome, Proposal, Reply

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | words
    | st.dates()
    | st.datetimes().map(lambda moment: moment.replace(microsecond=0, fold=0)),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["a", "b", "OK", "kaping"]), inner),
    max_leaves=8,
)
extras = st.dictionaries(st.sampled_from(["JobID", "InvalidJobIDs"]), values)
failures = st.builds(Failure, words, st.sampled_from([0, *Errno]).map(int), extras)
outcomes = st.builds(Reply, values, extras) | failures
proposals = st.builds(
    Proposal,
    service=words,
    action=st.sampled_from(["RPC", "Message"]),
    method=words,
    extra_credentials=st.sampled_from(["", "hosts", ["/CN=x", "group"]]),
    client_version=words,
    setup=words,
    vo=words,
)
names = words | st.integers()
piece_lengths = st.integers(1, 12) | st.integers(1, 400)


def pongs_in(said: bytes) -> list[str | int]:
    """The names under which a side answered pings, in whole frames of its own."""
    reader = FrameReader(len(said))
    reader.feed(said)
    received = [(each.keep_alive, decode_any(each.payload)[0]) for each in iter(reader.next_frame, None)]
    return [message["Value"]["id"] for keeps_alive, message in received if keeps_alive]


class Connection(RuleBasedStateMachine):
    """One call, from the proposal to the result."""

    @initialize(
        proposal=proposals,
        arguments=st.lists(values, max_size=3),
        encoding=st.sampled_from([DENCODE, JENCODE]),
    )
    def connect(self, proposal: Proposal, arguments: list[Any], encoding: Encoding) -> None:
        """The client proposes."""
        self.proposal, self.arguments, self.encoding = proposal, arguments, encoding
        self.client = ClientConversation(proposal, arguments, encoding)
        self.server = ServerConversation(DisetLimits())
        self.upward, self.downward = self.client.start(), b""
        self.heard: list[Proposal | Arguments] = []
        self.admitted = False
        self.outcome: Outcome | None = None
        self.asked_server: list[str | int] = []  # pings on their way to it, in order; and what it answered
        self.server_answered: list[str | int] = []
        self.asked_client: list[str | int] = []
        self.client_answered: list[str | int] = []

    # --- the wire

    @precondition(lambda self: self.upward)
    @rule(length=piece_lengths)
    def carry_upward(self, length: int) -> None:
        """Some bytes reach the server."""
        self.to_server(length)

    def to_server(self, length: int) -> None:
        """Hand over so many bytes."""
        piece, self.upward = self.upward[:length], self.upward[length:]
        self.server.feed(piece)
        self.listen()

    def listen(self) -> None:
        """The server hears what it can."""
        while (event := self.server.next_event()) is not None:
            if isinstance(event, Ping):
                pong = self.server.pong(event)
                assert pongs_in(pong) == [event.id]
                self.server_answered.append(event.id)
                self.downward += pong
            else:
                assert isinstance(event, Proposal | Arguments)
                self.heard.append(event)

    @precondition(lambda self: self.downward)
    @rule(length=piece_lengths)
    def carry_downward(self, length: int) -> None:
        """Some bytes reach the client, which says what it has to."""
        self.to_client(length)

    def to_client(self, length: int) -> None:
        """Hand over so many bytes."""
        piece, self.downward = self.downward[:length], self.downward[length:]
        said = self.client.feed(piece)
        self.client_answered += pongs_in(said)
        self.upward += said

    # --- both sides

    @rule(name=names)
    def client_pings(self, name: str | int) -> None:
        """Between two messages of its own, or too late, the client asks whether the server is alive."""
        self.asked_server.append(name)
        self.upward += keep_alive(self.encoding, name, asks=True)

    @precondition(lambda self: self.heard and self.outcome is None)
    @rule(name=names)
    def server_pings(self, name: str | int) -> None:
        """While a call is decided or runs the server asks whether the client is alive."""
        self.asked_client.append(name)
        self.downward += self.server.ping(str(name))

    @precondition(lambda self: self.heard and not self.admitted and self.outcome is None)
    @rule()
    def admit(self) -> None:
        """The server lets the client in, and hears what has come meanwhile."""
        self.downward += self.server.accept()
        self.admitted = True
        self.listen()

    @precondition(lambda self: self.heard and not self.admitted and self.outcome is None)
    @rule(failure=failures)
    def refuse(self, failure: Failure) -> None:
        """The server does not let the client in."""
        self.downward += self.server.refuse(failure)
        self.outcome = failure

    @precondition(lambda self: len(self.heard) == 2 and self.outcome is None)
    @rule(outcome=outcomes)
    def answer(self, outcome: Outcome) -> None:
        """The call has ended."""
        self.downward += self.server.answer(outcome)
        self.outcome = outcome

    # --- what each side sees

    @invariant()
    def the_server_hears_what_was_asked(self) -> None:
        """First the proposal, then the arguments, once each, and no arguments before it let the client in."""
        expected = [self.proposal, Arguments(self.arguments)][: len(self.heard)]
        assert repr(self.heard) == repr(expected)
        assert len(self.heard) < 2 or self.admitted
        assert self.server.acknowledged is (self.admitted and self.outcome is None)

    @invariant()
    def the_client_sees_the_outcome(self) -> None:
        """Nothing before the outcome was said; then that."""
        if self.client.result is not None:
            assert self.outcome is not None
            assert repr(self.client.result) == repr(self.outcome.as_result())

    @invariant()
    def pings_are_answered_in_order(self) -> None:
        """Each side answers what it was asked, and nothing else."""
        assert self.server_answered == self.asked_server[: len(self.server_answered)]
        asked = [str(name) for name in self.asked_client]
        assert self.client_answered == asked[: len(self.client_answered)]

    def teardown(self) -> None:
        """Once all bytes have arrived, nobody waits for what the other has already said."""
        while self.upward or self.downward:
            self.to_client(len(self.downward))
            self.to_server(len(self.upward))
        assert self.heard  # the proposal at least
        assert (self.client.result is not None) is (self.outcome is not None)
        assert (len(self.heard) == 2) is self.admitted
        assert len(self.client_answered) == len(self.asked_client)  # all were asked before the outcome
        if self.admitted and self.outcome is None:
            assert len(self.server_answered) == len(self.asked_server)


TestConnection = Connection.TestCase
TestConnection.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
