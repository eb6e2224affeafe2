"""What many tests need: the shipped schemas, a person of each role, and a few cases."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import celery
import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import translation

from ml.types import Example, HeadPrediction, Prediction
from tests.engines import remove
from webapp import worker
from webapp.actions import imports, people, predictions, runs, schemas, submissions
from webapp.actions.submissions import External, Submission
from webapp.casefiles.report import Report
from webapp.engines import environment, processes
from webapp.engines.folders import Folders
from webapp.models import Annotation, Annotator, AnnotatorKind, Case, ModelVersion, Origin, Run, Schema
from webapp.queries import queue
from webapp.queries import schemas as in_force
from webapp.queries.filters import Filters
from webapp.roles import Role

if TYPE_CHECKING:
    from ml.encoder import Encoder
    from ml.training import TrainedModel

DATA = Path(os.environ.get("DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

# A call, what may be answered of it, and the form of its page
TEXT = "Agent: Hello?\nCaller: I am Amina. My baby is hungry."
AMINA = {"start": 27, "end": 32, "label": "NAME"}
FORM = {"main_category": "VANE", "sub_category": "Child Neglect", "priority": "2", "revision": "0"}
ANSWERS = {"main_category": "VANE", "sub_category": "Child Neglect", "priority": "2"}


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    """Leave no test the language of a page that another asked for: it stays with the thread."""
    yield
    translation.deactivate()


@pytest.fixture
def helpline(db: None) -> Schema:
    """The helpline schema; no shipped schema draws cases for the audit, so that no test depends on the draw."""
    schemas.register_shipped()
    for schema in Schema.objects.all():
        change_policy(schema, audit_share=0.0)
    return Schema.objects.get(name="helpline")


@pytest.fixture
def person(db: None) -> Callable[[Role], User]:
    def make(role: Role, name: str = "") -> User:
        name = name or role.value
        return people.create(name, email=f"{name}@example.org", password="a-long-password", role=role)

    return make


@pytest.fixture
def signed_in(person: Callable[..., User]) -> Callable[..., Client]:
    def make(role: Role, name: str = "") -> Client:
        client = Client()
        client.force_login(person(role, name), backend="django.contrib.auth.backends.ModelBackend")
        return client

    return make


@pytest.fixture
def import_rows(tmp_path: Path) -> Callable[..., Report]:
    """Import rows, given as dictionaries, the way the command does."""

    def run(schema: Schema, *rows: dict[str, object], name: str = "cases.jsonl") -> Report:
        path = tmp_path / name
        path.write_text("\n".join(json.dumps(row) for row in rows))
        return imports.apply(imports.open_import(schema, path, name=name, mapping={}, source="import", by=None), path)

    return run


@pytest.fixture
def learning(settings: Any, tmp_path: Path, tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings that take a second: a tiny encoder, folders of their own, and no model loaded yet."""
    settings.ENCODER = tiny_encoder.name
    settings.MODELS_DIR, settings.CACHE_DIR = tmp_path / "models", tmp_path / "cache"
    monkeypatch.setattr(worker.answering, "_kept", {})


@pytest.fixture
def toy(db: None, learning: None) -> Schema:
    """A schema whose labels are words of the text."""
    from tests import tiny

    schema = schemas.register(tiny.toy_schema()).schema
    change_policy(schema, audit_share=0.0)
    return schema


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What is sent to workers, as (task, argument, ...), in place of sending it."""
    messages: list[tuple[Any, ...]] = []

    def note(task: celery.Task, args: Any = None, kwargs: Any = None, **options: Any) -> None:
        messages.append((task.name.removeprefix("webapp.tasks."), *(args or ())))

    monkeypatch.setattr(celery.Task, "apply_async", note)
    return messages


@pytest.fixture
def case(helpline: Schema, import_rows: Callable[..., Any]) -> Case:
    """A case that is with annotators, since the model is unsure of it."""
    import_rows(helpline, {"id": "1", "text": "She is hungry, says Amina."})
    return predict(trained_version(helpline), "1", helpline_prediction(sure=0.6))


@pytest.fixture
def say(helpline: Schema, case: Case) -> Callable[..., Annotation | None]:
    """Let an annotator submit answers on that case."""

    def record(by: str, answers: dict[str, Any], **changes: Any) -> Annotation | None:
        return submissions.record(case, submission(helpline, by, answers, **changes))

    return record


@pytest.fixture
def place() -> Iterator[Folders]:
    """Folders of a Caseloop of its own, with nothing left running afterwards."""
    # Not in `tmp_path`: every pytest that starts closes that to other accounts, also to the one of PostgreSQL.
    place = Folders(Path(os.environ["CASELOOP_VAR"]) / uuid4().hex[:8])
    place.create()
    yield place
    processes.stop_all(place.var, grace_seconds=3)
    remove(place)


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment in which nobody has chosen a secret or an address."""
    for name in (*environment.SECRETS, "DATABASE_URL", "REDIS_URL", "SITE_URL"):
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    from tests import tiny  # torch takes seconds, and most tests do without

    return tiny.load_encoder(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def other_encoder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Encoder]:
    """Load encoders that are built in other ways, with three layers."""
    from tests import tiny

    return functools.cache(lambda kind: tiny.load_encoder(tmp_path_factory.mktemp("other"), kind, layers=3))


