"""A sweep as a job of a cluster: upload it, follow it, bring its run folder back."""

from __future__ import annotations

import hashlib
import re
import shlex
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient
from ray.runtime_env import RuntimeEnv

from energysweep.core.errors import EnergysweepError, InputError, SweepError, one_line
from energysweep.core.inputs import is_file
from energysweep.core.runfolder import COPY, LEDGER, MADE
from energysweep.driver.run import checked_id, new_id
from energysweep.driver.storage import Copied, inside, shown
from energysweep.jobs.fetch import bring, unpack
from energysweep.jobs.follow import follow, job_client, told_plainly, variables
from energysweep.jobs.upload import Upload, upload_of
from energysweep.ledger.store import Ledger, read_ledger
from energysweep.report import write_report
from energysweep.sweepfile import SweepSpec
from energysweep.sweepfile.trackers import is_a_file_here

EXIT_INTERRUPTED = 130
# The job's own folder does not last. $HOME is that of the cluster's user.
RESULTS = '"${ENERGYSWEEP_RESULTS:-${HOME:-/tmp}/energysweep-results}"'
_PYTHON = "python -m"  # the Python that runs Ray there, if its PATH is right
_RUN, _SWEEP = "energysweep_run", "energysweep_sweep"  # of a job's metadata
_STOP_SECONDS = 60  # Ray's 3 s are too short for a report
_NOT_INSTALLED = re.compile(r"No module named (energysweep|'energysweep')$|python: (command )?not found", re.MULTILINE)
_EXIT_CODES = (1, 2, EXIT_INTERRUPTED)
# The staged folder has what is listed and nothing else: Ray is to leave nothing of it out again.
_PACKS_ALL = {"RAY_RUNTIME_ENV_IGNORE_GITIGNORE": "1", "RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES": ""}
_HEARD_CHARACTERS = 10_000  # of a log's end: the longest path in it, and what Ray says last

Say = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """A sweep's job on a cluster.

    Attributes:
        client: of the cluster.
        id: Ray's name for it (submission id).
        run_id: the run that it works on.
        storage: the sweep's, if the sweep is known here and has one.
    """

    client: JobSubmissionClient
    id: str
    run_id: str
    storage: str | None = None

    @property
    def url(self) -> str:
        """Of the cluster's dashboard."""
        return str(self.client.get_address())


def submit(spec: SweepSpec, address: str, run_id: str | None, say: Say) -> Job:
    """Hand a sweep to a cluster; if a job already works on this run, that one is meant.

    Args:
        spec: the sweep.
        address: of the cluster's dashboard.
        run_id: name of the run folder there; an existing one is resumed. None: the sweep's name and the time.
        say: gets what a person should know.

    Raises:
        InputError: what would be uploaded, the address or the token is wrong, or the run is of another sweep.
        SweepError: the cluster takes no job.
    """
    if spec.trackers is not None and is_a_file_here(spec.trackers):
        text = "is a file of this machine, and the sweep runs on the cluster: give the address of a server there"
        raise spec.document.error(text, ("trackers", "mlflow", "tracking_uri"))
    upload, environment = upload_of(spec), _environment(spec)
    run_id = checked_id(run_id) if run_id else new_id(spec)
    sweep = hashlib.sha256(upload.ownerless.encode()).hexdigest()
    client, version = job_client(address)
    if version != ray.__version__:
        say(f"the cluster runs Ray {version}, this is {ray.__version__}")
    with told_plainly(client):
        earlier = [job for job in client.list_jobs() if (job.metadata or {}).get(_RUN) == run_id]
        for job in earlier:
            if not job.status.is_terminal():
                return _joined(client, job, run_id, spec, sweep, say)
        job_id = run_id if not earlier else f"{run_id}.{len(earlier) + 1}"
        say(f"uploading {upload.folder}: {len(upload.files)} files, {_size(upload.size_bytes)}")
        if warning := upload.warning():
            say(warning)
        _start(client, environment, upload, job_id, {_RUN: run_id, _SWEEP: sweep})
    say(f"job {job_id} at {client.get_address()}")
    return Job(client, job_id, run_id, spec.storage)


