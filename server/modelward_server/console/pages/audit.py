"""The audit log: who changed what and when; verified, and exported.

Only callers who may reach every model may read the log. Others see the changes of stage of their own models.
"""

import json
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from starlette.requests import Request

from modelward import AsyncClient
from modelward.lifecycle import AuditRecord, AuditVerification, Transition
from modelward_server.console.downloads import csv_lines, json_lines
from modelward_server.console.pages.lists import ROWS, first
from modelward_server.console.pages.parameters import MOMENT, instant, query_of, whole_number

TEMPLATE = "audit"
BLOCK = 500
"""The records that are read at once while a filter is applied."""
SEARCHED = 5000
"""The most records that one page searches; its link to older ones goes on from there."""
TRANSITION = "transition"
"""The kind of a change of stage."""
TOLD = {
    "outcome": "{}",
    "state": "{}",
    "stage": "in {}",
    "holder": "held by {}",
    "role": "with the role {}",
    "reason": "{}",
    "summary": "{}",
    "job_id": "{}",
    "schedule_id": "{}",
}
"""What is told of the state after a change, where the state has it."""
COLUMNS = ("sequence", "happened_at", "actor", "kind", "model", "version", "change", "state", "hash")


@dataclass(frozen=True)
class Change:
    """One change: a record of the audit log, or a change of stage."""

    sequence: int
    happened_at: datetime
    actor: str
    kind: str
    model: str
    version: int
    """0 for a change of the model as a whole."""
    words: str
    """What it led to, in words; may be empty."""
    state: str
    """The state after it, as JSON; empty where the caller sees changes of stage without the log."""
    hash: str
    """Of the record; empty for a change of stage, which a caller with few models sees without the log."""


Found: TypeAlias = tuple[list[Change], int, str]
"""Changes, the number that older ones precede, 0 if there are none, and of a change of stage its time."""


@dataclass(frozen=True)
class Filter:
    """Which changes are shown; empty fields and None do not matter."""

    model: str
    actor: str
    kind: str
    since: datetime | None
    until: datetime | None
    subject: str = ""
    """Part of the state after a change, such as an id."""

    def keeps(self, change: Change) -> bool:
        """Return whether a change is shown."""
        return (
            self.model in ("", change.model)
            and self.actor in ("", change.actor)
            and self.kind in ("", change.kind)
            and (self.since is None or self.since <= change.happened_at)
            and (self.until is None or change.happened_at < self.until)
            and self.subject in change.state
        )

    @property
    def given(self) -> dict[str, str]:
        """The filter's fields as texts; empty ones do not matter."""
        since, until = self.since.isoformat() if self.since else "", self.until.isoformat() if self.until else ""
        return {"model": self.model, "actor": self.actor, "kind": self.kind, "since": since, "until": until}

    @property
    def query(self) -> str:
        """The filter as the query of an address."""
        return query_of(self.given)


@dataclass(frozen=True)
class View:
    """What the page shows."""

    filter: Filter
    changes: Sequence[Change]
    """The newest first."""
    whole: bool
    """Whether these are records of the log, and not only changes of stage."""
    older: str
    """The query of the page of older changes; empty if there are none."""
    searched_to: int
    """The record down to which the filter was applied, where it found less than a page."""


@dataclass(frozen=True)
class Verified:
    """What the verification of the log found."""

    verification: AuditVerification
    expected_hash: str


async def fetch(client: AsyncClient, request: Request) -> View:
    """Fetch the changes that the query asks for; `before` in it is the sequence number that they precede.

    Raises:
        InvalidField: a time is not an instant, or `before` not a number.
    """
    chosen, before = filter_of(request), whole_number(request, "before", digits=17)
    whole = await may_read_log(client)
    if whole:
        found = await records(client, chosen, before)
    else:
        found = await _transitions(client, chosen, before, instant(request, "at"))
    changes, end, at = found
    older = query_of({**chosen.given, "before": str(end), "at": at}) if end else ""
    return View(chosen, changes, whole, older, end if len(changes) < ROWS else 0)


async def verify(client: AsyncClient, expected_hash: str) -> Verified:
    """Verify the whole log.

    Args:
        client: the user's.
        expected_hash: of a record that was noted earlier; may be empty.

    Raises:
        ModelNotAllowed: the user may not reach every model.
        InvalidField: the hash is not one.
    """
    return Verified(await client.verify_audit_log(expected_hash=expected_hash), expected_hash)


async def as_json_lines(client: AsyncClient, request: Request) -> AsyncIterator[str]:
    """Yield the changes that the query asks for as lines of JSON: in the order of the log, or the newest first."""
    async for part in json_lines(origin async for _, origin in _changes(client, filter_of(request))):
        yield part


async def as_csv(client: AsyncClient, request: Request) -> AsyncIterator[str]:
    """Yield the same as CSV."""
    changes = _changes(client, filter_of(request))
    async for part in csv_lines(COLUMNS, (_cells(change) async for change, _ in changes)):
        yield part


