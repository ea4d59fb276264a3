"""Which fault met the world in which state: a pair that never occurs in many seeds is a blind spot."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.world import World


def states(world: World) -> list[str]:
    """What a fault that comes now meets."""
    server = world.server
    if server is None:
        return ["no server"]
    if server.store is None:
        return ["starting"]
    states = ["starting"] if not server.serving else []
    if server.process.frozen:
        states.append("frozen server")
    if server.store.busy:
        states.append("writing")
    phases = {row.stored.job.phase.name.lower() for row in server.store._rows.jobs.values()}
    states.extend(sorted(phases - {"final"}))
    if any(agent is None for agent in world.agents):
        states.append("agent down")
    if world.medium.full or world.medium.read_only:
        states.append("disk full")
    if any(not (link.up and link.down) for link in world.network.links.values()):
        states.append("blocked")
    return states or ["idle"]
