"""A Slurm cluster on this machine: one controller, and a daemon for every node that it pretends to have."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["KILL_WAIT", "PACKAGES", "Cluster", "ClusterError", "living", "missing_packages", "wait_for"]

#: Debian's names of what is needed.
PACKAGES = ("slurm-wlm", "munge")

_PROGRAMS = {"slurmctld": "slurm-wlm", "slurmd": "slurm-wlm", "sbatch": "slurm-wlm", "munged": "munge"}
_STARTED = 30.0  # s that a daemon may take
#: Time that Slurm leaves between SIGTERM and SIGKILL (s); by default it is 30.
KILL_WAIT = 5

_CONF = """\
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={ports[0]}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobcomp.log
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,bf_interval=2,sched_interval=2,sched_min_interval=0
ReturnToService=2
JobRequeue=1
KillWait={kill_wait}
MinJobAge=300
SlurmdTimeout=30
SlurmctldTimeout=30
{nodes}
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class ClusterError(Exception):
    """The cluster cannot be started; the message says what is needed."""


def missing_packages() -> list[str]:
    """Return the Debian packages of the programs that are not found."""
    return sorted({package for program, package in _PROGRAMS.items() if shutil.which(program) is None})


def wait_for(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait until something has come to be."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"after {seconds:.0f} s still not: {what}"
        time.sleep(0.2)


class Cluster:
    """A cluster in a folder.

    Parameters
    ----------
    folder : Path
        Its own; the path must be short, since sockets lie in it.
    nodes : int
        How many it has. One node is called localhost, which has an address; of several, named n1, n2, ...,
        each has one of the machine's cores, and Ray finds none of them.
    """

    def __init__(self, folder: Path, nodes: int) -> None:
        self.folder = folder
        self.names = ["localhost"] if nodes == 1 else [f"n{i + 1}" for i in range(nodes)]
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start the daemons and wait until every node is idle."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "state").mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        self._write_conf()
        files = {
            "key-file": "key",
            "socket": "socket",
            "pid-file": "pid",
            "log-file": "log",
            "seed-file": "seed",
        }
        at = [f"--{option}={self.folder}/munge.{end}" for option, end in files.items()]
        self._daemon("munged", "--foreground", "--force", *at)
        wait_for((self.folder / "munge.socket").exists, _STARTED, "munged is there")
        self._daemon("slurmctld", "-D", "-f", f"{self.folder}/slurm.conf")
        for name in self.names:
            self.boot(name)
        wait_for(self.idle, _STARTED, f"all nodes are idle: see {self.folder}")

    def stop(self) -> None:
        """Stop the daemons."""
        daemons = [*reversed(self._daemons.values())]
        for daemon in daemons:
            daemon.terminate()
        for daemon in daemons:
            try:
                daemon.wait(_STARTED)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._daemons = {}

    def boot(self, name: str) -> None:
        """Start the daemon of a node."""
        self._daemon("slurmd", "-D", "-f", f"{self.folder}/slurm.conf", "-N", name)

    def lose(self, name: str) -> None:
        """Kill all that runs on a node, as a loss of power does."""
        daemon = self._daemons[f"slurmd-{name}"]
        daemon.kill()
        daemon.wait()
        for pid in (*_processes_of(name), *_processes_of(name)):  # again: some may just have begun
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    @contextlib.contextmanager
    def running(self) -> Iterator[Cluster]:
        """Run the cluster inside the context."""
        try:
            self.start()
            yield self
        finally:
            self.stop()

    def run(self, *command: str) -> str:
        """Run a command of Slurm and return what it says."""
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=self.environment)
        if done.returncode:
            msg = f"{' '.join(command)} ended with {done.returncode}: {done.stderr or done.stdout}"
            raise ClusterError(msg)
        return done.stdout.strip()

    def job(self, number: str) -> dict[str, str]:
        """Return what Slurm knows of a job, or of a task of an array: ``JobState``, ``Restarts``."""
        words = self.run("scontrol", "--oneliner", "show", "job", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def tasks(self, number: str) -> list[dict[str, str]]:
        """Return what Slurm knows of every task of an array."""
        lines = self.run("scontrol", "--oneliner", "show", "job", number).splitlines()
        return [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]

    def queued(self) -> bool:
        """Whether any job waits, runs or ends."""
        return bool(self.run("squeue", "--noheader"))

    def idle(self) -> bool:
        """Whether every node is up and has nothing to do."""
        with contextlib.suppress(ClusterError):
            states = self.run("sinfo", "--noheader", "--Node", "--format=%T").split()
            return states == ["idle"] * len(self.names)
        return False

    def _daemon(self, *command: str) -> None:
        title = f"slurmd-{command[-1]}" if command[0] == "slurmd" else command[0]
        with (self.folder / f"{title}.out").open("ab") as out:
            streams = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": out}
            self._daemons[title] = subprocess.Popen(command, env=self.environment, **streams)

    def _write_conf(self) -> None:
        ports = _free_ports(1 + len(self.names))
        cores = len(os.sched_getaffinity(0)) if len(self.names) == 1 else 1
        host = socket.gethostname().split(".")[0]
        nodes = "\n".join(
            f"NodeName={name} NodeAddr=127.0.0.1 NodeHostname={host} Port={port} "
            f"CPUs={cores} RealMemory=4000 State=UNKNOWN"
            for name, port in zip(self.names, ports[1:], strict=True)
        )
        text = _CONF.format(folder=self.folder, ports=ports, nodes=nodes, kill_wait=KILL_WAIT)
        (self.folder / "slurm.conf").write_text(text)


def _processes_of(node: str) -> list[int]:
    """Return the processes of the jobs on a node, those that Slurm started for them first."""
    found: list[int] = []
    for pid in living():
        with contextlib.suppress(OSError):
            folder = Path("/proc") / str(pid)
            if f"SLURMD_NODENAME={node}\0".encode() in (folder / "environ").read_bytes():
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if "slurmstepd" in living().get(parent, ""):
                    found.insert(0, parent)
                found.append(pid)
    return found


def _free_ports(n: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(n)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def begun_since(before: set[int]) -> dict[int, str]:
    """Return the command lines of processes that were not there before and are none of Slurm's own."""
    ours = ("slurm", "munge")
    return {
        pid: text
        for pid, text in living().items()
        if pid not in before and text and not Path(text.split()[0]).name.startswith(ours)
    }


def living() -> dict[int, str]:
    """Return the command lines of all processes that live, by number."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            if state != "Z":
                text = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                found[int(folder.name)] = text
    return found
