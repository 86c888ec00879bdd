"use strict";
const word = document.getElementById("word");
let fading;
let isBusy = false; // while something is dragged, the page must stay as it is

// Nobody types: what is in a form would be lost.
const isIdle = () => !document.hidden && !document.activeElement.closest("form");

async function refresh(isWanted = () => true) {
  const page = new DOMParser().parseFromString(await (await fetch(location.href)).text(), "text/html");
  if (isBusy || !isWanted()) return;
  const focused = document.activeElement.id;
  document.getElementById("live").replaceWith(page.getElementById("live"));
  const again = focused && document.getElementById(focused);
  if (again) again.focus();
}

async function tell(path, body, done = "Done.") {
  const answer = await fetch(path, {
    method: "POST", headers: {"content-type": "application/json"}, body: JSON.stringify(body),
  });
  word.textContent = answer.ok ? done : (await answer.json()).error;
  clearTimeout(fading);
  fading = setTimeout(() => { word.textContent = ""; }, 4000);
  await refresh();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-post]");
  if (button) tell(button.dataset.post, JSON.parse(button.dataset.body), button.dataset.done);
});

document.addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-post]");
  if (!form) return;
  event.preventDefault();
  const body = JSON.parse(form.dataset.body);
  for (const [name, value] of new FormData(form)) {
    if (form.dataset.list === name) body[name] = value.split(/[ ,]+/).filter(Boolean).map(Number);
    else if (form.dataset.into) body[form.dataset.into][name] = value;
    else body[name] = "numbers" in form.dataset ? Number(value) : value;
  }
  tell(form.dataset.post, body);
});

setInterval(() => {
  if (isIdle() && !isBusy) refresh(isIdle); // also not if somebody began to type meanwhile
}, 3000);
