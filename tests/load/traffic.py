"""`python -m tests.load.traffic [PART ...]`: what other programs may ask of a Caseloop of its own, measured.

Each part prints one line of JSON. With `--scale 0.01` all sizes and times are a hundredth. Figures of speed depend on
the machine and on who else uses it; what must be 0 anywhere (`lost`, `twice`, `refused`) ends the program with an error
when it is not.

    single    one case of 400 tokens, asked of one web process by 1 and by 4 clients, beside the reference path
    batch     500 cases in one call, beside the same model in this process
    posted    100,000 short cases posted in batches, and 10,000 of them predicted by one worker and by two
    talk      one conversation of 1,000 messages, sent by 8 clients at once
    files     1,000,000 short rows imported and exported
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

from tokenizers import Tokenizer

from ml.reference import Reference
from ml.registry import TOKENIZER
from ml.serving import Predictor
from tests import stack as stacks
from tests.engines import NOBODY_LISTENS, SECRETS
from tests.load.served import ANSWER, SOURCE, Traffic, memory, run, seconds_of, warm, web_process, without
from webapp.engines.folders import REPOSITORY

AT_ONCE = 500
SENTENCE = "She is hungry and afraid, and her uncle has taken the food of the children."
NEVER = ("lost", "twice", "refused")

# In the place of the background job, which the page Exports asks for, so that its memory is its own
EXPORT = """
from webapp.actions import export_files
from webapp.models import Export, Schema
schema = Schema.objects.get(name="helpline")
row = Export.objects.create(schema=schema, format="{format}", limits={{"source": "{source}"}})
export_files.write(row.pk)
row.refresh_from_db()
lines = sum(1 for _ in export_files.path_of(row).open("rb")) if "{format}" != "parquet" else row.done
print(row.done, lines)
"""


def single(traffic: Traffic) -> dict[str, Any]:
    """Ask for one case of 400 tokens again and again."""
    tokenizer = Tokenizer.from_file(str(traffic.model() / TOKENIZER))
    text = next(text for n in count(1) if len(tokenizer.encode(text := f"{SENTENCE} " * n).ids) >= 400)
    reference = Reference(tokenizer)
    found: dict[str, Any] = {
        "tokens": len(tokenizer.encode(text).ids),
        "reference_milliseconds": _milliseconds(reference, text),
    }
    with web_process(traffic) as url:
        for clients in (1, 4):
            found[f"clients_{clients}"] = _asked(traffic, url, text, clients, seconds=60 * traffic.scale)
    found["reference_milliseconds_after"] = _milliseconds(reference, text)
    found["ratio"] = round(
        found["clients_1"]["p95"]
        / statistics.mean((found["reference_milliseconds"], found["reference_milliseconds_after"])),
        3,
    )
    return found


def _milliseconds(reference: Reference, text: str) -> float:
    taken = [seconds_of(lambda: reference.answer(text)) for _ in range(20)]
    return round(1000 * statistics.median(taken), 1)


def _asked(traffic: Traffic, url: str, text: str, clients: int, *, seconds: float) -> dict[str, float]:
    body = {"schema": "helpline", "texts": [text], "probabilities": True}
    until = time.monotonic() + max(2.0, seconds)

    def ask(_: int) -> list[float]:
        taken = []
        with traffic.client(url) as client:
            while time.monotonic() < until:
                begun = time.perf_counter()
                client.post("/api/v1/predict", json=body).raise_for_status()
                taken.append(1000 * (time.perf_counter() - begun))
        return taken

    begun = time.monotonic()
    with ThreadPoolExecutor(clients) as pool:
        taken = sorted(one for found in pool.map(ask, range(clients)) for one in found)
    at = {f"p{part}": round(taken[min(len(taken) - 1, len(taken) * part // 100)], 1) for part in (50, 95, 99)}
    return at | {"requests_per_second": round(len(taken) / (time.monotonic() - begun), 2), "requests": len(taken)}


def batch(traffic: Traffic) -> dict[str, Any]:
    """Have 500 cases of the demo predicted in one call."""
    rows = traffic.stack.rows(
        "select t.text from webapp_casetext t join webapp_case c on c.id = t.case_id where c.source = 'demo' limit %s",
        traffic.scaled(AT_ONCE, least=50),
    )
    texts = [str(row["text"]) for row in rows]
    model = Predictor(traffic.model(), threads=2)
    model.predict(texts[:5])
    ours = min(seconds_of(lambda: model.predict(texts)) for _ in range(3))
    with web_process(traffic) as url, traffic.client(url) as client:
        body = {"schema": "helpline", "texts": texts}
        asked = min(seconds_of(lambda: client.post("/api/v1/predict", json=body).raise_for_status()) for _ in range(3))
    rates = {"cases_per_second": round(len(texts) / asked, 1), "model_cases_per_second": round(len(texts) / ours, 1)}
    return rates | {"cases": len(texts), "ratio": round(ours / asked, 3)}


def posted(traffic: Traffic) -> dict[str, Any]:
    """Post short cases by four clients, one request in ten twice, and have workers predict some."""
    total = traffic.scaled(100_000, least=AT_ONCE)
    starts = list(range(0, total, AT_ONCE))
    statuses: Counter[str] = Counter()

    def post(start: int) -> Counter[str]:
        cases = [
            {"external_id": f"p-{n}", "text": f"She is hungry, says caller {n}."}
            for n in range(start, min(start + AT_ONCE, total))
        ]
        body = {"schema": "helpline", "cases": cases}
        with traffic.client() as client:
            answers = [client.post("/api/v1/cases", json=body) for _ in range(2 if start % (10 * AT_ONCE) == 0 else 1)]
        return Counter(one["status"] for answer in answers for one in answer.raise_for_status().json()["results"])

    with memory(traffic) as peaks, ThreadPoolExecutor(4) as pool:
        begun = time.monotonic()
        for found in pool.map(post, starts):
            statuses += found
        seconds = time.monotonic() - begun
    there = "select count(*) as n from webapp_case where source = %s and external_id like 'p-%%'"
    stored = traffic.counted(there, SOURCE)
    again = traffic.counted(
        "select count(*) as n from webapp_casetext t join webapp_case c on c.id = t.case_id "
        "where c.source = %s and c.external_id like 'p-%%'",
        SOURCE,
    )
    return {
        "cases": total,
        "accepted_per_second": round(statuses["created"] / seconds, 1),
        "lost": total - stored,
        "twice": max(0, statuses["created"] - total) + max(0, again - total),
        "refused": statuses["refused"],
        "known": statuses["known"],
        "peak_megabytes": peaks,
        "predicted": {f"workers_{n}": _predicted(traffic, n) for n in (1, 2)},
    }


def _predicted(traffic: Traffic, workers: int) -> dict[str, float]:
    """Return the rate at which so many workers of their own predict; those of the stack rest meanwhile."""
    wanted = traffic.scaled(10_000, least=AT_ONCE)
    count_them = "select count(*) as n from webapp_prediction"
    with without(traffic, "worker"), traffic.client() as client:
        for start in range(0, wanted, AT_ONCE):
            cases = [{"text": f"He was beaten, says caller {n}."} for n in range(start, start + AT_ONCE)]
            client.post("/api/v1/cases", json={"schema": "helpline", "cases": cases}).raise_for_status()
        begun_at = traffic.counted(count_them)
        command = [
            sys.executable,
            "-m",
            "celery",
            "-A",
            "webapp.celery_app",
            "worker",
            "-Q",
            "default",
            "--concurrency",
            "1",
        ]
        started = [
            subprocess.Popen([*command, "-n", f"load-{n}@%h"], cwd=REPOSITORY, env=traffic.variables,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for n in range(workers)
        ]  # fmt: skip
        try:
            first = traffic.stack.wait_for("the first predictions", lambda: traffic.counted(count_them) - begun_at)
            begun = time.monotonic()
            deadline = begun + 3600
            done = first
            while done < wanted and time.monotonic() < deadline:
                time.sleep(0.5)
                done = traffic.counted(count_them) - begun_at
            seconds = time.monotonic() - begun
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait(60)
    return {"cases": done, "cases_per_second": round((done - first) / seconds, 1)}


def talk(traffic: Traffic) -> dict[str, Any]:
    """Send the messages of one conversation by eight clients at once, each counted once."""
    total = traffic.scaled(1_000, least=16)
    with traffic.client() as client:
        warm(client, "/classify-message", {"message": SENTENCE})

    def say(number: int) -> int:
        body = {"conversation_id": "crowd", "message": f"I want to return order {number}."}
        deadline = time.monotonic() + ANSWER
        with traffic.client() as client:
            while (answer := client.post("/classify-conversation", json=body)).status_code == 503:
                if time.monotonic() > deadline:
                    break
                time.sleep(1)
        return answer.status_code

    begun = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        answered = Counter(pool.map(say, range(total)))
    seconds = time.monotonic() - begun
    found = traffic.stack.rows(
        """select count(*) as n, count(distinct t.text) as texts from webapp_case c
           join webapp_conversation v on v.id = c.conversation_id join webapp_casetext t on t.case_id = c.id
           where v.external_id = 'crowd'"""
    )[0]
    return {
        "messages": total,
        "messages_per_second": round(total / seconds, 1),
        "lost": total - found["texts"],
        "twice": found["n"] - found["texts"],
        "refused": total - answered[200],
    }


def files(traffic: Traffic) -> dict[str, Any]:
    """Import short rows, and export them in three formats."""
    total = traffic.scaled(1_000_000, least=1_000)
    path = traffic.stack.folders.var / "rows.jsonl"
    with path.open("w") as file:
        for n in range(total):
            file.write(json.dumps({"id": f"f-{n}", "text": f"She is hungry, says caller {n}."}) + "\n")
    found: dict[str, Any] = {"rows": total}
    with without(traffic, "worker"):
        begun = time.monotonic()
        command = [sys.executable, "manage.py", "import_cases", str(path), "--source", "files"]
        peak = run(command, traffic)[1]
        found["import"] = {"rows_per_second": round(total / (time.monotonic() - begun)), "peak_megabytes": peak}
        stored = traffic.counted("select count(*) as n from webapp_case where source = 'files'")
        lost = total - stored
        for format in ("jsonl", "csv", "parquet"):
            begun = time.monotonic()
            code = EXPORT.format(format=format, source="files")
            said, peak = run([sys.executable, "manage.py", "shell", "--no-imports", "-c", code], traffic)
            done, lines = map(int, said.split()[-2:])
            lost += total - done + max(0, total - lines)
            rate = round(total / (time.monotonic() - begun))
            found[f"export_{format}"] = {"rows_per_second": rate, "peak_megabytes": peak}
    return found | {"lost": lost}


PARTS: dict[str, Callable[[Traffic], dict[str, Any]]] = {
    part.__name__: part for part in (single, batch, posted, talk, files)
}


def main() -> None:
    """Measure the parts that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"some of {', '.join(PARTS)}; all unless given")
    parser.add_argument("--scale", type=float, default=1.0, help="of all sizes and times (1)")
    given = parser.parse_args()
    if unknown := set(given.parts) - PARTS.keys():
        parser.error(f"there is no part {', '.join(sorted(unknown))}; expected some of {', '.join(PARTS)}")
    settings = {"LABEL_STUDIO_URL": NOBODY_LISTENS, "LABEL_STUDIO_API_KEY": SECRETS["LABEL_STUDIO_API_KEY"]}
    settings |= {"LABEL_STUDIO_WEBHOOK_SECRET": SECRETS["LABEL_STUDIO_WEBHOOK_SECRET"]}
    settings |= {"DROPINS": "tagger", "API_REQUESTS_PER_MINUTE": "1000000"}
    faults = []
    names = given.parts or list(PARTS)
    with_demo = names != [files.__name__]  # All others need a model
    with stacks.running(f"traffic-{os.getpid()}", with_demo=with_demo, **settings) as stack:
        traffic = Traffic(stack, given.scale)
        for name in names:
            found = PARTS[name](traffic)
            faults += [f"{name}: {found[never]} {never}" for never in NEVER if found.get(never)]
            sys.stdout.write(json.dumps({"part": name, "scale": given.scale, **found}) + "\n")
            sys.stdout.flush()
    if faults:
        sys.exit("; ".join(faults))


if __name__ == "__main__":
    main()
