// Keeps a child head and its parent consistent while a person chooses; the server checks the same again.
document.addEventListener("change", (event) => {
  const chosen = event.target;
  if (!(chosen instanceof HTMLInputElement) || !chosen.dataset.parentHead) return;
  const parents = document.getElementsByName(chosen.dataset.parentHead);
  for (const input of parents) input.checked = input.value === chosen.dataset.parentLabel;
});
