"""What differs between two snapshots."""

from __future__ import annotations

from tests.conftest import case_named
from webapp.actions import snapshots as taking
from webapp.models import CaseState, Label
from webapp.queries import snapshots
from webapp.roles import Role


def test_a_snapshot_tells_which_cases_came_went_and_changed_since_the_one_before(
    helpline, import_rows, signed_in
) -> None:
    import_rows(helpline, *({"id": name, "text": f"text {name}", "priority": "2"} for name in ("a", "b", "c")))
    old = taking.take(helpline.versions.get())
    assert snapshots.before(old) is None
    Label.objects.filter(case=case_named("b")).update(answer="1")
    case = case_named("c")
    case.state = CaseState.ERASED
    case.save()
    import_rows(helpline, {"id": "d", "text": "text d", "priority": "2"})
    new = taking.take(helpline.versions.get())
    assert snapshots.before(new) == old
    came, went, changed = (case_named(name).pk for name in ("d", "c", "b"))
    assert snapshots.compare(old, new) == snapshots.Change((came,), (went,), (changed,), 1)
    page = signed_in(Role.SUPERVISOR).get(f"/models/snapshots/{new.pk}/").content.decode()
    assert "1 in, 1 out, 1 changed</b>; 1 as they were" in page
    assert f'<a href="/cases/{changed}/">' in page
