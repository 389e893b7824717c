"""The stages as a state machine: whatever is done, in whatever order, the ledger agrees with a model of a few lines."""

import shutil
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import select
from sqlalchemy.orm import Session

from modelward.errors import (
    EtagMismatch,
    IllegalTransition,
    ModelHalted,
    ModelwardError,
    NoPredecessor,
    NothingResolved,
    RequestIdReused,
)
from modelward.inventory import Lineage
from modelward.lifecycle import ArtifactFile, Stage, VersionRef
from modelward.shared.convert.lifecycle import (
    model_to_proto,
    rollback_result_to_proto,
    transition_result_to_proto,
    version_to_proto,
)
from modelward.v1 import lifecycle_pb2 as pb
from modelward_server.actor_context import ActorContext
from modelward_server.lifecycle import halts, models, promotion, resolve, versions
from modelward_server.rpc.idempotency import _RequestKey, _run_once
from modelward_server.storage import audit
from modelward_server.storage.blobs import BlobStore
from modelward_server.storage.ledger import Ledger
from modelward_server.storage.tables import RequestRow, TransitionRow, VersionRow
from tests.support.scale import FULL

pytestmark = pytest.mark.system  # Takes seconds.

LEGAL = {
    ("training", "staging"),
    ("training", "archived"),
    ("staging", "production"),
    ("staging", "training"),
    ("staging", "archived"),
    ("production", "archived"),
    ("archived", "staging"),
}
"""Which moves a version may make, once more and in other words than the server's."""
NAMES = ("spx", "vix")
START = datetime(2024, 1, 2, 14, 30, tzinfo=UTC)
NOTHING = 0
MOST_VERSIONS = 4
"""Few, so that the same ones are moved again and again."""


@dataclass
class Expected:
    """What one model should look like."""

    stages: dict[int, Stage] = field(default_factory=dict)
    displaced: dict[int, int] = field(default_factory=dict)
    """By the number of a version: what was in production when it was promoted last."""
    left_last: int = NOTHING
    """The version that left production last."""
    reigns: list[tuple[datetime, int]] = field(default_factory=list)
    """Since when which version is in production."""
    changes: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    halted: bool = False

    @property
    def production(self) -> int:
        return next((number for number, stage in self.stages.items() if stage is Stage.PRODUCTION), NOTHING)

    def move(self, number: int, to: Stage, at: datetime) -> None:
        leaving = self.production if to is Stage.PRODUCTION or number == self.production else NOTHING
        if leaving:
            self.stages[leaving], self.left_last = Stage.ARCHIVED, leaving
            self.changes[leaving] += 1
        self.stages[number] = to
        self.changes[number] += 1
        self.reigns.append((at, self.production))

    def predecessor(self) -> int:
        return self.displaced.get(self.production, NOTHING) if self.production else self.left_last

    def production_at(self, at: datetime) -> int:
        return next((number for since, number in reversed(self.reigns) if since <= at), NOTHING)


@dataclass(frozen=True)
class Done:
    """A call that was answered."""

    request: Any
    change: Callable[[Session, ActorContext], Any]
    answer: Any


