"""Rows of the record are only added: triggers refuse updates and deletions, for every role of the database.

The one exception is what erasing a prediction needs: its reference in an annotation may become empty.
"""

from django.db import migrations

TABLES = ("webapp_annotation", "webapp_modelversion", "webapp_promotion", "webapp_auditevent")

FORWARD = """
create function caseloop_append_only() returns trigger language plpgsql as $$
begin
    if tg_op = 'UPDATE' and tg_table_name = 'webapp_annotation' then
        if new.prediction_id is null and to_jsonb(new) - 'prediction_id' = to_jsonb(old) - 'prediction_id' then
            return new;
        end if;
    end if;
    raise exception 'rows of % are only added; % is refused', tg_table_name, tg_op using errcode = 'restrict_violation';
end $$;
""" + "".join(
    f"create trigger append_only before update or delete on {table} "
    "for each row execute function caseloop_append_only();\n"
    for table in TABLES
)
REVERSE = (
    "".join(f"drop trigger append_only on {table};\n" for table in TABLES) + "drop function caseloop_append_only();"
)


class Migration(migrations.Migration):
    dependencies = [("webapp", "0001_first_tables")]
    operations = [migrations.RunSQL(FORWARD, REVERSE)]
