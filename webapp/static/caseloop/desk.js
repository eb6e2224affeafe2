// Keys of every page: ? shows the map, u takes the last step back while the page says what it was.
const keys = document.getElementById("keys");

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || keys?.open) return;
  if (event.target instanceof Element && event.target.closest("input:not([type=radio], [type=checkbox]), select, textarea")) return;
  if (event.key === "?" && keys) keys.showModal();
  else if (event.key === "u" && document.querySelector("[aria-keyshortcuts=u]")) document.querySelector("[aria-keyshortcuts=u]").click();
  else return;
  event.preventDefault();
});

document.getElementById("keys-link")?.addEventListener("click", (event) => {
  event.preventDefault();
  keys.showModal();
});
