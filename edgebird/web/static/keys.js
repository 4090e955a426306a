// Review without a mouse: R right, W wrong, U unsure, L later, space plays.
"use strict";
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, select, textarea, audio");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const form = document.querySelector("[data-verdicts]");
  const verdict = { r: "right", w: "wrong", u: "unsure" }[event.key.toLowerCase()];
  if (verdict && form) {
    const species = form.querySelector("[name=species]");
    if (verdict === "wrong" && !species.value) { event.preventDefault(); species.focus(); return; }
    form.requestSubmit(form.querySelector(`[value=${verdict}]`));
  } else if (event.key.toLowerCase() === "l") {
    const later = document.querySelector("[data-skip]");
    if (later) location.href = later.href;
  } else if (event.key === " " && !event.target.matches("button, a")) {
    const audio = document.querySelector("[data-sound] audio");
    if (audio) { event.preventDefault(); if (audio.paused) audio.play(); else audio.pause(); }
  }
});
// In the field of the species, Enter says wrong: not the first button of the form.
const field = document.querySelector("[data-verdicts] [name=species]");
if (field) field.addEventListener("keydown", (event) => {
  if (event.key === "Enter") { event.preventDefault(); field.form.requestSubmit(field.form.querySelector("[value=wrong]")); }
  if (event.key === "Escape") field.blur();
});
