"""Client methods about the caller itself."""

from modelward._async.connection import AsyncConnection
from modelward.caller import Caller
from modelward.shared.convert.caller import caller_from_proto
from modelward.v1 import lifecycle_pb2 as pb


class AsyncIdentity(AsyncConnection):
    """Who the client is to the server."""

    async def get_caller(self) -> Caller:
        """Return who this client is to the server: the name that is recorded, and the permissions.

        Returns:
            The caller: of the token, JWT or certificate; where the server requires no authentication, the name that
            the client states, with the role admin.

        Raises:
            NotAuthenticated: the credential is missing, unknown, expired or revoked.

        Examples:
            >>> caller = await mw.get_caller()
            >>> print(caller.role, caller.authenticated)
            admin False
        """
        return caller_from_proto(await self._call(self._lifecycle.GetCaller, pb.GetCallerRequest()))