class Stages(RuleBasedStateMachine):
    """Two models, some versions, and a clock that goes back at times, as those of two servers do."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = TemporaryDirectory()
        shutil.copyfile(empty_ledger(), Path(self._folder.name, "ledger.db"))
        self.ledger = Ledger(f"sqlite:///{self._folder.name}/ledger.db")
        self.blobs = BlobStore(Path(self._folder.name, "blobs"))
        self.file = ArtifactFile("model.bin", 7, self.blobs.put_bytes(b"weights"))
        self.expected = {name: Expected() for name in NAMES}
        self.clock = START
        self.calls: list[Done] = []
        self.read_etags: list[tuple[VersionRef, str, int]] = []

    def teardown(self) -> None:
        self.ledger.close()
        self._folder.cleanup()

    @rule(seconds=st.integers(-3, 5))
    def time_passes(self, seconds: int) -> None:
        self.clock += timedelta(seconds=seconds)

    @precondition(lambda self: len(self.refs()) < MOST_VERSIONS)
    @rule(name=st.sampled_from(NAMES))
    def register(self, name: str) -> None:
        new = versions.NewVersion(name, [self.file], None, "", "", {}, {}, {"sharpe": 1.0})
        request = pb.RegisterModelVersionRequest(model=name, description=str(uuid4()), request_id=str(uuid4()))
        answer = self.act(
            request,
            lambda session, actor: pb.RegisterModelVersionResponse(
                version=version_to_proto(versions.register(session, new, actor))
            ),
        )
        expected = self.expected[name]
        assert answer.version.version == len(expected.stages) + 1
        expected.stages[answer.version.version] = Stage.TRAINING

    @precondition(lambda self: self.refs())
    @rule(data=st.data(), to=st.sampled_from(list(Stage)))
    def move(self, data: st.DataObject, to: Stage) -> None:
        ref = data.draw(st.sampled_from(self.refs()))
        expected = self.expected[ref.model]
        request, change = transition_call(ref, to)
        if (expected.stages[ref.version], to) not in LEGAL:
            self.refused(IllegalTransition, request, change)
            return
        if to is Stage.PRODUCTION:
            expected.displaced[ref.version] = expected.production
        before = expected.production if to is Stage.PRODUCTION else NOTHING
        answer = self.act(request, change)
        assert answer.archived.version == before
        self.moved(ref, to, answer.transition)

    @precondition(lambda self: self.refs())
    @rule(data=st.data())
    def promote_by_the_shortest_way(self, data: st.DataObject) -> None:
        """Random moves alone seldom bring a version into production."""
        ref = data.draw(st.sampled_from(self.refs()))
        expected = self.expected[ref.model]
        if expected.stages[ref.version] in {Stage.TRAINING, Stage.ARCHIVED}:
            self.moved(ref, Stage.STAGING, self.act(*transition_call(ref, Stage.STAGING)).transition)
        if expected.stages[ref.version] is Stage.STAGING:
            expected.displaced[ref.version] = expected.production
            self.moved(ref, Stage.PRODUCTION, self.act(*transition_call(ref, Stage.PRODUCTION)).transition)

    @precondition(lambda self: self.refs(Stage.ARCHIVED))
    @rule(data=st.data())
    def take_out_of_the_archive(self, data: st.DataObject) -> None:
        ref = data.draw(st.sampled_from(self.refs(Stage.ARCHIVED)))
        self.moved(ref, Stage.STAGING, self.act(*transition_call(ref, Stage.STAGING)).transition)

    @precondition(lambda self: self.refs())
    @rule(data=st.data(), times=st.integers(1, 3))
    def roll_back(self, data: st.DataObject, times: int) -> None:
        name = data.draw(st.sampled_from(sorted({ref.model for ref in self.refs()})))
        for _ in range(times):
            self.roll_back_once(name)

    def roll_back_once(self, name: str) -> None:
        expected = self.expected[name]
        target = expected.predecessor()
        request = pb.RollbackModelRequest(model=name, reason=f"worse {uuid4()}", request_id=str(uuid4()))

        def change(session: Session, actor: ActorContext) -> pb.RollbackModelResponse:
            return rollback_result_to_proto(promotion.rollback(session, name, "worse", "", actor))

        if target == NOTHING:
            self.refused(NoPredecessor, request, change)
            return
        answer = self.act(request, change)
        assert (answer.version.version, answer.archived.version) == (target, expected.production)
        self.moved(VersionRef(name, target), Stage.PRODUCTION, answer.transition)

    @precondition(lambda self: self.refs())
    @rule(data=st.data(), halted=st.booleans())
    def halt_or_resume(self, data: st.DataObject, halted: bool) -> None:
        name = data.draw(st.sampled_from(sorted({ref.model for ref in self.refs()})))
        kind = pb.HaltModelRequest if halted else pb.ResumeModelRequest
        service = halts.halt_model if halted else partial(halts.resume_model, expected_etag="")
        self.act(
            kind(model=name, reason=f"odd fills {uuid4()}", request_id=str(uuid4())),
            lambda session, actor: pb.HaltModelResponse(
                model=model_to_proto(service(session, name, "odd fills", actor=actor))
            ),
        )
        self.expected[name].halted = halted

    @precondition(lambda self: self.refs())
    @rule(data=st.data())
    def read_an_etag(self, data: st.DataObject) -> None:
        ref = data.draw(st.sampled_from(self.refs()))
        with self.ledger.reading() as session:
            etag = versions.get_version(session, ref).etag
        self.read_etags.append((ref, etag, self.expected[ref.model].changes[ref.version]))

    @precondition(lambda self: self.read_etags)
    @rule(data=st.data())
    def update_with_an_etag(self, data: st.DataObject) -> None:
        ref, etag, changes = data.draw(st.sampled_from(self.read_etags))
        request = pb.UpdateModelVersionRequest(description=str(uuid4()), etag=etag, request_id=str(uuid4()))

        def change(session: Session, actor: ActorContext) -> pb.UpdateModelVersionResponse:
            changed = versions.update_version(
                session, ref, ["description"], request.description, {}, Lineage(), etag, actor
            )
            return pb.UpdateModelVersionResponse(version=version_to_proto(changed))

        if changes != self.expected[ref.model].changes[ref.version]:
            self.refused(EtagMismatch, request, change)
            return
        assert self.act(request, change).version.description == request.description
        self.expected[ref.model].changes[ref.version] += 1

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def repeat_a_call(self, data: st.DataObject) -> None:
        done = self.calls[data.draw(st.integers(0, len(self.calls) - 1))]
        before = self.everything()
        with self.ledger.writing() as session:
            assert _run_once(session, _RequestKey(done.request), done.change, self.actor()) == done.answer
        assert self.everything() == before

    @precondition(lambda self: len(self.calls) > 1)
    @rule(data=st.data())
    def use_a_request_id_for_another_call(self, data: st.DataObject) -> None:
        used, other = (self.calls[data.draw(st.integers(0, len(self.calls) - 1))] for _ in range(2))
        stolen = type(other.request)()
        stolen.CopyFrom(other.request)
        stolen.request_id = used.request.request_id
        if used is not other:
            self.refused(RequestIdReused, stolen, other.change)

    @invariant()
    def stages_are_as_expected(self) -> None:
        with self.ledger.reading() as session:
            rows = session.scalars(select(VersionRow)).all()
            latest = {name: models.get_model(session, name).latest_version for name in {row.model for row in rows}}
        found: dict[str, dict[int, Stage]] = {name: {} for name in NAMES}
        for row in rows:
            found[row.model][row.version] = Stage(row.stage)
        for name, expected in self.expected.items():
            assert found[name] == expected.stages
            assert list(found[name].values()).count(Stage.PRODUCTION) <= 1
            assert latest.get(name, 0) == len(expected.stages)

    @invariant()
    def resolve_gives_what_is_in_production_now(self) -> None:
        with self.ledger.reading() as session:
            for name, expected in self.expected.items():
                if not expected.stages:
                    continue
                if expected.halted:
                    with pytest.raises(ModelHalted):
                        resolve.resolve(session, name, Stage.PRODUCTION, None)
                else:
                    assert production(session, name, None) == expected.production

    @invariant()
    def resolve_gives_what_was_in_production_then(self) -> None:
        with self.ledger.reading() as session:
            for name, expected in self.expected.items():
                for at, _ in expected.reigns[-3:]:
                    for instant in (at - timedelta(microseconds=1), at, at + timedelta(seconds=1)):
                        assert production(session, name, instant) == expected.production_at(instant)

    @invariant()
    def history_leads_to_the_present(self) -> None:
        stages: dict[tuple[str, int], str] = {}
        last: dict[str, datetime] = {}
        with self.ledger.reading() as session:
            rows = session.scalars(select(TransitionRow).order_by(TransitionRow.sequence)).all()
        for row in rows:
            assert stages.get((row.model, row.version), "") == row.from_stage
            assert row.moved_at >= last.get(row.model, row.moved_at), "the history of a model runs backwards"
            stages[row.model, row.version], last[row.model] = row.to_stage, row.moved_at
        held = {(name, number): str(s) for name, e in self.expected.items() for number, s in e.stages.items()}
        assert stages == held

    @invariant()
    def audit_log_is_intact(self) -> None:
        with self.ledger.reading() as session:
            assert audit.verify(session).defects == ()

    def refs(self, *stages: Stage) -> list[VersionRef]:
        found = [
            (VersionRef(name, number), stage) for name, e in self.expected.items() for number, stage in e.stages.items()
        ]
        return [ref for ref, stage in found if stage in (stages or Stage)]

    def actor(self) -> ActorContext:
        return ActorContext("tester", self.clock)

    def act(self, request: Any, change: Callable[[Session, ActorContext], Any]) -> Any:
        with self.ledger.writing() as session:
            answer = _run_once(session, _RequestKey(request), change, self.actor())
        self.calls.append(Done(request, change, answer))
        return answer

    def refused(self, by: type[ModelwardError], request: Any, change: Callable[[Session, ActorContext], Any]) -> None:
        before = self.everything()
        with pytest.raises(by), self.ledger.writing() as session:
            _run_once(session, _RequestKey(request), change, self.actor())
        assert self.everything() == before

    def moved(self, ref: VersionRef, to: Stage, transition: Any) -> None:
        at = transition.moved_at.ToDatetime(UTC)
        assert at >= self.clock
        self.expected[ref.model].move(ref.version, to, at)

    def everything(self) -> tuple[int, int, list[tuple[str, int, str, int]]]:
        """What a call that changes nothing leaves alone."""
        with self.ledger.reading() as session:
            rows = session.execute(
                select(VersionRow.model, VersionRow.version, VersionRow.stage, VersionRow.revision).order_by(
                    VersionRow.model, VersionRow.version
                )
            )
            remembered = len(session.scalars(select(RequestRow.request_id)).all())
            return audit.last_sequence(session), remembered, [(m, v, stage, revision) for m, v, stage, revision in rows]


def transition_call(ref: VersionRef, to: Stage) -> tuple[Any, Callable[[Session, ActorContext], Any]]:
    request = pb.TransitionModelVersionRequest(reason=f"{ref} to {to} {uuid4()}", request_id=str(uuid4()))
    return request, lambda session, actor: transition_result_to_proto(
        promotion.transition(session, ref, to, request.reason, "", actor)
    )


def production(session: Session, name: str, as_of: datetime | None) -> int:
    try:
        found = resolve.resolve(session, name, Stage.PRODUCTION, as_of)
    except NothingResolved:
        return NOTHING
    return found.version.version


@cache
def empty_ledger() -> Path:
    """Give a ledger without rows, to copy: a migration for every example would take longer than the example."""
    path = Path(mkdtemp(), "ledger.db")
    ledger = Ledger(f"sqlite:///{path}")
    ledger.migrate()
    ledger.close()
    return path


TestStages = pytest.mark.filterwarnings("default::ResourceWarning")(Stages.TestCase)
TestStages.settings = settings(
    max_examples=1000 if FULL else 4,
    stateful_step_count=60 if FULL else 30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
