"""Start supervisord, tell it what to run, and learn from it what has failed."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from xmlrpc.client import Fault, ServerProxy

from supervisor.xmlrpc import SupervisorTransport

from webapp.engines import EngineError, interruption, processes
from webapp.engines.folders import REPOSITORY, Folders
from webapp.engines.programs import GROUPS, Program

POLL_SECONDS = 0.05
LOG_LINES = 20

FOR_ALL = {
    "PYTHONUNBUFFERED": "1",
    # Threads that wait let others work: two workers that compute at once on few cores are three times as fast
    "OMP_WAIT_POLICY": "passive",
}


class Supervisor:
    """Run supervisord for as long as the `with` block lasts, out of reach of the terminal's Ctrl-C."""

    def __init__(self, programs: Sequence[Program], folders: Folders) -> None:
        self._programs = programs
        self._folders = folders
        self._started: dict[str, float] = {}
        self._process_ids: dict[str, int] = {}  # The first one that each program had

    def __enter__(self) -> Self:
        path = self._folders.run / "supervisord.conf"
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(configuration(self._programs, self._folders))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "supervisor.supervisord", "-c", os.fspath(path)],
            cwd=REPOSITORY,
            env={**os.environ, **processes.mark(self._folders.var), **FOR_ALL},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._transport = SupervisorTransport(serverurl=f"unix://{self._folders.supervisor_socket}")
        self._remote: Any = ServerProxy("http://supervisor", transport=self._transport).supervisor
        return self

    def __exit__(self, *_: object) -> None:
        interruption.ignore()
        self._transport.close()
        self._process.terminate()  # It stops the programs, the last group first, and then ends
        self._process.wait()

    def wait_until_up(self, *, limit_seconds: float = 20) -> None:
        """Wait until supervisord takes orders.

        Raises:
            EngineError: it ended, or took too long.
        """
        deadline = time.monotonic() + limit_seconds
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise EngineError(_failure("supervisord did not start", self._log))
            time.sleep(POLL_SECONDS)

    def start(self, program: Program) -> None:
        """Start a program and do not wait for it."""
        try:
            self._remote.startProcess(program.address, False)
        except Fault as exc:
            raise EngineError(_failure(f"{program.title} did not start, {exc.faultString}", self._log)) from exc
        self._started[program.name] = time.monotonic()

    def wait_for(self, program: Program) -> float:
        """Wait until a program that was started is ready; return the seconds since it was started.

        Raises:
            EngineError: it ended, or took too long; the message shows the end of its log.
        """
        begun = time.monotonic()  # It may have been started long ago, and be busy just now
        while not self._is_ready(program):
            if time.monotonic() - begun > program.ready_seconds:
                problem = f"{program.title} was not ready after {program.ready_seconds:.0f} s"
                raise EngineError(_failure(problem, program.log(self._folders)))
            time.sleep(POLL_SECONDS)
        return time.monotonic() - self._started[program.name]

    def wait(self) -> None:
        """Wait for as long as supervisord runs.

        Raises:
            EngineError: it ended.
        """
        self._process.wait()
        raise EngineError(_failure("supervisord has ended", self._log))

    @property
    def _log(self) -> Path:
        return self._folders.log / "supervisord.log"

    def _answers(self) -> bool:
        try:
            return bool(self._remote.getState()["statename"] == "RUNNING")
        except OSError:
            self._transport.close()  # It would go on with the broken connection
            return False

    def _is_ready(self, program: Program) -> bool:
        found = self._remote.getProcessInfo(program.address)
        first = self._process_ids.setdefault(program.name, found["pid"])
        # Another process id: it has ended, and supervisord has already replaced it.
        if found["statename"] in {"BACKOFF", "EXITED", "FATAL"} or found["pid"] != first:
            raise EngineError(_failure(f"{program.title} failed to start", program.log(self._folders)))
        return program.is_ready() if program.is_ready else bool(found["statename"] == "RUNNING")


def configuration(programs: Sequence[Program], folders: Folders) -> str:
    """Write supervisord's configuration: it starts nothing by itself, and keeps running what it was told to start."""
    sections: dict[str, dict[str, object]] = {
        "unix_http_server": {"file": folders.supervisor_socket, "chmod": "0700"},
        "rpcinterface:supervisor": {
            "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface",
        },
        "supervisord": {
            "nodaemon": "true",
            "umask": "077",
            "pidfile": folders.run / "supervisord.pid",
            "logfile": folders.log / "supervisord.log",
            "logfile_maxbytes": "5MB",
            "logfile_backups": 2,
            **({"user": "root"} if os.geteuid() == 0 else {}),
        },
    }
    for priority, group in enumerate(GROUPS):
        members = [program for program in programs if program.group == group]
        if members:
            names = ",".join(program.name for program in members)
            sections[f"group:{group}"] = {"programs": names, "priority": priority}
        sections |= {f"program:{program.name}": _section(program, folders) for program in members}
    return "\n".join(f"[{name}]\n{_lines(values)}" for name, values in sections.items())


def _section(program: Program, folders: Folders) -> dict[str, object]:
    return {
        "command": shlex.join(program.command),
        "directory": REPOSITORY,
        **({"user": program.account} if program.account else {}),
        "autostart": "false",
        "autorestart": "true",
        "startretries": 1000,  # Each waits a second longer; to give up would leave the others without it
        "stopsignal": program.stop_signal,
        "stopwaitsecs": program.stop_seconds,
        "stopasgroup": str(program.stop_whole_group).lower(),
        "killasgroup": "true",
        "redirect_stderr": "true",
        "stdout_logfile": program.log(folders),
        "stdout_logfile_maxbytes": "5MB",
        "stdout_logfile_backups": 2,
    }


def _lines(values: Mapping[str, object]) -> str:
    return "".join(f"{name} = {str(value).replace('%', '%%')}\n" for name, value in values.items())


def _failure(problem: str, log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join([f"{problem}. The end of {log}:", *(f"    {line}" for line in lines[-LOG_LINES:])])