@pytest.fixture(scope="session")
def tiny_exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keeps the tiny encoder as it is exported."""
    return tmp_path_factory.mktemp("exports")


@pytest.fixture(scope="session")
def tiny_model(tiny_encoder: Encoder, tiny_exports: Path) -> TrainedModel:
    """All heads of the toy schema, trained on the tiny encoder."""
    from ml import training
    from tests import tiny

    return training.train(tiny.cases(200), tiny.toy_schema(), tiny.QUICK, encoder=tiny_encoder, exports=tiny_exports)


@pytest.fixture(scope="session")
def tiny_folder(tiny_model: TrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a model folder, which no test may change."""
    from ml import export

    folder = tmp_path_factory.mktemp("models") / "model"
    export.save(tiny_model, folder, data_hash="abc")
    return folder


@pytest.fixture(scope="session")
def shipped_folders(tiny_encoder: Encoder, tiny_exports: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny models of the shipped schemas, which no test may change."""
    from tests import shipped

    return shipped.write(tmp_path_factory.mktemp("shipped"), encoder=tiny_encoder, exports=tiny_exports)


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the published four heads, which no test may change."""
    from tests import four_heads

    return four_heads.write(tmp_path_factory.mktemp("published") / "four-heads")


def change_policy(schema: Schema, **changes: Any) -> None:
    """Put a policy in force that differs from the one so far in the values given."""
    values = replace(in_force.policy(schema).parsed, **changes)
    schemas.set_policy(schema, values, reason="a test needs it", by=None)


def train(schema: Schema, **options: Any) -> Run:
    """Train as a worker does, and return the run as it ended."""
    run = runs.request(schema, **options)
    worker.train(run.pk)
    run.refresh_from_db()
    return run


def row_of(case: Example, *, prefix: str = "labelled") -> dict[str, object]:
    """Return an example as a row of an import."""
    return {"id": f"{prefix}-{case.id}", "text": case.text, "labels": case.labels}


def trained_version(schema: Schema, number: int = 1) -> ModelVersion:
    newest = in_force.newest_version(schema)
    return ModelVersion.objects.create(schema=schema, schema_version=newest, kind="trained", number=number)


def predict(version: ModelVersion, external_id: str, prediction: Prediction) -> Case:
    """Have a version say something of a case, and return the case as it stands then."""
    predictions.store(version, [case_named(external_id)], [prediction])
    return case_named(external_id)


def listing(reader: User | None = None, *, after: str = "", **limits: Any) -> queue.Page:
    """A page of the queue, as a supervisor sees it."""
    reader = reader or User.objects.filter(username="reader").first()
    reader = reader or people.create("reader", email="r@example.org", password="a-long-password", role=Role.SUPERVISOR)
    return queue.page(Filters(**limits), reader, after=after)


def ids(page: queue.Page) -> list[str]:
    """The cases of a page."""
    return [row.case.external_id for row in page.rows]


def annotator_named(name: str) -> Annotator:
    return Annotator.objects.get_or_create(kind=AnnotatorKind.PERSON, name=name)[0]


def submission(
    schema: Schema, by: str, answers: dict[str, Any], *, id: int = 1, minute: int = 0, **changes: Any
) -> Submission:
    """What comes from Label Studio: annotation `id` of project 1, as it stood some minutes after noon."""
    return Submission(
        annotator=annotator_named(by),
        schema_version=in_force.newest_version(schema),
        origin=Origin.LABEL_STUDIO,
        answers=answers,
        external=External(project=1, id=id, updated_at=NOON + timedelta(minutes=minute)),
        **changes,
    )


def case_named(external_id: str) -> Case:
    return Case.objects.select_related("schema", "stored_text").get(external_id=external_id)


def helpline_prediction(
    main: str = "VANE", sub: str = "Child Neglect", *, sure: float = 0.9, urgent: float = 0.05
) -> Prediction:
    """What a trained version might say: `sure` of both categories, with the urgent end of priority at `urgent`."""
    rest = 1.0 - urgent
    return {
        "main_category": HeadPrediction(main, sure, {main: sure, "GBV": 1 - sure}),
        "sub_category": HeadPrediction(sub, sure, {sub: sure, "Physical Abuse": 1 - sure}),
        "priority": HeadPrediction("2", rest * 0.9, {"1": urgent, "2": rest * 0.9, "3": rest * 0.1}),
    }


@pytest.fixture
def marked(helpline: Schema, import_rows: Callable[..., Any]) -> Case:
    """A case in review, on which the model marked a name."""
    import_rows(helpline, {"id": "1", "text": TEXT, "county": "Meru"})
    prediction = helpline_prediction(sure=0.62, urgent=0.31) | {"entities": HeadPrediction([AMINA], None)}
    return predict(trained_version(helpline), "1", prediction)


@pytest.fixture
def audited(helpline: Schema, import_rows: Callable[..., Any]) -> Case:
    """A case that is audited blind, that came with labels, and that the model calls urgent."""
    change_policy(helpline, audit_share=1.0)
    import_rows(helpline, {"id": "1", "text": TEXT, "labels": ANSWERS | {"intervention": ["Referral"]}})
    prediction = helpline_prediction(sure=0.62, urgent=0.31) | {"entities": HeadPrediction([AMINA], None)}
    return predict(trained_version(helpline), "1", prediction)


@pytest.fixture
def desk(signed_in: Callable[..., Client]) -> Client:
    return signed_in(Role.SUPERVISOR, "halima")


def decide(desk: Client, **form: Any) -> Any:
    """Send the form of a case page, with some of it changed."""
    return desk.post(f"/cases/{case_named('1').pk}/", FORM | form)
