"use strict";
/* Which utterances are shown: those of a kind that contain what is searched for. */
const rows = [...document.querySelectorAll("#list tbody tr")];
const kind = document.getElementById("kind");
const query = document.getElementById("query");
const shown = document.getElementById("shown");
function filter() {
  const wanted = query.value.trim().toLowerCase();
  let number = 0;
  for (const row of rows) {
    const fits = (!kind.value || row.dataset.kind === kind.value) && row.textContent.toLowerCase().includes(wanted);
    row.hidden = !fits;
    number += fits;
  }
  shown.textContent = `${number} of ${rows.length} shown`;
}
if (kind) {
  kind.addEventListener("change", filter);
  query.addEventListener("input", filter);
  filter();
}
