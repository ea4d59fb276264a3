"""AdminService: what an operator does on a running server. The database is locked for other processes, so it is done
here.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from tenure.controlplane.call import Call
from tenure.controlplane.handler import Handler, Step
from tenure.controlplane.pages import Pages
from tenure.controlplane.permissions import Role
from tenure.controlplane.requests import request_key
from tenure.controlplane.resume import ResumeTokens
from tenure.controlplane.times import set_timestamp
from tenure.controlplane.tokens import Tokens
from tenure.domain import commands as c
from tenure.domain.errors import Reason, Refused
from tenure.runtime.logs import get_logger
from tenure.store.store import Store, TokenRow, VerifyReport
from tenure.v1 import admin_service_pb2

_log = get_logger("admin")

PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000

_ROLES = {
    admin_service_pb2.ROLE_USER: Role.USER,
    admin_service_pb2.ROLE_WORKER: Role.WORKER,
    admin_service_pb2.ROLE_ADMIN: Role.ADMIN,
}
_ROLE_MESSAGES = {role.value: number for number, role in _ROLES.items()}


class AdminService:
    """The servicer.

    Args:
        handler: ends jobs.
        store: what is looked after.
        tokens: makes and revokes tokens.
        resume: makes resume tokens.
        pages: makes page tokens.
    """

    def __init__(self, *, handler: Handler, store: Store, tokens: Tokens, resume: ResumeTokens, pages: Pages) -> None:
        self._handler = handler
        self._store = store
        self._tokens = tokens
        self._resume = resume
        self._pages = pages
        self._verifying = asyncio.Lock()
        self._copying = asyncio.Lock()

    async def create_token(
        self, request: admin_service_pb2.CreateTokenRequest, call: Call
    ) -> admin_service_pb2.CreateTokenResponse:
        """Makes a token; the secret is in this answer and nowhere else."""
        role = _ROLES[request.role]
        if request.queues and role is not Role.WORKER:
            raise Refused(Reason.INVALID_FIELD, "only tokens of workers are bound to queues", field="queues")
        queues = tuple(dict.fromkeys(request.queues))
        row, secret = await self._tokens.create(
            role=role, subject=request.subject, project=request.project, queues=queues
        )
        return admin_service_pb2.CreateTokenResponse(token=token_message(row), secret=secret)

    async def browse_tokens(
        self, request: admin_service_pb2.BrowseTokensRequest, call: Call
    ) -> admin_service_pb2.BrowseTokensResponse:
        """A page of the tokens, the oldest first, revoked ones included."""
        after = self._pages.read_text(request, call.identity.principal)
        size = min(request.page_size or PAGE_SIZE, MAX_PAGE_SIZE)
        rows = await self._store.list_tokens()
        begin = 0
        if after is not None:
            begin = next((index + 1 for index, row in enumerate(rows) if row.id == after), len(rows))
        page = rows[begin : begin + size]
        response = admin_service_pb2.BrowseTokensResponse(tokens=[token_message(row) for row in page])
        if begin + size < len(rows):
            response.next_page_token = self._pages.make((page[-1].id,), request, call.identity.principal)
        return response

    async def revoke_token(
        self, request: admin_service_pb2.RevokeTokenRequest, call: Call
    ) -> admin_service_pb2.RevokeTokenResponse:
        """Revokes a token and ends the streams opened with it; one that is revoked stays so."""
        if not await self._tokens.revoke(request.id):
            raise Refused(Reason.INVALID_FIELD, "there is no token with this id", field="id")
        return admin_service_pb2.RevokeTokenResponse()

    async def verify_log(
        self, request: admin_service_pb2.VerifyLogRequest, call: Call
    ) -> admin_service_pb2.VerifyLogResponse:
        """Checks positions, chain and projections; one check at a time."""
        if self._verifying.locked():
            raise Refused(Reason.LIMIT_EXCEEDED, "the log is being checked for somebody else; try again later")
        report = VerifyReport()
        async with self._verifying:
            async for report in self._store.verify():  # noqa: B007 - the last one is whole
                pass
        return admin_service_pb2.VerifyLogResponse(
            ok=report.ok, position=report.position, events=report.events, problems=report.problems[:100]
        )

    async def backup_store(
        self, request: admin_service_pb2.BackupStoreRequest, call: Call
    ) -> admin_service_pb2.BackupStoreResponse:
        """Copies the store into a new file of this machine; one copy at a time."""
        if self._copying.locked():
            raise Refused(Reason.LIMIT_EXCEEDED, "a backup is being made for somebody else; try again later")
        async with self._copying:
            backup = await self._store.backup(Path(request.path))
        _log.info("backed_up", path=request.path, position=backup.position, by=call.identity.principal)
        return admin_service_pb2.BackupStoreResponse(position=backup.position, bytes=backup.bytes)

    async def stop_jobs(
        self, request: admin_service_pb2.StopJobsRequest, call: Call
    ) -> admin_service_pb2.StopJobsResponse:
        """Ends jobs as operator, all or none; a job that has ended stays as it is."""
        ids = list(dict.fromkeys(request.ids))
        steps = [Step(job_id=job_id, command=c.Halt(reason=request.reason)) for job_id in ids]
        key = request_key("StopJobs", request, call.identity)
        try:
            executed = await self._handler.execute(steps, actor=call.identity.principal, request=key)
        except Refused as refused:
            if refused.reason is Reason.JOB_NOT_FOUND:
                raise await self._which_is_missing(request) or refused from refused
            raise
        return admin_service_pb2.StopJobsResponse(resume_token=await self._resume.make(executed.position))

    async def _which_is_missing(self, request: admin_service_pb2.StopJobsRequest) -> Refused | None:
        known = await self._store.load_jobs(list(request.ids))
        for index, job_id in enumerate(request.ids):
            if job_id not in known:
                return Refused(Reason.JOB_NOT_FOUND, f"there is no job {job_id}", field=f"ids[{index}]")
        return None

    async def retrieve_store(
        self, request: admin_service_pb2.RetrieveStoreRequest, call: Call
    ) -> admin_service_pb2.RetrieveStoreResponse:
        """How the store is."""
        head = self._store.head()
        return admin_service_pb2.RetrieveStoreResponse(
            engine=self._store.engine,
            log_id=head.log_id,
            epoch=head.epoch,
            position=head.position,
            chain_hash=head.hash,
            read_only_reason=self._store.read_only_reason,
        )


def token_message(row: TokenRow) -> admin_service_pb2.Token:
    """A token as it is shown: without its secret and its digest."""
    message = admin_service_pb2.Token(
        id=row.id, role=_ROLE_MESSAGES[row.role], subject=row.subject, project=row.project, queues=row.queues
    )
    set_timestamp(message.created_at, row.created_us)
    if row.revoked_us is not None:
        set_timestamp(message.revoked_at, row.revoked_us)
    return message
