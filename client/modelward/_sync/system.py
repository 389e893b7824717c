# Derived from modelward/_async/system.py by client/unasync.py: change that one.
"""Client methods about the server itself."""

from google.protobuf.empty_pb2 import Empty

from modelward._sync.connection import Connection
from modelward.shared.convert.system import system_from_proto
from modelward.shared.health import list_method, read_health
from modelward.shared.retry import CALL_ERRORS
from modelward.system import Health, SystemInfo
from modelward.v1 import lifecycle_pb2 as pb


class System(Connection):
    """The state of the server."""

    def get_health(self) -> Health:
        """Return the health of the server's parts, services and background tasks; it requires no credential.

        Returns:
            The states.

        Raises:
            Unavailable: the server does not answer.

        Examples:
            >>> health = mw.get_health()
            >>> health.parts["database"]
            'serving'
        """
        self._check_open()
        call = self._channel.stub(list_method)
        try:
            return read_health(self._read(call(Empty(), timeout=self._timeout, metadata=self._metadata)))
        except CALL_ERRORS as error:
            raise self._failure(error) from None

    def get_system(self) -> SystemInfo:
        """Return the settings of the server that answers, without any secret, and the servers that share its ledger.

        Returns:
            Settings and replicas.

        Raises:
            RoleTooLow: it requires an operator who may reach every model.

        Examples:
            >>> system = mw.get_system()
            >>> print({setting.name: setting.shown for setting in system.settings}["webhooks_secret"])
            not set
            >>> len(system.replicas)
            1
        """
        return system_from_proto(self._call(self._lifecycle.GetSystem, pb.GetSystemRequest()))
