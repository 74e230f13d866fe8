const clock = (seconds) => {
  const whole = Math.max(0, Math.floor(seconds));
  const pad = (n) => String(n).padStart(2, "0");
  const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  return hours ? `${hours}:${pad(minutes)}:${pad(whole % 60)}` : `${minutes}:${pad(whole % 60)}`;
};
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const cards = [...document.querySelectorAll(".card")];
const find = document.getElementById("find");
const choices = [...document.querySelectorAll("[data-filter]")];

const words = new Map(cards.map((card) => {
  const parts = [...card.querySelectorAll("[data-searchable]")];
  return [card, parts.map((part) => part.textContent).join(" ").toLowerCase().replace(/\s+/g, " ")];
}));

const chosen = (filter) => choices
  .filter((b) => b.dataset.filter === filter && b.getAttribute("aria-pressed") === "true")
  .map((b) => b.dataset.value);

const filter = () => {
  const kinds = chosen("kind"), states = chosen("state");
  const terms = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const card of cards) {
    const { kind, state } = card.dataset;
    card.hidden = (kinds.length > 0 && !kinds.includes(kind)) || (states.length > 0 && !states.includes(state))
      || !terms.every((term) => words.get(card).includes(term));
    shown += card.hidden ? 0 : 1;
    if (card.hidden) card.querySelectorAll("video, audio").forEach((media) => media.pause());
  }
  const every = shown === cards.length;
  document.getElementById("found").textContent = every ? `${shown} shown` : `${shown} of ${cards.length} shown`;
  document.getElementById("nothing").hidden = shown > 0;
};

const clear = () => {
  find.value = "";
  choices.forEach((button) => button.setAttribute("aria-pressed", "false"));
  filter();
};

for (const button of choices) {
  button.addEventListener("click", () => {
    button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
    filter();
  });
}
find.addEventListener("input", filter);
document.getElementById("clear").addEventListener("click", () => { clear(); find.focus(); });

const openTarget = () => {
  const card = cards.find((c) => `#${c.id}` === location.hash);
  if (!card) return;
  if (card.hidden) clear();
  card.querySelector("details").open = true;
  card.scrollIntoView();
  card.querySelector("summary").focus({ preventScroll: true });
};

for (const card of cards) {
  const details = card.querySelector("details");
  details.addEventListener("toggle", () => {
    if (details.open && !card.dataset.ready) {
      card.dataset.ready = "yes";
      openAsset(card);
    }
    if (!details.open) card.querySelectorAll("video, audio").forEach((media) => media.pause());
  });
}
addEventListener("hashchange", openTarget);
addEventListener("DOMContentLoaded", () => { filter(); openTarget(); });
