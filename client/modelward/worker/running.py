"""What a worker needs of work that is under way, and how a job reaches it."""

from typing import Protocol

from google.protobuf.json_format import MessageToJson, Parse

from modelward.retraining import Job
from modelward.shared.convert.retraining import job_from_proto, job_to_proto
from modelward.v1 import retraining_pb2 as pb


class Run(Protocol):
    """Work that is under way."""

    def finished(self, seconds: float) -> bool:
        """Wait so long at the most, and return whether it has ended."""
        ...

    def failure(self) -> str:
        """Return why it failed; empty when it ended well."""
        ...

    def log(self) -> str:
        """Return what it printed, or only the end of that."""
        ...

    def stop(self) -> None:
        """End it, whatever it does, and give back what it holds."""
        ...


def job_to_json(job: Job) -> str:
    """Write a job in the contract's JSON, for work in any language."""
    return MessageToJson(job_to_proto(job), preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def job_from_json(text: str | bytes) -> Job:
    """Read a job that `job_to_json` wrote, as a command finds it on its standard input."""
    return job_from_proto(Parse(text, pb.Job(), ignore_unknown_fields=True))
