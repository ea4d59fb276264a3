// Signing in with a token. The token is exchanged for a cookie at once and kept nowhere.

import { Refused, UNAUTHENTICATED, signIn } from "./api.js";
import { fill, h } from "./dom.js";
import { field, said } from "./parts.js";

export function signInView({ why, done }) {
  const trouble = h("div");
  const token = h("input", {
    type: "password",
    name: "token",
    autocomplete: "current-password",
    spellcheck: "false",
    autocapitalize: "off",
    required: true,
  });
  const button = h("button", { type: "submit", class: "primary" }, "Sign in");
  const form = h("form", { class: "sign-in", onsubmit: submit },
    h("img", { src: "/static/icon.svg", alt: "", width: 40, height: 40 }),
    h("h1", null, "Sign in to Tenure"),
    why ? h("p", { class: "notice" }, why) : null,
    // For password managers: what is kept is the token of this server.
    h("input", { type: "text", name: "username", autocomplete: "username", value: "token", hidden: true }),
    field("Token", token),
    trouble,
    button,
    h("p", { class: "hint" }, "The server's own administrator token is in ", h("code", null, "admin.token"),
      " in its data directory. Others are made with ", h("code", null, "tenure token create"), "."),
  );

  async function submit(event) {
    event.preventDefault();
    if (button.disabled) return;
    button.disabled = true;
    fill(trouble);
    try {
      await signIn(token.value.trim());
      token.value = "";
      await done();
    } catch (error) {
      const bad = error instanceof Refused && error.code === UNAUTHENTICATED;
      const text = bad ? "The server does not know this token, or it was revoked." : said(error);
      fill(trouble, h("p", { class: "notice bad", role: "alert" }, text));
      button.disabled = false;
      token.setAttribute("aria-invalid", "true");
      token.select();
      token.focus();
    }
  }

  return form;
}
