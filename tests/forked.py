"""Programs of ours in processes of their own, forked from one that has their imports already.

To import a flow takes 1.8 s of CPU, a gateway with all its patterns compiled 1.7 s, and the tests start some hundreds.
What is forked is still a real process: its own pid, streams, environment, folder and exit status, and it can be killed
at any moment. What starting from nothing shows is tested where it matters (`test_help_imports_nothing_heavy`,
`Home.start`, tests/gateway/test_start.py).

A server process imports, then forks one keeper per program, which forks the program, tells its pid and waits for it.
The standard library's fork server has one list of imports for each process, which it looks for in the wrong places
before Python 3.13, and runs nothing else; here flows, gates and gateways have one each, with their patterns compiled.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[1]


class ForkServer:
    """Starts with the first program. `imports`: modules and files to run, which start no thread and open nothing."""

    def __init__(self, *imports: str) -> None:
        self._imports = imports
        self._channel: socket.socket | None = None

    def open(self) -> socket.socket:
        """Start the server, if that has not been done."""
        if self._channel is None:
            self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                command = [sys.executable, "-W", "ignore", __file__, str(theirs.fileno()), *self._imports]
                subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno()])
        return self._channel

    def start(
        self, arguments: Sequence[str], cwd: Path, env: Mapping[str, str], out: int, err: int, in_: int = 0
    ) -> Forked:
        """As `subprocess.Popen([sys.executable, *arguments])`: a program's path, or `-m` and a module."""
        status, told = os.pipe()
        try:
            request = json.dumps([list(arguments), str(cwd), dict(env)]).encode()
            socket.send_fds(self.open(), [request], [in_, out, err, told])
        finally:
            os.close(told)
        return Forked(status)


class Forked:
    """A running program, with what is used of `subprocess.Popen`."""

    stdin: IO[Any] | None = None
    stdout: IO[Any] | None = None

    def __init__(self, status: int) -> None:
        self._status = os.fdopen(status, "rb", 0)  # unbuffered, so that `select` tells of all that is to be read
        if not (told := self._status.readline()):
            raise RuntimeError("the fork server has ended; what it says of it stands above")
        self.pid = int(told)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if timeout is not None and not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            self.returncode = int(self._status.readline())
            self._status.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


FLOWS = ForkServer(
    *("flows.cli", "flows.execute", "flows.posture", "flows.proof", "flows.dry_run", "flows.first_use"),
    str(ROOT / "tests/flows/forked_gates.py"),
)
GATEWAYS = ForkServer("gateway.__main__", str(ROOT / "tests/gateway/compiled.py"))


def run(arguments: Sequence[str], cwd: Path, env: dict[str, str], timeout: float) -> subprocess.CompletedProcess[str]:
    """What `subprocess.run` gives for a flow's program. Raises TimeoutError when it has not ended in time; it is
    killed then."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = FLOWS.start(arguments, cwd, env, out.fileno(), err.fileno())
        try:
            code = child.wait(timeout)
        except subprocess.TimeoutExpired:
            child.kill()
            raise TimeoutError(f"{arguments} did not end within {timeout:g} s") from None
        said = []
        for stream in (out, err):
            stream.seek(0)
            said.append(stream.read().decode())
        return subprocess.CompletedProcess(list(arguments), code, *said)


# -- in the server ----------------------------------------------------------------------------------------------------


def _serve(channel: socket.socket) -> list[str]:
    """Fork until the channel closes; returns in the forked programs alone, with what each is to run."""
    while True:
        message, fds, _, _ = socket.recv_fds(channel, 1 << 20, 4)
        if not message:
            os._exit(0)
        if os.fork() == 0:
            channel.close()
            break
        for fd in fds:
            os.close(fd)
        while _reaped():
            pass
    arguments, cwd, env = json.loads(message)
    *streams, told = fds
    if (pid := os.fork()) != 0:
        os.write(told, b"%d\n" % pid)
        for fd in streams:
            os.close(fd)
        _, status = os.waitpid(pid, 0)
        os.write(told, b"%d\n" % os.waitstatus_to_exitcode(status))
        os._exit(0)
    os.close(told)
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
        os.close(fd)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    return list(arguments)


def _reaped() -> bool:
    """Whether a keeper had ended."""
    try:
        return os.waitpid(-1, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return False


def _become(arguments: list[str]) -> None:
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        sys.path.insert(0, str(Path(arguments[0]).parent))
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    sys.path[0] = str(ROOT)
    for name in sys.argv[2:]:
        if name.endswith(".py"):
            runpy.run_path(name)
        else:
            importlib.import_module(name)
    _become(_serve(socket.socket(fileno=int(sys.argv[1]))))
