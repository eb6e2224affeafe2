"""What must not be there after a Caseloop has settled, counted in its database, its folders and Label Studio."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Set as AbstractSet

from ml import registry
from ml.errors import InputError
from tests.stack import Stack

SCHEMA = "(select id from webapp_schema where name = 'helpline')"
IN_USE = "(select version_id from webapp_promotion order by id desc limit 1)"
OPEN_RUNS = "select id from webapp_run where state in ('queued', 'running')"
WAITS = "select id from webapp_outbox where sent_at is null"
UNTOLD = "select id from webapp_delivery where delivered_at is null"
OPEN = "('new', 'predicted', 'accepted', 'labelling', 'review')"
NOT_PREDICTED = f"""select c.id from webapp_case c left join webapp_prediction p on p.id = c.current_prediction_id
    where c.schema_id = {SCHEMA} and state in {OPEN} and p.version_id is distinct from {IN_USE}"""  # noqa: S608
UNDER_WAY = " union all ".join((OPEN_RUNS, WAITS, UNTOLD, NOT_PREDICTED))
NO_NEXT_STEP = (
    "select c.id from webapp_case c left join webapp_labelstudiotask t on t.case_id = c.id and t.withdrawn_at is null "
    "where state in ('new', 'predicted') or (state = 'labelling' and t.case_id is null) or (state = 'review' and not "
    "exists (select 1 from webapp_flag f where f.case_id = c.id and f.resolved_at is null))"
)
STANDING = (
    "select a.external_id, a.external_updated_at, a.is_deletion from webapp_annotation a left join webapp_annotation b "
    "on b.supersedes_id = a.id where a.origin = 'label_studio' and b.id is null"
)
HALF_STORED = (
    "select r.id from webapp_run r where r.state = 'succeeded' and not exists "
    "(select 1 from webapp_evaluation e where e.version_id = r.version_id)"
)
UNEXPLAINED = (
    "select p.version_id from webapp_promotion p group by p.version_id having count(*) > (select count(*) from "
    "webapp_auditevent e where e.action in ('version promoted', 'version rolled back') "
    "and e.subject = 'version ' || p.version_id)"
)
IN_USE_FOLDERS = (
    "select v.folder, v.manifest_hash from webapp_promotion p join webapp_modelversion v on v.id = version_id"
)


def faults(stack: Stack, made: AbstractSet[int]) -> dict[str, int]:
    """Return how many there are of each; all must be 0.

    Args:
        made: the numbers of the annotations that Label Studio has confirmed.
    """
    standing = stack.rows(STANDING)
    held = Counter(row["external_id"] for row in standing)
    alive = {row["external_id"] for row in standing if not row["is_deletion"]}
    tasks = [json.loads(data).get("case_id") for (data,) in stack.label_studio_rows("select data from task")]
    unknown = {int(case) for case in tasks if case} - {row["id"] for row in stack.rows("select id from webapp_case")}
    erased = {row["id"] for row in stack.rows("select id from webapp_case where state = 'erased'")}
    labelling = {row["id"] for row in stack.rows("select id from webapp_case where state = 'labelling'")}
    nowhere = labelling - {int(case) for case in tasks if case}
    return {
        "stuck_runs": len(stack.rows(OPEN_RUNS)),
        "half_promoted": _broken_folders(stack) + len(stack.rows(UNEXPLAINED)) + len(stack.rows(HALF_STORED)),
        "not_predicted_by_the_version_in_use": len(stack.rows(NOT_PREDICTED)),
        "lost_annotations": len(made - alive),
        "double_annotations": sum(number > 1 for number in held.values()),
        "double_tasks": sum(number > 1 for number in Counter(tasks).values()),
        "tasks_of_no_case": len(unknown) + len(erased & {int(case) for case in tasks if case}),
        "cases_without_next_step": len({row["id"] for row in stack.rows(NO_NEXT_STEP)} | nowhere),
        "outbox_waiting": len(stack.rows(WAITS)),
        "webhooks_waiting": len(stack.rows(UNTOLD)),
    }


def _broken_folders(stack: Stack) -> int:
    """Count the promotions of versions whose files are not those that were stored."""
    broken = 0
    for row in stack.rows(IN_USE_FOLDERS):
        try:
            broken += registry.manifest_hash(stack.folders.var / "models" / row["folder"]) != row["manifest_hash"]
        except (InputError, OSError):
            broken += 1
    return broken
