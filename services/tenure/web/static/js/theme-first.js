// Runs before the first paint, so that a chosen theme never flashes the other one. The rest is in theme.js.
(() => {
  try {
    const chosen = localStorage.getItem("tenure.theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch {
    // No storage, no choice: the system's theme.
  }
})();
