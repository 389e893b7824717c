"""Tries one version in a sandboxed process of its own."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from modelward.lifecycle import ModelVersion, Trial, TrialResult
from modelward.signature import Signature
from modelward_server.sandbox.answers import ModelProcessError, failure_text
from modelward_server.sandbox.sandbox import Limits, write_job
from modelward_server.sandbox.sandbox_process import start_process
from modelward_server.sandbox.scratch import job_folder

MAX_CLASSES = 100_000


async def try_version(
    version: ModelVersion, model: Path, example: bytes, limits: Limits, names: Sequence[str] = ()
) -> tuple[Trial, Signature | None]:
    """Load a version's model and let it predict.

    Args:
        version: the version.
        model: the file that holds its model.
        example: rows of its reference as an Arrow stream; empty if there are none: then rows are made from its
            signature.
        limits: the limits of its process.
        names: the features of its reference, in order.

    Returns:
        The result, and the signature that the model itself has; None if it did not predict.

    Raises:
        StoreUnavailable: no process could be started.
    """
    with job_folder() as folder:
        await asyncio.to_thread(write_job, folder, version, model, example, limits, limits.seconds, names)
        try:
            async with start_process(version.format, "try", folder) as process, asyncio.timeout(limits.seconds):
                answer = await process.answer()
        except ModelProcessError as failed:
            return _failed(TrialResult.UNUSABLE, str(failed)), None
        except TimeoutError:
            return _failed(TrialResult.UNUSABLE, f"was stopped after {limits.seconds:g} s, the time limit"), None
    return _read(answer, bool(example))


def _read(answer: dict[str, Any], with_reference: bool) -> tuple[Trial, Signature | None]:
    if "signature" not in answer:
        return _not_usable(answer, with_reference), None
    try:
        signature = Signature.from_dict(answer["signature"])
        rows = f"{int(answer['rows']):,} rows"
    except (KeyError, TypeError, ValueError):
        return _failed(TrialResult.UNUSABLE, "gave an answer that cannot be read"), None
    of = "of its reference" if with_reference else "made from its signature"
    return Trial(TrialResult.USABLE, "", f"{rows} {of}", datetime.now(UTC)), signature


def _not_usable(answer: dict[str, Any], with_reference: bool) -> Trial:
    """Return the trial of a model that did not predict; one that may need other rows than those made was not tried."""
    why = failure_text(answer.get("wrong_data") or answer.get("failure"))
    if "wrong_data" in answer:
        why = f"does not take its reference, which {why}" if with_reference else f"cannot be given rows: {why}"
    if with_reference or answer.get("certain") is not False:
        return _failed(TrialResult.UNUSABLE, why)
    why = f"{why} for rows made from its signature; set a reference, whose rows it is tried with"
    return _failed(TrialResult.NOT_TRIED, why)


def _failed(result: TrialResult, reason: str) -> Trial:
    return Trial(result, reason, "", datetime.now(UTC))
