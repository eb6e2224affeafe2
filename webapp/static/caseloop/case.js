// The case page under somebody's fingers: a head has the focus, its labels answer to digits, its words are marked.
// All of it can be done without this file; the server checks everything again.
const answers = document.getElementById("answers");
const heads = [...answers.querySelectorAll("fieldset.head")];
const transcript = document.querySelector(".transcript");
const save = document.getElementById("save");
let current = null;
let marksWords = true;

const picks = (head) => [...head.querySelectorAll("input[type=radio], input[type=checkbox]")];
const isTyping = (target) => target instanceof Element && target.closest("input[type=text], select, textarea") !== null;
const tell = (words) => { document.getElementById("said").textContent = words; };

function enter(head) {
  current = head;
  for (const one of heads) one.classList.toggle("here", one === head);
  showWords();
}

function goTo(head) {
  enter(head);
  const inputs = picks(head).filter((input) => !input.closest("details:not([open])"));
  const first = inputs.find((input) => input.checked && input.type === "radio") ?? inputs[0] ?? head.querySelector(".label");
  first?.focus({ preventScroll: true });
  head.scrollIntoView({ block: "nearest" });
}

// --- The words that a head looked at

function showWords() {
  for (const word of transcript.querySelectorAll(".look")) {
    const found = marksWords && current ? word.dataset.looks.split(";").find((one) => one.startsWith(`${current.dataset.head}=`)) : null;
    word.className = found ? `look look-${found.split("=")[1]}` : "look";
  }
}

answers.addEventListener("click", (event) => {
  const link = event.target.closest(".words a");
  if (!link) return;
  event.preventDefault();
  marksWords = true;
  goTo(link.closest("fieldset"));
});

// --- Answers: what differs from the model's, and a child head that agrees with its parent

function compare(head) {
  const isChanged = picks(head).some((input) => !input.name.endsWith(".none") && input.checked !== input.hasAttribute("data-said"));
  head.querySelector(".changed").hidden = !(isChanged && "answered" in head.dataset);
}

function compareAll() {
  heads.forEach(compare);
  const count = heads.filter((head) => !head.querySelector(".changed").hidden).length;
  const changes = document.getElementById("changes");
  if (changes) changes.textContent = count ? changes.dataset.words.replace("0", count) : "";
}

answers.addEventListener("change", (event) => {
  const chosen = event.target;
  if (!(chosen instanceof HTMLInputElement)) return;
  if (chosen.dataset.parentHead) {
    for (const input of document.getElementsByName(chosen.dataset.parentHead)) {
      input.checked = input.value === chosen.dataset.parentLabel;
      if (input.checked) input.closest("details")?.setAttribute("open", "");
    }
  }
  for (const child of answers.querySelectorAll(`[data-parent-head="${CSS.escape(chosen.name)}"]:checked`)) {
    child.checked = child.dataset.parentLabel === chosen.value;
  }
  for (const mark of transcript.querySelectorAll(`mark[data-span="${CSS.escape(chosen.value)}"]`)) {
    mark.classList.toggle("off", !chosen.checked);
  }
  compareAll();
});

function pick(head, number) {
  if (head.dataset.kind === "spans") return addSpan(head, head.querySelectorAll(".label")[number - 1]);
  if (head.dataset.kind === "rubric") return markCriterion(head, number);
  const options = [...head.querySelectorAll(".option input")].filter((input) => !input.closest("details"));
  options[number - 1]?.click();
  options[number - 1]?.focus({ preventScroll: true });
}

function criterion(head) {
  const marks = [...head.querySelectorAll(".mark")];
  const here = document.activeElement.closest(".mark");
  return [marks, here ? marks.indexOf(here) : 0];
}

function toCriterion(marks, place) {
  const there = marks[Math.max(0, Math.min(place, marks.length - 1))];
  (there.querySelector("input:checked") ?? there.querySelector("input")).focus({ preventScroll: true });
  there.scrollIntoView({ block: "nearest" });
}

