"""The command that asks how a server is."""

import click
import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from modelward import Client
from modelward._wire import error_of
from modelward.cli.output import Output
from modelward.cli.remote import remote

PARTS = {"": "server", "database": "database", "mlflow": "MLflow"}
CHECK = "/grpc.health.v1.Health/Check"


@click.command()
@remote
def health(client: Client, out: Output) -> None:
    """Say whether server, database and MLflow answer.

    The exit code is 1 when the server does not serve.
    """
    found = {said: _state(client, name) for name, said in PARTS.items()}
    out.record(found, found)
    if found["server"] != "serving":
        raise click.exceptions.Exit(1)


def _state(client: Client, name: str) -> str:
    call = client._channel.unary_unary(
        CHECK,
        request_serializer=HealthCheckRequest.SerializeToString,
        response_deserializer=HealthCheckResponse.FromString,
    )
    try:
        answer = call(HealthCheckRequest(service=name), timeout=client._timeout, metadata=client._metadata)
    except grpc.RpcError as error:
        raise error_of(error) from None
    return HealthCheckResponse.ServingStatus.Name(answer.status).lower().replace("_", " ")
