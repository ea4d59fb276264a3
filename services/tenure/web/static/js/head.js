// Where the log ends now: the place from which a list can be followed without a gap.

import { browseJobs, watchJobs } from "./api.js";

/** `{token, position}` of the end of the log. Asked of the newest job, so that no snapshot of many is sent. */
export async function head(signal) {
  const newest = (await browseJobs({ pageSize: 1 })).jobs?.[0];
  const own = new AbortController();
  const both = AbortSignal.any([signal, own.signal]);
  try {
    for await (const message of watchJobs(newest ? { ids: [newest.id] } : {}, both)) {
      if (message.progressMark) return { token: message.resumeToken, position: Number(message.progressMark.position) };
    }
    return { token: "", position: 0 };
  } finally {
    own.abort();
  }
}
