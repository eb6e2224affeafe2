"""Who saw which case is a record: the trigger that guards the other records guards it too."""

from django.db import migrations

FORWARD = """
create trigger append_only before update or delete on webapp_sighting
    for each row execute function caseloop_append_only();
"""
REVERSE = "drop trigger append_only on webapp_sighting;"


class Migration(migrations.Migration):
    dependencies = [("webapp", "0008_search_texts")]
    operations = [migrations.RunSQL(FORWARD, REVERSE)]