def filter_of(request: Request) -> Filter:
    """Return the filter in a query.

    Raises:
        InvalidField: a time is not an instant.
    """
    model, actor, kind = (request.query_params.get(name, "").strip() for name in ("model", "actor", "kind"))
    return Filter(model, actor, kind, instant(request, "since"), instant(request, "until"))


async def may_read_log(client: AsyncClient) -> bool:
    """Return whether the user may read the log: he may reach every model."""
    return not (await client.get_caller()).model_prefixes


async def _changes(client: AsyncClient, chosen: Filter) -> AsyncIterator[tuple[Change, AuditRecord | Transition]]:
    """Yield each change that a filter keeps, and what it was made of."""
    origins: AsyncIterable[AuditRecord | Transition]
    if await may_read_log(client):
        origins = client.export_audit_log()
    else:
        origins = client.list_transitions(chosen.model, moved_after=chosen.since, moved_before=chosen.until)
    async for origin in origins:
        change = _of_record(origin) if isinstance(origin, AuditRecord) else _of_transition(origin)
        if chosen.keeps(change):
            yield change, origin


async def records(client: AsyncClient, chosen: Filter, before: int) -> Found:
    """Return the newest records that a filter keeps, of those before a number; 0: of all."""
    end = before - 1 if before else await _last(client, chosen.until)
    lowest, size = max(end - SEARCHED, 0), BLOCK if chosen.query else ROWS
    found: list[Change] = []
    while end > lowest:
        begin = max(end - size, lowest) + 1
        block = [_of_record(one) async for one in client.export_audit_log(from_sequence=begin, to_sequence=end)]
        found += [change for change in reversed(block) if chosen.keeps(change)]
        if len(found) >= ROWS:
            oldest = found[ROWS - 1].sequence
            return found[:ROWS], oldest if oldest > 1 else 0, ""
        if chosen.since and block and block[0].happened_at < chosen.since:
            return found, 0, ""
        end = begin - 1
    return found, end + 1 if end > 0 else 0, ""


async def _last(client: AsyncClient, until: datetime | None) -> int:
    """Return the number of the last record before an instant, or of all; 0 if there is none.

    The log is exported from its beginning only, so the end is searched for, from the last change of stage on.
    """
    moves = await first(client.list_transitions(moved_before=until), 1)
    last, step = moves[0].sequence if moves else 0, 1
    while await _is_before(client, last + step, until):
        last, step = last + step, 2 * step
    while step > 1:
        step //= 2
        last += step if await _is_before(client, last + step, until) else 0
    return last


async def _is_before(client: AsyncClient, sequence: int, until: datetime | None) -> bool:
    async for record in client.export_audit_log(from_sequence=sequence, to_sequence=sequence):
        return until is None or record.happened_at < until
    return False


async def _transitions(client: AsyncClient, chosen: Filter, before: int, at: datetime | None) -> Found:
    """Return the same of changes of stage; `at` is the time of the one that they precede."""
    until = at + MOMENT if at else chosen.until
    found: list[Change] = []
    searched = 0
    async for move in client.list_transitions(chosen.model, moved_after=chosen.since, moved_before=until):
        change, searched = _of_transition(move), searched + 1
        if (not before or change.sequence < before) and chosen.keeps(change):
            found.append(change)
        if len(found) == ROWS or searched == SEARCHED:
            return found, change.sequence, change.happened_at.isoformat()
    return found, 0, ""


def _of_record(record: AuditRecord) -> Change:
    return Change(
        record.sequence,
        record.happened_at,
        record.actor,
        record.kind,
        record.model,
        record.version,
        _words_of(record),
        record.payload,
        record.hash,
    )


def _words_of(record: AuditRecord) -> str:
    state = json.loads(record.payload)
    if not isinstance(state, dict):
        return ""
    if record.kind == TRANSITION:
        return _words(state.get("from_stage"), str(state.get("to_stage")), str(state.get("reason", "")))
    return ", ".join(text.format(state[name]) for name, text in TOLD.items() if state.get(name))


def _of_transition(move: Transition) -> Change:
    words, where = _words(move.from_stage, move.to_stage, move.reason), move.version
    return Change(move.sequence, move.moved_at, move.actor, TRANSITION, where.model, where.version, words, "", "")


def _words(from_stage: str | None, to_stage: str, reason: str) -> str:
    begun = f"{from_stage} to" if from_stage else "in"
    return f"{begun} {to_stage}: {reason}" if reason else f"{begun} {to_stage}"


def _cells(change: Change) -> Sequence[object]:
    return (
        change.sequence,
        change.happened_at.isoformat(),
        change.actor,
        change.kind,
        change.model,
        change.version or "",
        change.words,
        change.state,
        change.hash,
    )