def find(job_id: str, address: str) -> Job:
    """A job that was submitted before.

    Raises:
        InputError: there is none of this id, or it is no sweep's, or its run id is none. Anybody with the cluster's
            token may have written that, and it names a folder here.
    """
    client, _ = job_client(address)
    with told_plainly(client):
        jobs = {job.submission_id: job for job in client.list_jobs()}
    if job_id not in jobs:
        raise InputError(f"the cluster at {client.get_address()} knows no job {job_id}", key="--job")
    run_id = (jobs[job_id].metadata or {}).get(_RUN)
    if run_id is None:
        raise InputError(f"the job {job_id} is not one of energysweep submit", key="--job")
    return Job(client, job_id, checked_id(run_id, key="--job"))


@dataclass(frozen=True)
class End:
    """How a sweep's job has ended.

    Attributes:
        code: the exit code that ``energysweep run`` had there; 130 if the job was stopped.
        copied: the copy of the run folder that it says to have left in the sweep's storage.
    """

    code: int
    copied: Copied | None = None


def wait(job: Job, say: Say, note: Say) -> End:
    """Follow a job's log to its end.

    Args:
        job: the job.
        say: gets its log, piece by piece.
        note: gets what a person should know.

    Raises:
        SweepError: the cluster was lost.
    """
    heard = ""

    def hear(text: str) -> None:
        nonlocal heard
        heard = (heard + text)[-_HEARD_CHARACTERS:]
        say(text)

    info = follow(job.client, job.id, hear, note)
    return End(_exit_code(job, info, heard, note), Copied.said_in(heard))


def _exit_code(job: Job, info: JobDetails, heard: str, note: Say) -> int:
    if info.status == JobStatus.SUCCEEDED:
        return 0
    if info.status == JobStatus.STOPPED:
        note(f"the job {job.id} was stopped; its finished trials are kept, and the same run id resumes it")
        return EXIT_INTERRUPTED
    if _NOT_INSTALLED.search(heard):
        note(_not_installed(job.url))
    elif info.driver_exit_code is None:
        note(f"the job {job.id} failed: {info.message or info.error_type or 'Ray does not say why'}")
    elif info.driver_exit_code not in _EXIT_CODES:
        note(f"the sweep's process ended with exit code {info.driver_exit_code}")
    return info.driver_exit_code if info.driver_exit_code in _EXIT_CODES else 1


def check_target(folder: Path, run_id: str) -> None:
    """Whether a run folder can be put at ``folder``; an earlier copy of the same run is replaced.

    Raises:
        InputError: something else is there, or the place cannot be written.
    """
    if folder.is_symlink():
        raise InputError("is a link; give the folder itself", file=str(folder), key="--fetch")
    if folder.exists():
        if not is_file(folder / LEDGER):
            raise InputError("is there already, and is no run folder", file=str(folder), key="--fetch")
        with Ledger.open(folder / LEDGER) as ledger:
            if ledger.facts().get("id") != run_id:
                raise InputError(f"holds another run than {run_id}", file=str(folder), key="--fetch")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder.parent).close()
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", file=str(folder.parent), key="--fetch") from error


def fetch(job: Job, end: End, folder: Path, note: Say) -> None:
    """Bring the run folder of a job that has ended, without Tune's checkpoints.

    It comes from the sweep's storage, if its driver has left a copy there that this machine can read. Otherwise a
    second, short job on the same node prints it (see ``pack``): nothing but the job API has to be reachable then.

    Raises:
        SweepError: there is none, or it has not come whole.
    """
    had_one = folder.exists()
    if not _came_from_storage(job, end, folder, note):
        _fetch_by_log(job, folder, note)
    if had_one:
        note(f"it has taken the place of the earlier copy in {folder}")
    _report(folder, note)


