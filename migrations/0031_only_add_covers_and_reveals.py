"""What was covered and who was shown it is a record: the trigger that guards the other records guards both."""

from django.db import migrations

TABLES = ("webapp_cover", "webapp_reveal")

FORWARD = "".join(
    f"create trigger append_only before update or delete on {table} "
    "for each row execute function caseloop_append_only();\n"
    for table in TABLES
)
REVERSE = "".join(f"drop trigger append_only on {table};\n" for table in TABLES)


class Migration(migrations.Migration):
    dependencies = [("webapp", "0030_covers_and_reveals")]
    operations = [migrations.RunSQL(FORWARD, REVERSE)]
