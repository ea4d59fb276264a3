"""A file system of our own: ext4 on a loop device, whose power can be cut, that can be small, full or read-only.

Needs Linux and root. It is mounted at a directory of the test's and gone again at the end, whatever happened.
"""

from __future__ import annotations

import array
import fcntl
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH: from here on nothing reaches the device, not even the journal.
SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2

BUSY_S = 10.0


class LoopDisk:
    """An ext4 file system in a file, mounted at `mount_point`."""

    def __init__(self, image: Path, mount_point: Path, *, megabytes: int) -> None:
        self.mount_point = mount_point
        self._image = image
        self._megabytes = megabytes

    def make(self) -> None:
        """Make it anew, empty."""
        self._image.unlink(missing_ok=True)
        with self._image.open("wb") as file:
            file.truncate(self._megabytes * 1024 * 1024)
        run("mkfs.ext4", "-q", "-F", "-m", "0", str(self._image))

    def mount(self) -> None:
        """Mount it; after a cut of power this is where the journal is played."""
        self.mount_point.mkdir(parents=True, exist_ok=True)
        run("mount", "-o", "loop", str(self._image), str(self.mount_point))

    def unmount(self) -> None:
        """Unmount it; who has files open on it must have ended."""
        give_up = time.monotonic() + BUSY_S
        while subprocess.run(["umount", str(self.mount_point)], capture_output=True, check=False).returncode != 0:
            assert time.monotonic() < give_up, f"{self.mount_point} stays busy"
            time.sleep(0.02)

    def cut_power(self) -> None:
        """Whatever was not brought to the device is lost from here on; everything fails until it is mounted again."""
        folder = os.open(self.mount_point, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, SHUTDOWN, array.array("I", [NO_LOG_FLUSH]))
        finally:
            os.close(folder)

    def remount(self, option: str) -> None:
        """`ro` or `rw`."""
        run("mount", "-o", f"remount,{option}", str(self.mount_point))

    def fail_to_read_only(self) -> None:
        """Have ext4 find an error and go read-only, as it does when a disk begins to fail; open files included.

        There is no way back for this mount.
        """
        run("mount", "-o", "remount,errors=remount-ro", str(self.mount_point))
        device = subprocess.run(
            ["findmnt", "-n", "-o", "SOURCE", str(self.mount_point)], capture_output=True, text=True, check=True
        )
        Path("/sys/fs/ext4", Path(device.stdout.strip()).name, "trigger_fs_error").write_text("a drill")

    def close(self) -> None:
        """Let go of it, used or not."""
        if os.path.ismount(self.mount_point):
            # Lazily: a process that a failing test left behind keeps only the device, not the directory.
            subprocess.run(["umount", "-l", str(self.mount_point)], capture_output=True, check=False)
        self._image.unlink(missing_ok=True)


@contextmanager
def loop_disk(directory: Path, mount_point: Path, *, megabytes: int = 256) -> Iterator[LoopDisk]:
    """A new file system, mounted; its image is in `directory`."""
    disk = LoopDisk(directory / "disk.img", mount_point, megabytes=megabytes)
    try:
        disk.make()
        disk.mount()
        yield disk
    finally:
        disk.close()


def run(*arguments: str) -> None:
    """Run a program to its end; AssertionError with what it said when it fails."""
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}"