function markCriterion(head, number) {
  const [marks, place] = criterion(head);
  marks[place].querySelectorAll("input")[number - 1]?.click();
  if (number <= 3) toCriterion(marks, place + 1);
}

// --- Any label by a part of its name

for (const field of answers.querySelectorAll(".ahead")) {
  const options = [...field.closest("fieldset").querySelectorAll(".option")]; // The likeliest stand above and come first
  const rest = new Set(field.closest("details").querySelectorAll(".option"));
  const found = () => options.find((option) => option.classList.contains("found"));
  field.hidden = false;
  field.addEventListener("input", () => {
    const part = field.value.trim().toLowerCase();
    const fits = options.filter((option) => option.textContent.toLowerCase().includes(part));
    for (const option of options) {
      option.hidden = rest.has(option) && !fits.includes(option);
      option.classList.toggle("found", part !== "" && option === fits[0]); // What Enter takes
    }
    found()?.scrollIntoView({ block: "nearest" });
  });
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    const input = found()?.querySelector("input");
    input?.click();
    input?.focus();
  });
  field.addEventListener("blur", () => found()?.classList.remove("found"));
}

// --- Entities: words of the transcript, selected with the mouse or the arrow keys. Places are counted in characters,
// as the server counts them, and not in UTF-16 units.

const isWord = (character) => /[\p{L}\p{N}_]/u.test(character);

function characters(turn) {
  const copy = turn.cloneNode(true);
  for (const name of copy.querySelectorAll("small")) name.remove();
  return [...copy.textContent];
}

function before(turn, node, offset) {
  const range = document.createRange();
  range.setStart(turn, 0);
  range.setEnd(node, offset);
  const copy = range.cloneContents();
  for (const name of copy.querySelectorAll("small")) name.remove();
  return [...copy.textContent].length;
}

function selected() {
  const selection = getSelection();
  if (!selection.rangeCount || selection.isCollapsed) return null;
  const range = selection.getRangeAt(0);
  const turn = (range.startContainer.nodeType === 1 ? range.startContainer : range.startContainer.parentElement).closest("p[data-start]");
  if (!turn || !transcript.contains(turn)) return null;
  const text = characters(turn);
  let start = before(turn, range.startContainer, range.startOffset);
  let end = turn.contains(range.endContainer) ? before(turn, range.endContainer, range.endOffset) : text.length;
  while (start < end && !isWord(text[start])) start++;
  while (end > start && !isWord(text[end - 1])) end--;
  if (start === end) return null;
  while (start > 0 && isWord(text[start - 1])) start--;
  while (end < text.length && isWord(text[end])) end++;
  return { turn, start, end, words: text.slice(start, end).join("") };
}

function rangeOf(turn, start, end) {
  const range = document.createRange();
  const walker = document.createTreeWalker(turn, NodeFilter.SHOW_TEXT);
  let place = 0;
  let begun = false;
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    if (node.parentElement.closest("small")) continue;
    const text = [...node.data];
    const units = (count) => text.slice(0, count).join("").length;
    if (!begun && start < place + text.length) {
      range.setStart(node, units(start - place));
      begun = true;
    }
    if (begun && end <= place + text.length) {
      range.setEnd(node, units(end - place));
      return range;
    }
    place += text.length;
  }
  return range;
}

function draw(range, value, name) {
  const mark = document.createElement("mark");
  mark.dataset.span = value;
  mark.append(range.extractContents());
  mark.append(Object.assign(document.createElement("small"), { textContent: name }));
  range.insertNode(mark);
}

function drawMissing(value, name) {
  const [start, end] = value.split(":").map(Number);
  const turn = [...transcript.querySelectorAll("p[data-start]")].findLast((one) => Number(one.dataset.start) <= start);
  if (!turn || transcript.querySelector(`mark[data-span="${CSS.escape(value)}"]`)) return;
  const range = rangeOf(turn, start - Number(turn.dataset.start), end - Number(turn.dataset.start));
  if (![...turn.querySelectorAll("mark")].some((mark) => range.intersectsNode(mark))) draw(range, value, name);
}

