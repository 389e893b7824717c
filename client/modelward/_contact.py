"""First contact: whether a client has ever reached its server, and the likely cause when it has not."""

import grpc

from modelward.errors import DeadlineExceeded, ModelwardError, Unavailable, UnexpectedError

FIRST_CONTACT_SECONDS = 2.0
"""For how long a call is retried while no server has ever answered: a wrong address is more likely than a server that
is about to start.
"""

CAUSES = {
    "Connection refused": "nothing is listening there; is the server running, and is the port correct?",
    "WRONG_VERSION_NUMBER": "the server does not use TLS; omit the credentials (for a command: unset MODELWARD_CA)",
    "CERTIFICATE_VERIFY_FAILED": "the credentials do not trust the issuer of its certificate; include its "
    "root certificate with grpc.ssl_channel_credentials(root_certificates=...) (for a command: set MODELWARD_CA)",
    "Hostname Verification": "its certificate is for another host; use a host name that the certificate contains",
    "not in peer certificate": "its certificate is for another host; use a host name that the certificate contains",
    "Failed parsing HTTP/2": "it is an HTTP/1 server, such as a web server; is the port correct?",
    "http1": "it is an HTTP/1 server, such as a web server; is the port correct?",
    "resolving": "the host name cannot be resolved",
    "DNS resolution failed": "the host name cannot be resolved",
    "timed out": "there is no response; is the host correct, and does a firewall allow the port?",
}
CLOSED = ("Socket closed", "Connection reset", "Broken pipe")
WITHOUT_TLS = (
    "it closes the connection, which suggests that it requires TLS; pass credentials=grpc.ssl_channel_credentials(...) "
    "(for a command: set MODELWARD_CA)"
)
WITH_TLS = "it closes the connection, which suggests that it requires a client certificate; add one to the credentials"


class Unreachable(Unavailable):
    """No server has ever answered at the address; retrying helps only briefly."""


class Contact:
    """Records whether a server has ever answered a client.

    Args:
        target: the address as the caller gave it.
        encrypted: whether the client uses TLS.
    """

    def __init__(self, target: str, *, encrypted: bool) -> None:
        self._target = target
        self._encrypted = encrypted
        self._made = False
        self._last_cause = ""

    def made(self) -> None:
        """Record that a server answered."""
        self._made = True

    def explained(self, failure: ModelwardError, cause: BaseException) -> ModelwardError:
        """Return the error that ended a call, with advice about the address when no server has answered yet.

        Args:
            failure: the error that the caller would see.
            cause: the gRPC exception.
        """
        never_came = isinstance(cause, grpc.RpcError) and cause.code() is grpc.StatusCode.UNAVAILABLE
        if type(failure) is Unavailable and never_came and not self._made:
            return Unreachable(f"no Modelward server answers at {self._target}: {self._reason(failure.message)}")
        if not isinstance(failure, Unavailable | DeadlineExceeded | UnexpectedError):
            self.made()
        return failure

    def _reason(self, message: str) -> str:
        """Return the likely cause; of a host's several addresses, a response says more than a refusal."""
        if not self._last_cause or "Connection refused" not in message:
            self._last_cause = self._cause(message)
        return self._last_cause

    def _cause(self, message: str) -> str:
        if any(words in message for words in CLOSED):
            return WITH_TLS if self._encrypted else WITHOUT_TLS
        return next((reason for words, reason in CAUSES.items() if words in message), message)
