"""What reading a damaged database comes to, and how it is said: a page that was written over gives columns of another
type, text that is none, rows without values."""

from __future__ import annotations

import struct

import apsw

from tenure.store.decoding import DecodeError

UNREADABLE = (
    apsw.CorruptError,
    apsw.NotADBError,
    DecodeError,
    struct.error,
    # What Python makes of columns that no server has written; a text that is not UTF-8 and no JSON are ValueErrors.
    TypeError,
    ValueError,
    LookupError,
)

# What says nothing of what is in a database: somebody else's lock, want of room, memory, files or permissions.
NO_DAMAGE = (
    apsw.BusyError,
    apsw.LockedError,
    apsw.FullError,
    apsw.ReadOnlyError,
    apsw.CantOpenError,
    apsw.NoMemError,
)


def words(error: Exception) -> str:
    """What was found, for people; never what is stored."""
    match error:
        case apsw.Error() | DecodeError():
            return str(error)
        case UnicodeDecodeError():
            return "there is text in it that is none"
        case _:
            return "there are rows in it that no server has written"
