"""How the agent finds its cgroup and reads it; a played kernel where the real one has other settings."""

from __future__ import annotations

from pathlib import Path

from tenure.agent.cgroup import find_cgroup_parent, own_oom_counter, read_oom_kills


def played(tmp_path: Path, cgroup: str, mounts: dict[str, Path]) -> Path:
    proc = tmp_path / "proc"
    proc.mkdir()
    (proc / "cgroup").write_text(cgroup)
    lines = [f"30 1 0:26 / {mount} rw shared:9 - {kind} none rw" for kind, mount in mounts.items()]
    (proc / "mountinfo").write_text("\n".join(["1 0 8:1 / / rw - ext4 /dev/x rw", *lines]) + "\n")
    return proc


def test_the_memory_controllers_counter_is_read(tmp_path: Path) -> None:
    file = tmp_path / "memory.events"
    file.write_text("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n")
    assert read_oom_kills(file) == 2
    assert read_oom_kills(tmp_path / "absent") is None


def test_the_agents_own_counter_in_both_versions(tmp_path: Path) -> None:
    unified, memory = tmp_path / "unified", tmp_path / "memory"
    (unified / "a").mkdir(parents=True)
    (memory / "b").mkdir(parents=True)
    proc = played(tmp_path, "4:memory:/b\n0::/a\n", {"cgroup2": unified, "cgroup": memory})
    assert own_oom_counter(proc) is None
    old = memory / "b/memory.oom_control"
    old.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    assert own_oom_counter(proc) == old
    new = unified / "a/memory.events"
    new.write_text("oom_kill 0\n")
    assert own_oom_counter(proc) == new


def test_without_cgroups_there_is_no_parent(tmp_path: Path) -> None:
    assert find_cgroup_parent("x", tmp_path) is None
    proc = played(tmp_path, "1:cpu:/\n", {})
    assert find_cgroup_parent("x", proc) is None


def test_where_no_group_can_be_made_there_is_no_parent(tmp_path: Path) -> None:
    """A folder that is no cgroup file system has no cgroup.procs in what is made there."""
    proc = played(tmp_path, "0::/\n", {"cgroup2": tmp_path / "plain"})
    (tmp_path / "plain").mkdir()
    assert find_cgroup_parent("x", proc) is None
