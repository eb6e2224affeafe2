"""What was written about a case that is erased goes: its notes become empty, and nothing else of the record changes."""

from django.db import migrations

BEFORE = """
create or replace function caseloop_append_only() returns trigger language plpgsql as $$
begin
    if tg_op = 'UPDATE' and tg_table_name = 'webapp_annotation' then
        if new.prediction_id is null and to_jsonb(new) - 'prediction_id' = to_jsonb(old) - 'prediction_id' then
            return new;
        end if;
    end if;
    raise exception 'rows of % are only added; % is refused', tg_table_name, tg_op using errcode = 'restrict_violation';
end $$;
"""
FORWARD = """
create or replace function caseloop_append_only() returns trigger language plpgsql as $$
begin
    if tg_op = 'UPDATE' and tg_table_name = 'webapp_annotation' then
        if new.prediction_id is null and to_jsonb(new) - 'prediction_id' = to_jsonb(old) - 'prediction_id' then
            return new;
        end if;
    end if;
    if tg_op = 'UPDATE' and tg_table_name in (
        'webapp_annotation', 'webapp_review', 'webapp_escalation', 'webapp_reveal'
    ) then
        if new.note = '' and coalesce(to_jsonb(new) -> 'problems', '[]') = '[]'
            and to_jsonb(new) - 'note' - 'problems' = to_jsonb(old) - 'note' - 'problems'
            and exists (select from webapp_case where id = old.case_id and state = 'erased')
        then
            return new;
        end if;
    end if;
    raise exception 'rows of % are only added; % is refused', tg_table_name, tg_op using errcode = 'restrict_violation';
end $$;
create trigger append_only before update or delete on webapp_erasure
    for each row execute function caseloop_append_only();
"""
REVERSE = "drop trigger append_only on webapp_erasure;" + BEFORE


class Migration(migrations.Migration):
    dependencies = [("webapp", "0033_erasures_and_receipts")]
    operations = [migrations.RunSQL(FORWARD, REVERSE)]
