"""The words of each text, made by the database, so that they cannot differ from the text or outlive it.

PostgreSQL's limit is a megabyte of words for one text. No 100,000 characters have more than that, and few calls are longer.
The configuration is 'simple': texts change between languages within a sentence, and no stemmer fits both.
"""

from django.db import migrations

FORWARD = """
alter table webapp_casetext add column vector tsvector
    generated always as (to_tsvector('simple'::regconfig, left(text, 100000))) stored;
create index words_of_cases on webapp_casetext using gin (vector);
"""
REVERSE = "alter table webapp_casetext drop column vector;"


class Migration(migrations.Migration):
    dependencies = [("webapp", "0007_searches_and_views")]
    operations = [migrations.RunSQL(FORWARD, REVERSE)]
