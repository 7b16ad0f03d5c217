"""Runs DIRAC's commands, unmodified, one child for each: DIRAC is imported once and not once a command.

Run by the Python of a DIRAC environment.  Reads one JSON object a line: ``argv`` (a command's name and its
arguments), ``directory``, ``environment``; or ``script`` (Python) in place of a command.  Answers a line for
each: ``{"code", "out", "err"}``.  Knows nothing of Wherry.
"""

import importlib
import json
import os
import signal
import sys
import tempfile
import traceback
from importlib.metadata import entry_points
from pathlib import Path


def main() -> None:
    known = {entry.name: entry.value for entry in entry_points(group="console_scripts")}
    preload()
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line), known)), flush=True)


def preload() -> None:
    """What most commands import; nothing of it reads a configuration or a proxy."""
    for name in (
        "DIRAC.Core.Base.Script",
        "DIRAC.Interfaces.API.Dirac",
        "DIRAC.Interfaces.API.DiracAdmin",
        "DIRAC.WorkloadManagementSystem.Client.JobStateUpdateClient",
        "DIRAC.WorkloadManagementSystem.Client.PilotManagerClient",
        "DIRAC.WorkloadManagementSystem.Client.SandboxStoreClient",
    ):
        importlib.import_module(name)


def run(request, known) -> dict:
    """One command to its end, in a child that starts as a new process of it would."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if not child:
            become(request, known, out, err)
        signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
        signal.alarm(100)
        _, status = os.waitpid(child, 0)
        signal.alarm(0)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    return {"code": os.waitstatus_to_exitcode(status), "out": texts[0], "err": texts[1]}


def become(request, known, out, err) -> None:
    """Never returns."""
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        os.chdir(request["directory"])
        os.environ.clear()
        os.environ.update(request["environment"])
        if "script" in request:
            sys.argv = ["script"]
            exec(request["script"], {"__name__": "__main__"})
            code = 0
        else:
            name, *arguments = request["argv"]
            sys.argv = [str(Path(sys.executable).with_name(name)), *arguments]
            module, _, function = known[name].split("[")[0].strip().partition(":")
            code = getattr(importlib.import_module(module), function)()
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001 - whatever a command raises ends its child only
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1 if code else 0)


main()
