"""What supervisors did, and the alerts, are a record: the trigger that guards the other records guards them too."""

from django.db import migrations

TABLES = ("webapp_review", "webapp_escalation", "webapp_acknowledgement")

FORWARD = "".join(
    f"create trigger append_only before update or delete on {table} "
    "for each row execute function caseloop_append_only();\n"
    for table in TABLES
)
REVERSE = "".join(f"drop trigger append_only on {table};\n" for table in TABLES)


class Migration(migrations.Migration):
    dependencies = [("webapp", "0019_reviews_and_escalations")]
    operations = [migrations.RunSQL(FORWARD, REVERSE)]
