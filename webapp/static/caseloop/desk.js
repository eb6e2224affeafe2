// Every page. Keys: ? shows the map, n takes the next case where the page offers it, u takes the last step back while the page says what it was.
const keys = document.getElementById("keys");

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || keys?.open) return;
  if (event.target instanceof Element && event.target.closest("input:not([type=radio], [type=checkbox]), select, textarea")) return;
  if (event.key === "?" && keys) keys.showModal();
  else if (event.key === "u" && document.querySelector("[aria-keyshortcuts=u]")) document.querySelector("[aria-keyshortcuts=u]").click();
  else if (event.key === "n" && document.getElementById("next")) document.getElementById("next").requestSubmit();
  else return;
  event.preventDefault();
});

document.getElementById("keys-link")?.addEventListener("click", (event) => {
  event.preventDefault();
  keys.showModal();
});

// Boxes that are wider than the screen say so, fade at the side where there is more, and can be scrolled with keys
const mark = (box) => {
  const hidden = box.scrollWidth - box.clientWidth;
  if (hidden <= 1) {
    delete box.dataset.cut;
    return;
  }
  box.dataset.cut = box.scrollLeft < hidden - 1 ? "more" : "end";
  box.dataset.more = document.body.dataset.more;
  box.tabIndex = 0;
};
const sizes = new ResizeObserver((entries) => entries.forEach((entry) => mark(entry.target)));
const watch = (root) => {
  for (const box of root.querySelectorAll(".scroll, .chips")) {
    sizes.observe(box);
    box.addEventListener("scroll", () => mark(box), { passive: true });
  }
};
watch(document);
document.addEventListener("htmx:load", (event) => watch(event.target.parentNode ?? document));

// Each notice can be closed, and those that tell of no fault and offer nothing go by themselves, unless one is at them
const NOTICE_MILLISECONDS = 10000;
for (const notice of document.querySelectorAll(".notices li")) {
  const shut = notice.querySelector(".shut");
  shut.hidden = false;
  shut.addEventListener("click", () => notice.remove());
  const leave = () => (notice.matches(":hover, :focus-within") ? setTimeout(leave, 1000) : notice.remove());
  if (!notice.matches(".error, :has(form)")) setTimeout(leave, NOTICE_MILLISECONDS);
}
