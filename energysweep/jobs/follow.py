"""A cluster's job API, and a job's log as it grows, until the job has ended."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import aiohttp
import ray
import requests
from ray._private.authentication.http_token_authentication import get_auth_headers_if_auth_enabled
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from energysweep.core.errors import InputError, SweepError, one_line

# The job API, with one clear message for each way in which it stays shut ---------------------------------------------

OLDEST_RAY = (2, 50)  # as in pyproject.toml
_ANSWERS_WITHIN_SECONDS = 15.0
_CHATTY = ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk", "ray._private.runtime_env.packaging")
_OVERRIDING = {"RAY_ADDRESS": None, "RAY_API_SERVER_ADDRESS": None}  # Ray takes these before any address that is given
_TOKEN_HINT = "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH (a file) or RAY_AUTH_TOKEN to the cluster's token"  # noqa: S105


def job_client(address: str) -> tuple[JobSubmissionClient, str]:
    """The client of a cluster's job API, and the version of its Ray.

    Args:
        address: of the dashboard, such as ``http://127.0.0.1:8265``.

    Raises:
        InputError: no cluster answers there, it wants another token, or its Ray is too old.
    """
    url = _url(address)
    version = _version(url)
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(logging.ERROR)  # the last warns of large files by a passing folder's names
    with _told(url), variables(_OVERRIDING):
        return JobSubmissionClient(url), version


@contextmanager
def told_plainly(client: JobSubmissionClient) -> Iterator[None]:
    """What goes wrong in a call becomes one message.

    Raises:
        InputError: the token is refused.
        SweepError: the cluster is out of reach, or says no.
    """
    url = client.get_address()
    try:
        with _told(url):
            yield
    except (requests.RequestException, OSError) as error:
        raise SweepError(f"the cluster at {url} cannot be reached any more: {_reason(error)}") from error
    except RuntimeError as error:  # Ray's word for every answer but 200
        raise SweepError(f"the cluster at {url} refused: {_last_line(error)}") from error


def _url(address: str) -> str:
    text = address if "://" in address else f"http://{address}"
    parts = urlsplit(text)
    wanted = "give the address of the cluster's dashboard, such as http://HEAD:8265"
    if parts.scheme == "ray":
        raise InputError(f"{address} is the address of the Ray client; {wanted}", key="--address")
    try:
        port = parts.port
    except ValueError as error:
        raise InputError(f"{address}: {error}; {wanted}", key="--address") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
        raise InputError(f"{address} is no address of a cluster; {wanted}", key="--address")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    if port is None:
        port = 8265 if parts.scheme == "http" else 443
    return f"{parts.scheme}://{host}:{port}{parts.path.rstrip('/')}"


def _version(url: str) -> str:
    """Ask once, with a limit of time: Ray's own client would wait for ever."""
    try:
        headers = get_auth_headers_if_auth_enabled({})
    except AuthenticationError as error:
        raise InputError(f"no token for the cluster at {url} was found: {_TOKEN_HINT}", key="--address") from error
    try:
        answer = requests.get(f"{url}/api/version", headers=headers, timeout=_ANSWERS_WITHIN_SECONDS)
    except requests.RequestException as error:
        raise InputError(f"no Ray dashboard answers at {url}: {_reason(error)}", key="--address") from error
    if answer.status_code in (401, 403):
        raise _token_error(url, bool(headers))
    try:
        version = str(answer.json()["ray_version"])
        numbers = tuple(int(part) for part in version.split(".")[:2])
    except (ValueError, KeyError, TypeError) as error:
        problem = f"what answers at {url} is no Ray dashboard (HTTP status {answer.status_code})"
        raise InputError(problem, key="--address") from error
    if numbers < OLDEST_RAY:
        needed = ".".join(map(str, OLDEST_RAY))
        problem = f"the cluster at {url} runs Ray {version}; needed is {needed} or newer (here: {ray.__version__})"
        raise InputError(problem, key="--address")
    return version


@contextmanager
def _told(url: str) -> Iterator[None]:
    try:
        yield
    except AuthenticationError as error:
        raise _token_error(url, "Authentication required" not in str(error)) from error


def _token_error(url: str, sent: bool) -> InputError:
    said = "refused the token" if sent else "wants a token"
    return InputError(f"the cluster at {url} {said}: {_TOKEN_HINT}", key="--address")


