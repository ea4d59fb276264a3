"""Who may call what: one table, RPC × role.

Administrators may call everything. What a caller may see of the things an RPC names (its own jobs, the queues of its
token) is decided by the service, with the identity at hand. An RPC without a line here is refused when the server
starts, and by a test before that.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Role(StrEnum):
    """What a token is for."""

    USER = "user"
    WORKER = "worker"
    ADMIN = "admin"


_ADMINS = frozenset({Role.ADMIN})
_USERS = frozenset({Role.USER, Role.ADMIN})
_WORKERS = frozenset({Role.WORKER, Role.ADMIN})

OPEN: frozenset[Role] = frozenset()
"""The rule of an RPC that asks for no token."""

RULES: Mapping[str, Mapping[str, frozenset[Role]]] = {
    "tenure.v1.JobService": {
        "CreateJobs": _USERS,
        "RetrieveJob": _USERS,
        "BrowseJobs": _USERS,
        "ExtendJobs": _USERS,
        "TerminateJobs": _USERS,
        "WatchJobs": _USERS,
        "FollowLogs": _USERS,
        "ExplainJob": _USERS,
    },
    "tenure.v1.WorkerService": {
        "Connect": _WORKERS,
        "ShipLogs": _WORKERS,
        "BrowseWorkers": _ADMINS,
        "DrainWorkers": _ADMINS,
    },
    "tenure.v1.QueueService": {
        "UpsertQueues": _ADMINS,
        "BrowseQueues": _USERS,
        "PauseQueues": _ADMINS,
    },
    "tenure.v1.WebhookService": {
        "UpsertWebhooks": _USERS,
        "BrowseWebhooks": _USERS,
        "DeleteWebhooks": _USERS,
        "RotateWebhookSecret": _USERS,
        "BrowseDeliveries": _USERS,
        "ReplayDeliveries": _USERS,
    },
    "tenure.v1.EventService": {
        "ReadEvents": _ADMINS,
    },
    "tenure.v1.AdminService": {
        "CreateToken": _ADMINS,
        "BrowseTokens": _ADMINS,
        "RevokeToken": _ADMINS,
        "VerifyLog": _ADMINS,
        "BackupStore": _ADMINS,
        "RetrieveStore": _ADMINS,
        "StopJobs": _ADMINS,
    },
    "grpc.health.v1.Health": {
        "Check": OPEN,
        "List": OPEN,
        "Watch": OPEN,
    },
    "grpc.reflection.v1alpha.ServerReflection": {
        "ServerReflectionInfo": OPEN,
    },
    "grpc.reflection.v1.ServerReflection": {
        "ServerReflectionInfo": OPEN,
    },
}


def rule(service: str, method: str) -> frozenset[Role]:
    """The roles that may call an RPC; `OPEN`: anybody.

    Raises:
        LookupError: the RPC has no rule; nobody may call it.
    """
    try:
        return RULES[service][method]
    except KeyError:
        message = f"{service}/{method} has no line in the table of permissions"
        raise LookupError(message) from None
