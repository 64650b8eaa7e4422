"""A job's log as it grows, until the job has ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import aiohttp
import requests
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from energysweep.errors import SweepError

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