def _came_from_storage(job: Job, end: End, folder: Path, note: Say) -> bool:
    if end.copied is None:
        return False
    place = end.copied.place
    if job.storage is not None:
        place = inside(job.storage, job.run_id, COPY)
    elif not (place.startswith("/") and place.endswith(f"/{job.run_id}/{COPY}")):
        note("the sweep's storage is not asked: only the cluster has named it, and it is no folder")
        return False
    try:
        bring(place, end.copied.checksum, folder, job.run_id)
    except SweepError as error:
        note(f"the run folder does not come from the sweep's storage: {error}")
        return False
    note(f"the run folder has come from the sweep's storage, {shown(place)}")
    return True


def _fetch_by_log(job: Job, folder: Path, note: Say) -> None:
    client = job.client
    note("fetching the run folder by a job's log")
    with told_plainly(client):
        info: JobDetails = client.get_job_info(job.id)
        where: dict[str, Any] = {}
        if info.driver_node_id:
            where = {"entrypoint_label_selector": {"ray.io/node-id": info.driver_node_id}}
        entrypoint = f"{_PYTHON} energysweep.jobs.fetch {RESULTS}/{shlex.quote(job.run_id)}"
        carrier = client.submit_job(entrypoint=entrypoint, metadata={"energysweep_fetch": job.run_id}, **where)
        ended = follow(client, carrier, lambda _: None, note)
        text = client.get_job_logs(carrier)
        if ended.status != JobStatus.SUCCEEDED:
            lines = (text or ended.message or "").strip().splitlines() or ["Ray does not say why"]
            raise SweepError(f"the run folder cannot be fetched: {lines[-1].removeprefix('energysweep: ')}")
        unpack(text, folder, job.run_id)
        client.delete_job(carrier)


def _report(folder: Path, note: Say) -> None:
    """Make the report here: a page that somebody else's machine sent is not to be opened in a browser."""
    for name in MADE:
        (folder / name).unlink(missing_ok=True)
    try:
        write_report(folder, read_ledger(folder / LEDGER))
    except EnergysweepError as error:
        note(f"no report can be made of the ledger that came: {error}")


def _joined(client: JobSubmissionClient, job: JobDetails, run_id: str, spec: SweepSpec, sweep: str, say: Say) -> Job:
    if (job.metadata or {}).get(_SWEEP) != sweep:
        problem = f"the job {job.submission_id} works on {run_id} with another sweep; give another run id"
        raise InputError(problem, key="--run-id")
    say(f"the job {job.submission_id} already works on {run_id}: following it")
    return Job(client, str(job.submission_id), run_id, spec.storage)


def _environment(spec: SweepSpec) -> dict[str, Any]:
    """The job's runtime environment, but for its working folder."""
    environment: dict[str, Any] = {key: value for key, value in spec.runtime_env.items() if key != "excludes"}
    environment["env_vars"] = {"RAY_JOB_STOP_WAIT_TIME_S": str(_STOP_SECONDS), **environment.get("env_vars", {})}
    try:
        RuntimeEnv(**{key: value for key, value in environment.items() if key != "working_dir"})
    except Exception as error:  # whatever Ray raises of what it cannot use
        raise spec.document.error(f"Ray cannot use it: {one_line(error)}", ("runtime_env",)) from error
    return environment


def _start(
    client: JobSubmissionClient, environment: dict[str, Any], upload: Upload, job_id: str, metadata: dict[str, str]
) -> None:
    # The version first: it says at once whether the cluster's nodes have energysweep at all.
    run = (
        f"{_PYTHON} energysweep --version && exec {_PYTHON} energysweep run {shlex.quote(upload.sweep)}"
        f" --address auto --output {RESULTS} --run-id {shlex.quote(metadata[_RUN])}"
    )
    with tempfile.TemporaryDirectory() as place, variables(_PACKS_ALL):
        upload.stage(Path(place))
        environment = {**environment, "working_dir": place}
        client.submit_job(entrypoint=run, submission_id=job_id, runtime_env=environment, metadata=metadata)


def _not_installed(url: str) -> str:
    return (
        f"energysweep is not installed where the cluster at {url} runs its jobs: use an image that has it, or install"
        " it on every node into the Python that runs Ray (docs/cluster.md)"
    )


def _size(size: int) -> str:
    return f"{size / 2**20:.1f} MiB" if size >= 2**20 else f"{size / 1000:.0f} kB"
