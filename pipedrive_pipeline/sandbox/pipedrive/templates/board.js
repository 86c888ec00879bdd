// Dragging a deal to another stage. Its buttons do the same by keyboard; see page.js.
document.addEventListener("dragstart", (event) => {
  const card = event.target.closest && event.target.closest("[data-deal]");
  if (!card) return;
  event.dataTransfer.setData("text/plain", card.dataset.deal);
  event.dataTransfer.effectAllowed = "move";
  isBusy = true;
});

document.addEventListener("dragend", () => { isBusy = false; });

document.addEventListener("dragover", (event) => {
  const stage = event.target.closest("[data-stage]");
  for (const other of document.querySelectorAll("[data-stage].over")) other.classList.remove("over");
  if (!stage || !isBusy) return;
  event.preventDefault();
  stage.classList.add("over");
});

document.addEventListener("drop", (event) => {
  const stage = event.target.closest("[data-stage]");
  if (!stage || !isBusy) return;
  event.preventDefault();
  isBusy = false;
  const ids = [Number(event.dataTransfer.getData("text/plain"))];
  const values = { stage_id: Number(stage.dataset.stage) };
  tell("/_sandbox/edit", { action: "edit", entity: "deals", ids, values }, `Moved to ${stage.dataset.name}.`);
});
