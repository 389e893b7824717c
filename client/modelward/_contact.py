"""Whether a client ever reached its server, and what is most likely wrong when it did not."""

import grpc

from modelward.errors import DeadlineExceeded, ModelwardError, Unavailable, UnexpectedError

FIRST_CONTACT_SECONDS = 2.0
"""How long a call goes on trying while no server has ever answered: the address is wrong more often than the server is
about to start."""

CAUSES = {
    "Connection refused": "nothing listens there; is the server running, and is the port right?",
    "WRONG_VERSION_NUMBER": "the server speaks without TLS; leave credentials out (a command: MODELWARD_CA)",
    "CERTIFICATE_VERIFY_FAILED": "its certificate is of an authority that the credentials do not trust; give them the "
    "root certificate, as grpc.ssl_channel_credentials(root_certificates=...) (a command: MODELWARD_CA)",
    "Hostname Verification": "its certificate is for another host; call it by a name that the certificate has",
    "Failed parsing HTTP/2": "it is another server, of HTTP/1 as a web page; is the port right?",
    "http1": "it is another server, of HTTP/1 as a web page; is the port right?",
    "resolving": "no host has that name",
    "timed out": "no answer comes from there; is the host right, and does a firewall let the port through?",
}
CLOSED = ("Socket closed", "Connection reset", "Broken pipe")
WITHOUT_TLS = (
    "it closes the connection, as one with TLS does; give credentials=grpc.ssl_channel_credentials(...) "
    "(a command: MODELWARD_CA)"
)
WITH_TLS = "it closes the connection, as one does that wants a client's certificate; give the credentials one"


class Unreachable(Unavailable):
    """No server has ever answered at the address; trying again helps for a moment only."""


class Contact:
    """Knows whether a server has ever answered a client.

    Args:
        target: the address as the caller gave it.
        encrypted: whether the client speaks TLS.
    """

    def __init__(self, target: str, *, encrypted: bool) -> None:
        self._target = target
        self._encrypted = encrypted
        self._made = False
        self._told = ""

    def made(self) -> None:
        """Note that a server answered."""
        self._made = True

    def explained(self, failure: ModelwardError, cause: BaseException) -> ModelwardError:
        """Return what ended a call, with words about the address when no server has answered yet.

        Args:
            failure: the error that the caller would see.
            cause: what gRPC raised.
        """
        never_came = isinstance(cause, grpc.RpcError) and cause.code() is grpc.StatusCode.UNAVAILABLE
        if type(failure) is Unavailable and never_came and not self._made:
            return Unreachable(f"no Modelward server answers at {self._target}: {self._reason(failure.message)}")
        if not isinstance(failure, Unavailable | DeadlineExceeded | UnexpectedError):
            self.made()
        return failure

    def _reason(self, said: str) -> str:
        """Say what is wrong. A host has several addresses, so that one refuses says less than what another answered."""
        if not self._told or "Connection refused" not in said:
            self._told = self._cause(said)
        return self._told

    def _cause(self, said: str) -> str:
        if any(words in said for words in CLOSED):
            return WITH_TLS if self._encrypted else WITHOUT_TLS
        return next((reason for words, reason in CAUSES.items() if words in said), said)
