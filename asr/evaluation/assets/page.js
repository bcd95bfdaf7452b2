"use strict";
/* Sorting of <table class="sortable">: a cell's data-value, or else its text, as a number where all are numbers. */
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    if (!head.textContent.trim() || head.classList.contains("fixed")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const body = table.tBodies[0];
      const rows = [...body.rows].map((row) => {
        const cell = row.cells[column];
        return { row, value: (cell.dataset.value ?? cell.textContent).trim() };
      });
      const known = rows.filter((entry) => entry.value !== "");
      const numbers = known.every((entry) => !Number.isNaN(Number(entry.value)));
      const before = head.getAttribute("aria-sort");
      // The first click shows the largest numbers, or the beginning of the alphabet.
      const ascending = before ? before === "descending" : !numbers;
      const collator = new Intl.Collator(undefined, { numeric: true });
      known.sort((a, b) => {
        const order = numbers ? Number(a.value) - Number(b.value) : collator.compare(a.value, b.value);
        return ascending ? order : -order;
      });
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      body.append(...known.map((entry) => entry.row), ...rows.filter((entry) => entry.value === "").map((e) => e.row));
    });
  });
}