function addSpan(head, button) {
  const found = selected();
  if (!button) return;
  if (!found) return tell(button.parentElement.dataset.select);
  const range = rangeOf(found.turn, found.start, found.end);
  if ([...found.turn.querySelectorAll("mark:not(.off)")].some((mark) => range.intersectsNode(mark))) return tell(button.parentElement.dataset.marked);
  const start = Number(found.turn.dataset.start) + found.start;
  const value = `${start}:${start + found.end - found.start}:${button.dataset.label}`;
  const known = picks(head).find((input) => input.value === value);
  if (known) return known.click();
  draw(range, value, button.querySelector("span").textContent);
  const row = Object.assign(document.createElement("label"), { className: "option" });
  const input = Object.assign(document.createElement("input"), { type: "checkbox", name: head.dataset.head, value, checked: true });
  const name = Object.assign(document.createElement("span"), { className: "quiet small", textContent: button.querySelector("span").textContent });
  row.append(input, Object.assign(document.createElement("span"), { textContent: found.words }), name);
  const list = head.querySelector(".marked");
  list.querySelector("p")?.remove();
  list.append(row);
  getSelection().removeAllRanges();
  input.dispatchEvent(new Event("change", { bubbles: true }));
  tell("");
}

let first = -1; // Words that the arrow keys have selected, by their number in the transcript
let last = -1;

function words() {
  const found = [];
  for (const turn of transcript.querySelectorAll("p[data-start]")) {
    const text = characters(turn);
    for (let place = 0; place < text.length; place++) {
      if (!isWord(text[place])) continue;
      const start = place;
      while (place < text.length && isWord(text[place])) place++;
      found.push({ turn, start, end: place });
    }
  }
  return found;
}

function selectWords(key, extends_) {
  const all = words();
  const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
  const turnOf = (place) => all[place]?.turn;
  let to = last;
  if (step) to += step;
  else if (key === "ArrowDown") while (to < all.length - 1 && (to < 0 || turnOf(to) === turnOf(last))) to++;
  else {
    while (to > 0 && turnOf(to) === turnOf(last)) to--;
    while (to > 0 && turnOf(to - 1) === turnOf(to)) to--;
  }
  to = Math.max(0, Math.min(to, all.length - 1));
  if (!all.length || (extends_ && first >= 0 && turnOf(to) !== turnOf(first))) return;
  last = to;
  if (!extends_ || first < 0) first = to;
  const [from, until] = [all[Math.min(first, last)], all[Math.max(first, last)]];
  const range = rangeOf(from.turn, from.start, until.end);
  getSelection().removeAllRanges();
  getSelection().addRange(range);
  until.turn.scrollIntoView({ block: "nearest" });
}

for (const button of answers.querySelectorAll(".label")) {
  button.hidden = false;
  button.addEventListener("mousedown", (event) => event.preventDefault()); // The selection stays
  button.addEventListener("click", () => addSpan(button.closest("fieldset"), button));
}

// --- What annotators answered: one of them is filled in

const takes = (head) => [...head.querySelectorAll(".take")];

function take(button) {
  const head = button.closest("fieldset");
  const inputs = JSON.parse(button.dataset.inputs);
  for (const one of takes(head)) one.setAttribute("aria-pressed", one === button);
  for (const input of picks(head)) {
    const isHeld = inputs.includes(`${input.name}=${input.value}`);
    if (isHeld && head.dataset.kind === "spans") drawMissing(input.value, input.closest("label").querySelector(".quiet").firstChild.data);
    if (input.checked === isHeld) continue;
    input.checked = isHeld;
    if (isHeld || input.type === "checkbox") input.dispatchEvent(new Event("change", { bubbles: true }));
  }
  const shown = head.querySelector('input[name$=".shown"]');
  if (shown) shown.value = "took";
  compareAll();
  tell(button.dataset.told);
}

