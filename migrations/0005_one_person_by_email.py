"""No two people have one e-mail address, which links them with their user in Label Studio, whatever its case.

The table of users is Django's own, so a model of ours cannot hold the constraint.
"""

from django.db import migrations

FORWARD = "create unique index one_person_by_email on auth_user (lower(email)) where email <> ''"
REVERSE = "drop index one_person_by_email"
DOUBLES = """
select string_agg(username, ', ' order by username) from auth_user where email <> ''
group by lower(email) having count(*) > 1 order by 1
"""


def refuse_doubles(apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(DOUBLES)
        doubles = [names for (names,) in cursor.fetchall()]
    if doubles:
        raise RuntimeError(
            f"these people share an e-mail address: {'; '.join(doubles)}. Expected one for each: "
            "change them in `manage.py shell`, then migrate again"
        )


class Migration(migrations.Migration):
    dependencies = [
        ("webapp", "0004_let_previews_expire"),
        ("auth", "0012_alter_user_first_name_max_length"),
    ]
    operations = [
        migrations.RunPython(refuse_doubles, migrations.RunPython.noop),
        migrations.RunSQL(FORWARD, REVERSE),
    ]
