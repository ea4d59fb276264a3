// The bar: where one is, where one can go, how it looks, who one is.

import { signOut } from "./api.js";
import { fill, h } from "./dom.js";
import { said, say } from "./parts.js";
import { nextTheme, theme } from "./theme.js";

const PLACES = { jobs: "Jobs", workers: "Workers", queues: "Queues", events: "Events" };
const THEMES = { system: ["◐", "as the system says"], light: ["☀", "light"], dark: ["☾", "dark"] };

export function showBar(bar, session, signedOut) {
  const links = Object.entries(PLACES).map(([place, label]) => h("a", { href: `#/${place}`, "data-place": place }, label));
  const who = session.role === "admin" ? "Administrator" : "User";
  fill(
    bar,
    h("a", { class: "brand", href: "#/jobs" }, h("img", { src: "/static/icon.svg", alt: "", width: 20, height: 20 }), "Tenure"),
    h("nav", { "aria-label": "Main" }, links),
    h(
      "div",
      { class: "bar-end" },
      h("span", { class: "who", title: "What your token is for" }, who),
      themeButton(),
      h("button", { type: "button", class: "quiet", onclick: leave }, "Sign out"),
    ),
  );

  async function leave() {
    try {
      await signOut();
      signedOut();
    } catch (error) {
      say(said(error));
    }
  }
}

/** Marks the place where one is. */
showBar.mark = (bar, place) => {
  const marked = place === "submit" ? "jobs" : place;
  for (const link of bar.querySelectorAll("nav a")) {
    if (link.dataset.place === marked) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
};

function themeButton() {
  const button = h("button", { type: "button", class: "quiet theme", onclick: () => show(nextTheme()) });
  show(theme());
  function show(chosen) {
    const [sign, words] = THEMES[chosen];
    button.textContent = sign;
    button.setAttribute("aria-label", `Colours: ${words}. Change`);
    button.title = `Colours: ${words}`;
  }
  return button;
}
