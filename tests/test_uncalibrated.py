"""A head that was trained, but on too few labels to say how sure it is."""

from __future__ import annotations

import pytest

from ml.types import HeadPrediction
from tests.conftest import helpline_prediction, predict
from webapp.models import CaseState, ModelVersion
from webapp.queries import schemas
from webapp.roles import Role

WORDS = "not calibrated: too few labels to check it"


@pytest.fixture
def version(helpline) -> ModelVersion:
    calibration = {"main_category": {"rows": 80}, "priority": {"rows": 0}, "dropped": {"rows": 0}}
    return ModelVersion.objects.create(
        schema=helpline,
        schema_version=schemas.newest_version(helpline),
        kind="trained",
        number=1,
        manifest={"calibration": calibration},
    )


def test_a_head_that_was_not_calibrated_asks_a_person_and_says_why(helpline, version, import_rows, signed_in) -> None:
    import_rows(helpline, {"id": "1", "text": "a"})
    said = helpline_prediction() | {"priority": HeadPrediction("2", None, {"1": 0.1, "2": 0.8, "3": 0.1})}
    case = predict(version, "1", said)
    assert (case.state, [(flag.kind, flag.head) for flag in case.flags.all()]) == (
        CaseState.LABELLING,
        [("untrained", "priority")],
    )
    staff = signed_in(Role.SUPERVISOR)
    page = staff.get(f"/cases/{case.pk}/").content.decode()
    assert f"Priority {WORDS}" in page
    assert page.count(f"◆ {WORDS}") == 1
    assert "no model trained yet" not in page


def test_the_page_of_a_version_names_the_heads_that_were_not_calibrated(version, signed_in) -> None:
    page = signed_in(Role.SUPERVISOR).get(f"/models/versions/{version.pk}/").content.decode()
    assert f"◆ Priority: {WORDS}." in page
