// Keys of the queue: j and k move, Enter opens, / searches.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target instanceof Element && event.target.closest("input, select, textarea")) return;
  const rows = [...document.querySelectorAll(".queue a")];
  const here = rows.indexOf(document.activeElement);
  if (event.key === "j") rows[Math.min(here + 1, rows.length - 1)]?.focus();
  else if (event.key === "k") rows[Math.max(here - 1, 0)]?.focus();
  else if (event.key === "/") document.getElementById("words").focus();
  else return;
  event.preventDefault();
});