def _reason(error: BaseException) -> str:
    """The innermost cause: requests wraps what the system says three times."""
    while True:
        inner = error.__cause__ or error.__context__ or next((a for a in error.args if isinstance(a, Exception)), None)
        if inner is None:
            text = str(getattr(error, "strerror", None) or error)
            return text if text.isprintable() else "it does not speak HTTP"
        error = inner


def _last_line(error: Exception) -> str:
    lines = [one_line(line) for line in str(error).splitlines()]
    return next((line for line in reversed(lines) if line), type(error).__name__)


@contextmanager
def variables(wanted: Mapping[str, str | None]) -> Iterator[None]:
    """For the time of the block, environment variables have these values; None: they are not there."""
    saved = {name: os.environ.pop(name, None) for name in wanted}
    try:
        os.environ.update({name: value for name, value in wanted.items() if value is not None})
        yield
    finally:
        for name, value in saved.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


# A job's log ---------------------------------------------------------------------------------------------------------

Say = Callable[[str], None]

_QUIET_SECONDS = 15.0  # a log that says nothing for so long: is the job still there?
_GIVES_UP_AFTER_SECONDS = 300.0
_TRIES_AGAIN_SECONDS = 3.0
_PATIENT_SECONDS = 8  # a job takes some seconds to begin
_LOST = (RuntimeError, aiohttp.ClientError, requests.RequestException, OSError, TimeoutError)


def follow(client: JobSubmissionClient, job: str, say: Say, note: Say) -> JobDetails:
    """Say what the job writes until it has ended; goes on after a broken connection, and says no line twice.

    Args:
        client: of its cluster.
        job: its submission id.
        say: gets each new piece of the log.
        note: gets what a person should know meanwhile.

    Raises:
        SweepError: the cluster has been out of reach for five minutes, or no longer knows the job.
    """
    return asyncio.run(_Follower(client, job, say, note).follow())


class _Follower:
    def __init__(self, client: JobSubmissionClient, job: str, say: Say, note: Say) -> None:
        self._client, self._job, self._say, self._note = client, job, say, note
        self._shown = 0  # characters
        self._lost_at: float | None = None
        self._waited = 0

    async def follow(self) -> JobDetails:
        while True:
            try:
                info = await self._info()
                if info.status == JobStatus.PENDING:
                    await self._pending(info)
                    continue
                await self._tail()
                info = await self._info()
                if info.status.is_terminal():
                    return info
            except _LOST as error:
                await self._lost(error)

    async def _info(self) -> JobDetails:
        info: JobDetails = await asyncio.wait_for(asyncio.to_thread(self._client.get_job_info, self._job), 60)
        if self._lost_at is not None:
            self._lost_at = None
            self._note("the cluster answers again")
        return info

    async def _pending(self, info: JobDetails) -> None:
        self._waited += 1
        if self._waited == _PATIENT_SECONDS:
            self._note(f"waiting: {info.message or 'the job has not begun yet'}")
        await asyncio.sleep(1)

    async def _tail(self) -> None:
        """Ray sends the log from its beginning on every connection."""
        seen = 0
        chunks = self._client.tail_job_logs(self._job)
        try:
            while True:
                chunk = await self._next(chunks)
                if chunk is None:
                    return
                new = chunk[max(0, self._shown - seen) :]
                seen += len(chunk)
                self._shown = max(self._shown, seen)
                if new:
                    self._say(new)
        finally:
            with suppress(*_LOST):
                await chunks.aclose()  # and its connection

    async def _next(self, chunks: AsyncIterator[str]) -> str | None:
        """The next piece, None at the end; looks after the job while it says nothing."""
        task = asyncio.create_task(_one(chunks))
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=_QUIET_SECONDS)
                if not task.done() and (await self._info()).status.is_terminal():
                    await asyncio.wait_for(task, _QUIET_SECONDS)
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})

    async def _lost(self, error: BaseException) -> None:
        if "does not exist" in str(error) or "status code 404" in str(error):
            raise SweepError(f"the cluster does not know the job {self._job} (any more)") from error
        now = time.monotonic()
        if self._lost_at is None:
            self._lost_at = now
            self._note(f"the cluster cannot be reached ({type(error).__name__}); trying again")
        elif now - self._lost_at > _GIVES_UP_AFTER_SECONDS:
            raise SweepError(f"the cluster has not answered for {_GIVES_UP_AFTER_SECONDS / 60:.0f} minutes") from error
        await asyncio.sleep(_TRIES_AGAIN_SECONDS)


async def _one(chunks: AsyncIterator[str]) -> str | None:
    return await anext(chunks, None)
