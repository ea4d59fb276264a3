"""What every number of the catalogue stands for, and where it is tried: all 85, so that none is forgotten in silence.

A row has cases here, or tests elsewhere that have the means it needs (a clock that is moved, a disk that is full, an
object store), or it is about something that Tenure does not have. It may have two of them.
"""

from __future__ import annotations

from tests.hostile import (
    catalogue_fields,
    catalogue_folders,
    catalogue_identity,
    catalogue_later,
    catalogue_lists,
    catalogue_specifications,
    catalogue_streams,
    catalogue_transport,
)
from tests.hostile.catalogue import Case

CASES: list[Case] = [
    *catalogue_transport.CASES,
    *catalogue_identity.CASES,
    *catalogue_specifications.CASES,
    *catalogue_fields.CASES,
    *catalogue_lists.CASES,
    *catalogue_later.CASES,
    *catalogue_streams.CASES,
    *catalogue_folders.CASES,
    *catalogue_transport.LAST,
]

ROWS: dict[int, str] = {
    # Transport and encoding
    1: "bytes that are no message, a body that is no JSON",
    2: "text that is not UTF-8",
    3: "nesting without end, and deeper than whoever gets it later can read",
    4: "unknown fields, known fields of another wire type: ignored, and not stored",
    5: "a message over 4 MiB",
    6: "a small message that unpacks to a huge one",
    7: "unknown compression, compressed garbage",
    8: "metadata over 8 KiB",
    9: "several credentials, binary junk in metadata, line breaks in it",
    10: "a method or service that does not exist",
    11: "a call with no message, a call that never sends one",
    12: "a unary call with two messages: the first counts",
    13: "no deadline, one in ten years: cut to ours",
    14: "a deadline that has passed: nothing is written",
    15: "a deadline that passes between commit and answer: a retry with the same request id gets the answer",
    16: "a call cancelled during its commit: likewise",
    17: "rapid reset, more streams than allowed, floods of pings",
    18: "a peer that is gone without a word",
    19: "a connection that never finishes its opening or its header",
    20: "plain text to an encrypted port",
    # Who calls
    21: "no token, an empty one, garbage",
    22: "a token that counts no more",
    23: "tokens of other systems: unsigned, signed with a public key, naming a key elsewhere",
    24: "a token that ends while its stream is open",
    25: "what belongs to somebody else: answered to the byte as what does not exist",
    26: "a role that may not call this",
    27: "a project, or a queue, of others",
    # Creating, reading, listing
    28: "fields that are missing, several at once, a thousand at once",
    29: "commands and arguments that could not be run",
    30: "names and values of the environment",
    31: "nothing set where one of several is to be, two of them set",
    32: "numbers that an enum does not have",
    33: "spans: negative, zero, of two signs, overflowing, over the limit",
    34: "instants that are none",
    35: "numbers out of range, not a number, infinity; what is not built",
    36: "ids, and names for people: paths, direction marks, look-alikes, a million letters",
    37: "a job id that exists",
    38: "the same request id with the same body",
    39: "the same request id with another body",
    40: "the same request a hundred times at once",
    41: "no request id, one that is none",
    42: "the request id of somebody else",
    43: "none, too many, equal ones, one bad among a thousand",
    44: "labels: ten thousand, of 10 KB",
    45: "page tokens: forged, of another list, of somebody else",
    46: "page sizes: negative, a billion",
    47: "filters: long ones, SQL, paths, what does not exist",
    48: "dependencies in a circle, of nothing, of a hundred thousand",
    49: "more than a quota",
    50: "a server that is overloaded, stops, has a full disk, can only read",
    51: "a commit whose outcome is unknown",
    # Ending, extending, watching
    52: "ending what has ended: OK, and nothing changes",
    53: "ending what completes at that instant: what is first in the log counts",
    54: "extending by nothing, over the cap, what has ended, out of the calendar",
    55: "a change that expects another version",
    56: "a place in the log that is yet to come",
    57: "a place in the log that is kept no more",
    58: "a place in another log, garbage",
    59: "a watcher who does not read",
    60: "ten thousand watches of one caller",
    # Workers
    61: "no Hello, two of them, another protocol, one that breaks the rules",
    62: "a worker that is not who it may be",
    63: "one worker id on two streams",
    64: "what is said of somebody else's lease, or of none",
    65: "what is said of a lease that is over",
    66: "a lease that the log does not know",
    67: "an outcome twice",
    68: "an outcome that contradicts one accepted before",
    69: "messages out of order, with gaps, repeated",
    70: "progress and counts: 150 %, not a number, backwards, negative",
    71: "exit codes and signals that do not exist",
    72: "results: too long, from before the beginning, of nobody",
    73: "a worker's clock that is days off",
    74: "more slots than there can be, too much in one message",
    75: "silence, an end without Goodbye",
    76: "beats without a command behind them",
    77: "a job that takes down its workers",
    # Folders and webhooks
    78: "folders on the worker: up, home, control characters, too long",
    79: "prefixes, buckets, expressions",
    80: "keys in the store that are no files below a folder",
    81: "symlinks, pipes, files without end in a folder that is copied",
    82: "objects that change while they are copied",
    83: "a store that fails, is slow, sends half, sends something else",
    84: "URLs that lead inside, or nowhere",
    85: "receivers that redirect, are gone, hang, or answer without end",
}

