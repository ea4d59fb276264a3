"""`tenure demo`: everything once, on this machine, with real parts."""

from __future__ import annotations

from tenure.cli.demo.command import demo

__all__ = ["demo"]
