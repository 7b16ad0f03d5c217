"""Runs in DIRAC's own environment: its services, unmodified, in one process.

What is not there is OpenSearch: job parameters, which it holds, are kept in JobDB's table JobParameters,
where releases before 9 had them and Wherry has them.

The clock is told on standard input, a line each: seconds since 1970 at which it stands still from now on,
or ``now``.  Every line is answered by one on the file descriptor that is the first argument.  The process
ends when its input does.
"""

import importlib
import os
import socket
import sys
import threading
import time
from types import SimpleNamespace

import DIRAC.WorkloadManagementSystem.DB.JobParametersDB as job_parameters
import time_machine
from DIRAC import S_OK
from DIRAC.Core.Base.DB import DB
from DIRAC.Core.scripts.dirac_service import main
from MySQLdb.cursors import BaseCursor


class SqlJobParameters(DB):
    """In place of OpenSearch, with the same methods."""

    _connected = True

    def __init__(self, parentLogger=None):
        super().__init__("JobDB", "WorkloadManagement/JobDB", parentLogger=parentLogger)

    def getJobParameters(self, jobIDs, vo=None, paramList=None):
        ids = [int(each) for each in (jobIDs if isinstance(jobIDs, list) else [jobIDs])]
        names = paramList.replace(" ", "").split(",") if isinstance(paramList, str) else list(paramList or ())
        if not ids:
            return S_OK({})
        found = self._query(
            "SELECT JobID, Name, Value FROM JobParameters WHERE JobID IN (" + ",".join(map(str, ids)) + ")"
        )
        if not found["OK"]:
            return found
        parameters = {}
        for job, name, value in found["Value"]:
            if not any(names) or name in names:
                parameters.setdefault(int(job), {})[name] = (
                    value.decode() if isinstance(value, bytes) else value
                )
        return S_OK(parameters)

    def setJobParameter(self, jobID, key, value, vo=None):
        return self.setJobParameters(jobID, {key: value}, vo)

    def setJobParameters(self, jobID, parameters, vo=None):
        for name, value in dict(parameters).items():
            done = self._update(
                # Unlike the table, OpenSearch takes parameters of jobs that do not exist; they are dropped.
                "INSERT INTO JobParameters (JobID, Name, Value)"
                " SELECT JobID, %s, %s FROM Jobs WHERE JobID = %s"
                " ON DUPLICATE KEY UPDATE Value = VALUES(Value)",
                args=(str(name), str(value), int(jobID)),
            )
            if not done["OK"]:
                return done
        return S_OK()

    def deleteJobParameters(self, jobID, paramList=None, vo=None):
        done = self._update("DELETE FROM JobParameters WHERE JobID = %s", args=(int(jobID),))
        return S_OK() if done["OK"] else done


def end_with_input():
    sys.stdin.buffer.read()
    os._exit(0)


def listen_without_delay(listening, *backlog, listen=socket.socket.listen):
    # Else every answer, of several writes, waits 40 ms for a delayed acknowledgement.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listen(listening, *backlog)


class Clock:
    """The time, as Python and MySQL say it to DIRAC."""

    def __init__(self):
        self.standing = None
        self.told_to_mysql = "DEFAULT"

    def obey(self, line):
        if self.standing is not None:
            self.standing.stop()
            self.standing = None
        self.told_to_mysql = "DEFAULT"
        if line != "now":
            self.standing = time_machine.travel(float(line), tick=False)
            self.standing.start()
            self.told_to_mysql = line

    def execute(self, cursor, query, args=None, execute=BaseCursor.execute):
        if getattr(cursor.connection, "clock", "DEFAULT") != self.told_to_mysql:
            execute(cursor, f"SET timestamp = {self.told_to_mysql}")
            cursor.connection.clock = self.told_to_mysql
        return execute(cursor, query, args)


def listen_to_orders(clock, answers):
    for line in sys.stdin:
        clock.obey(line.strip())
        os.write(answers, b"\n")
    os._exit(0)


def without_patience(seconds):
    """Nobody waits for a job to be in Staging."""


job_parameters.JobParametersDB = SqlJobParameters  # before anything imports it
clock = Clock()
job_state_update = importlib.import_module("DIRAC.WorkloadManagementSystem.Service.JobStateUpdateHandler")
job_state_update.time = SimpleNamespace(**{**vars(time), "sleep": without_patience})
answers = int(sys.argv.pop(1))
threading.Thread(target=listen_to_orders, args=(clock, answers), daemon=True).start()
BaseCursor.execute = lambda cursor, query, args=None: clock.execute(cursor, query, args)
socket.socket.listen = listen_without_delay
sys.argv[0] = "dirac-service"
main()