# Rows, or the parts of them, that are tried elsewhere.
ELSEWHERE: dict[int, tuple[str, ...]] = {
    6: ("tests/hostile/test_http2.py::test_a_hostile_client_neither_starves_the_others_nor_fills_the_memory",),
    15: (
        "tests/store/contract.py::test_a_cancelled_caller_does_not_stop_its_commit",
        "tests/faults/test_lost_replies.py::test_lost_replies",
    ),
    16: ("tests/controlplane/test_handler.py::test_a_cancelled_caller_leaves_a_whole_change",),
    17: ("tests/hostile/test_http2.py::test_a_hostile_client_neither_starves_the_others_nor_fills_the_memory",),
    18: (
        "tests/controlplane/test_streams.py::test_a_peer_that_goes_ends_the_service",
        "tests/faults/test_partitions.py::test_partitions",
    ),
    19: (
        "tests/hostile/test_http2.py::test_a_hostile_client_neither_starves_the_others_nor_fills_the_memory",
        "tests/web/test_serving.py::test_a_header_that_does_not_end_is_cut_off",
    ),
    20: ("tests/controlplane/test_app.py::test_encryption_and_its_renewal",),
    40: ("tests/store/contract.py::test_a_hundred_callers_with_one_request_id_change_one_thing",),
    50: (
        "tests/controlplane/test_unary.py::test_more_calls_than_the_limit_are_refused_and_places_come_back",
        "tests/controlplane/test_unary.py::test_a_server_that_drains_takes_no_calls",
        "tests/faults/test_full_disk.py::test_full_disk",
        "tests/faults/test_read_only.py::test_read_only",
        "tests/store/test_sqlite_writer.py::test_a_full_disk_stops_writing_and_not_reading",
        "tests/store/test_sqlite_writer.py::test_a_disk_that_can_only_be_read_stops_writing",
        "tests/controlplane/test_unary.py::test_errors_have_their_codes",
    ),
    51: (
        "tests/store/test_sqlite_writer.py::test_a_flush_that_fails_is_never_acknowledged",
        "tests/faults/test_failed_sync.py::test_failed_sync",
        "tests/controlplane/test_unary.py::test_errors_have_their_codes",
    ),
    53: ("tests/controlplane/test_sessions.py::test_after_ok_to_terminate_nothing_begins",),
    55: ("tests/controlplane/test_handler.py::test_a_lost_race_is_decided_again",),
    56: (
        "tests/controlplane/test_resume.py::test_a_log_that_has_lost_its_tail_is_noticed",
        "tests/faults/test_corruption.py::test_who_has_seen_a_lost_tail_is_told",
    ),
    59: ("tests/controlplane/test_streams.py::test_a_peer_that_does_not_read_is_given_up",),
    60: ("tests/controlplane/test_streams.py::test_more_streams_than_the_limit_are_refused",),
    75: (
        "tests/controlplane/test_sessions.py::test_the_end_of_a_stream_says_nothing_of_its_jobs",
        "tests/controlplane/test_timers.py::test_a_worker_that_vanishes_is_lost_to_the_microsecond",
    ),
    77: (
        "tests/controlplane/test_timers.py::test_a_job_that_takes_down_its_workers_is_ended_after_five",
        "tests/faults/test_poison.py::test_poison",
    ),
    78: ("tests/agent/sync/test_folders.py::test_other_paths_are_refused",),
    80: (
        "tests/agent/sync/test_keys.py::test_hostile_keys_are_refused",
        "tests/agent/sync/test_keys.py::test_a_file_cannot_be_a_folder_too",
        "tests/agent/sync/test_download.py::test_a_hostile_key_starts_nothing",
        "tests/hostile/test_agent_sync.py::test_a_hostile_key_is_no_path",
        "tests/hostile/test_agent_sync.py::test_keys_that_only_look_hostile_are_files",
    ),
    81: (
        "tests/agent/sync/test_beneath.py::test_only_regular_files_are_seen",
        "tests/agent/sync/test_beneath.py::test_a_folder_swapped_for_a_symlink_again_and_again",
        "tests/agent/sync/test_watch.py::test_links_and_pipes_are_passed_over",
        "tests/hostile/test_agent_sync.py::test_folders_swapped_for_symlinks_lead_nowhere",
        "tests/hostile/test_agent_jobs.py::test_hostile_jobs_harm_nobody_else",
    ),
    82: (
        "tests/agent/sync/test_download.py::test_an_object_that_is_replaced_meanwhile_is_loaded_anew",
        "tests/agent/sync/test_download.py::test_a_prefix_that_does_not_stop_changing_is_refused",
    ),
    83: (
        "tests/agent/sync/test_s3.py::test_half_an_object_is_unreachable",
        "tests/agent/sync/test_s3.py::test_bytes_that_are_not_what_was_stored_are_refused",
        "tests/agent/sync/test_s3.py::test_a_server_that_says_nothing_is_unreachable",
        "tests/agent/sync/test_retry.py::test_the_budget_ends_it",
    ),
    84: ("tests/controlplane/webhooks/test_calling.py::test_a_name_that_leads_inside_is_not_connected_to",),
    85: (
        "tests/controlplane/webhooks/test_announcing.py::test_a_redirect_is_a_failed_try_and_nobody_goes_there",
        "tests/controlplane/webhooks/test_announcing.py::test_gone_disables_the_endpoint",
        "tests/controlplane/webhooks/test_calling.py::test_an_answer_that_does_not_come_in_time_is_none",
        "tests/controlplane/webhooks/test_calling.py::test_an_answer_without_an_end_is_cut_and_counts",
    ),
}

# Rows that do not apply, because …
NOT_OURS: dict[int, str] = {
    37: "ids of jobs are the server's; no request can choose one",
    48: "jobs do not depend on each other",
    49: "there are no quotas; what bounds a caller are the limits of rows 5, 8, 43, 50 and 60",
    57: "no event is ever dropped from the front of the log, so no place in it becomes too old",
    69: "a stream keeps its order, and messages carry no numbers: leases and repeats decide what counts (64 to 68)",
    73: "no message of a worker carries the time of its clock",
    76: "a worker is trusted about its own attempts; its beats come from the attempt and end with it",
}
