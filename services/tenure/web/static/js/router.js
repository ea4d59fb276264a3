// Addresses of the page: `#/jobs?state=…`. Everything that makes a view is in its address, so that it can be sent on.

/** `{path: ["jobs", "ID"], query: URLSearchParams}` of where the page is. */
export function here() {
  const [path, search] = location.hash.replace(/^#\/?/, "").split("?");
  return { path: path.split("/").filter(Boolean).map(decoded), query: new URLSearchParams(search ?? "") };
}

/** The address of a view. Parameters without a value are left out. */
export function address(path, parameters = {}) {
  const given = Object.entries(parameters).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const search = new URLSearchParams(given).toString();
  return `#/${path.map(encodeURIComponent).join("/")}${search ? `?${search}` : ""}`;
}

/** Goes to a view; `replace` leaves no step in the history. */
export function go(to, { replace = false } = {}) {
  if (location.hash === to) return;
  if (replace) location.replace(to);
  else location.hash = to;
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
