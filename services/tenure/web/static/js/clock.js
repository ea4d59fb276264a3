// What time it is at the server: a wrong clock here must not show a running job as expired.

let offset_ms = 0;

/** Takes the server's own clock from an answer; seconds are all it says, so small differences are none. */
export function learn(response) {
  const said = Date.parse(response.headers.get("date") ?? "");
  if (Number.isNaN(said)) return;
  const difference = said + 500 - Date.now();
  offset_ms = Math.abs(difference) > 2500 ? difference : 0;
}

/** Now, in milliseconds since the epoch. */
export function now() {
  return Date.now() + offset_ms;
}