for (const row of answers.querySelectorAll(".takes")) row.hidden = false;
answers.addEventListener("click", (event) => {
  const button = event.target.closest(".take");
  if (button) take(button);
});

function takeNext(head) {
  const all = takes(head);
  if (all.length) take(all[(all.findIndex((one) => one.getAttribute("aria-pressed") === "true") + 1) % all.length]);
}

// --- Sending: once, however often a key is pressed; the alert is sent beside the form

const senders = [...document.querySelectorAll('button[form="answers"]:not([hx-post])')];
const allow = (isAllowed) => { for (const button of senders) button.disabled = !isAllowed; };

answers.addEventListener("submit", () => allow(false));
addEventListener("pageshow", () => allow(true)); // Gone back to

// --- Leaving: who typed nothing lets others have the case soon

let isTouched = false;
for (const happens of ["input", "change", "submit"]) answers.addEventListener(happens, () => { isTouched = true; });
// The lease as this page took it: the line that is asked for every minute may tell of another page's
const lease = () => document.querySelector("[data-until]")?.dataset;
let held = lease();
document.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.requestConfig.verb === "post" && event.detail.target.id === "hold") held = lease();
});
addEventListener("pagehide", (event) => {
  if (!held || isTouched || event.persisted) return;
  const said = new FormData();
  said.set("csrfmiddlewaretoken", answers.elements.csrfmiddlewaretoken.value);
  said.set("until", held.until);
  navigator.sendBeacon(held.leave, said);
});

// --- Keys

const press = (key) => document.querySelector(`.actions [aria-keyshortcuts="${key}"]`)?.click();
const by_key = {
  a: () => save?.click(),
  n: () => document.getElementById("note")?.focus(),
  r: () => press("r"),
  o: () => press("o"),
  "!": () => press("!"),
  b: () => {
    press("b");
    document.querySelector(".back select")?.focus();
  },
  v: () => {
    press("v");
    document.querySelector("#reveal select")?.focus();
  },
  y: () => document.getElementById("reason")?.focus(),
  x: () => { if (current) takeNext(current); },
  w: () => { marksWords = !marksWords; showWords(); },
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (isTyping(event.target)) {
    const menu = event.target.closest("details.back");
    if (event.key === "Escape" && menu) menu.open = false;
    if (event.key === "Escape") current ? goTo(current) : event.target.blur();
    else if (event.key === "Enter" && event.target.matches("input")) event.preventDefault(); // Not the decision
    return;
  }
  if (event.repeat && !event.key.startsWith("Arrow")) { // A key that is held must not decide the next case too, unread
    if (event.key === "Enter") event.preventDefault();
    return;
  }
  const head = heads.find((one) => one.dataset.letter === event.key && !one.disabled);
  const isButton = event.target instanceof Element && event.target.closest("button, a, summary");
  if (head) goTo(head);
  else if (Object.hasOwn(by_key, event.key)) by_key[event.key]();
  else if (event.key === "Enter" && !isButton && save) save.click();
  else if (current && /^[1-9]$/.test(event.key)) pick(current, Number(event.key));
  else if (current && event.key === "0" && current.querySelector(".ahead")) {
    current.querySelector(".rest").open = true;
    current.querySelector(".ahead").focus();
  } else if (current?.dataset.kind === "spans" && event.key.startsWith("Arrow")) selectWords(event.key, event.shiftKey);
  else if (current?.dataset.kind === "rubric" && /^Arrow(Up|Down)$/.test(event.key)) {
    const [marks, place] = criterion(current);
    toCriterion(marks, place + (event.key === "ArrowDown" ? 1 : -1));
  } else return;
  event.preventDefault();
});

answers.addEventListener("focusin", (event) => {
  const head = event.target.closest("fieldset.head");
  if (head && head !== current) enter(head);
});

compareAll();
if (heads.length && !heads[0].disabled) enter(heads[0]);
