"""The interface of running work, and the JSON form of a job."""

from typing import Protocol

from google.protobuf.json_format import MessageToJson, Parse

from modelward.retraining import Job
from modelward.shared.convert.retraining import job_from_proto, job_to_proto
from modelward.v1 import retraining_pb2 as pb


class Run(Protocol):
    """Running work on a job."""

    def finished(self, seconds: float) -> bool:
        """Wait for the work.

        Args:
            seconds: how long to wait at most.

        Returns:
            Whether it has ended.
        """
        ...

    def failure(self) -> str:
        """Return why the work failed.

        Returns:
            The reason in words; empty when it succeeded.
        """
        ...

    def log(self) -> str:
        """Return the output of the work.

        Returns:
            Its output, or only the end of it.
        """
        ...

    def stop(self) -> None:
        """End it unconditionally, and release its resources."""
        ...


def job_to_json(job: Job) -> str:
    """Format a job in the contract's JSON, for work in any language.

    Args:
        job: the job.

    Returns:
        The JSON, with the field names of `retraining.proto`.
    """
    return MessageToJson(job_to_proto(job), preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def job_from_json(text: str | bytes) -> Job:
    """Parse a job from the output of `job_to_json`, which a command receives on its standard input.

    Args:
        text: the JSON; fields that this version does not know are ignored.

    Returns:
        The job.
    """
    return job_from_proto(Parse(text, pb.Job(), ignore_unknown_fields=True))
