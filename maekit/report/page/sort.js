"use strict";
const sortable = (part) => part.querySelectorAll("table").forEach((table) => {
  const body = table.tBodies[0];
  const heads = Array.from(table.tHead.rows[0].cells);
  if (body.rows.length < 2) return;
  const original = Array.from(body.rows);
  const words = new Intl.Collator(undefined, {numeric: true, sensitivity: "base"});
  const compare = (a, b) => {
    const x = a.dataset.v, y = b.dataset.v;
    if (x !== undefined && y !== undefined) return Number(x) - Number(y);
    if (x !== undefined || y !== undefined) return x !== undefined ? -1 : 1;
    return words.compare(a.textContent, b.textContent);
  };
  const empty = (cell) => cell.textContent === "";
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      const rows = original.slice().sort((a, b) => {
        const x = a.cells[column], y = b.cells[column];
        return empty(x) - empty(y) || (empty(x) ? 0 : sign * compare(x, y));
      });
      body.append(...rows);
    });
  });
});
sortable(document);
