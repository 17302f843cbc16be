"use strict";
// What a page does when it is clicked: tables sort, classes are filtered, confusions open their
// pictures. Without this script everything is still there to read.

for (const table of document.querySelectorAll(".wide > table:not(.confusion)")) {
  const body = table.tBodies[0];
  if (!table.tHead || !body || body.rows.length < 2) continue;
  [...table.tHead.rows[table.tHead.rows.length - 1].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    button.title = "Sort";
    head.append(button);
    button.addEventListener("click", () => sort(table, head, column));
  });
}

function sort(table, head, column) {
  const rows = [...table.tBodies[0].rows];
  const values = new Map(rows.map((row) => [row, valueOf(row.cells[column])]));
  const before = head.ariaSort;
  const numbers = [...values.values()].some((value) => typeof value === "number");
  const up = before ? before === "descending" : !numbers;
  for (const other of table.tHead.querySelectorAll("[aria-sort]")) other.ariaSort = null;
  head.ariaSort = up ? "ascending" : "descending";
  rows.sort((one, other) => compare(values.get(one), values.get(other), up ? 1 : -1));
  table.tBodies[0].append(...rows);
}

function valueOf(cell) {
  const text = cell ? cell.textContent.trim() : "";
  if (text === "" || text === "-") return null;
  const number = /^[-+]?[\d.]+(e[-+]?\d+)?/i.exec(text.replace(/^\[|,(?=\d{3})/g, ""));
  return number && !/^\d+ .*[a-z]{3}/i.test(text) ? Number(number[0]) : text;
}

function compare(one, other, sign) {
  if (one === null || other === null) return (one === null) - (other === null);
  if (typeof one === "number" && typeof other === "number") return sign * (one - other);
  return sign * String(one).localeCompare(String(other), undefined, { numeric: true });
}

for (const box of document.querySelectorAll("input[data-filter]")) {
  box.parentElement.hidden = false;
  box.addEventListener("input", () => filter(box));
}

function filter(box) {
  const wanted = box.value.trim().toLowerCase();
  const matches = (name) => name.toLowerCase().includes(wanted);
  const section = box.closest("section");
  const lines = section.querySelectorAll("tr[data-class]");
  for (const line of lines) line.hidden = !line.dataset.class.split("\n").some(matches);
  for (const table of section.querySelectorAll(".confusion")) {
    const shown = [...table.tBodies[0].rows].filter((row) => !row.hidden);
    // A class that does not match stays where a class that matches is taken for it.
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      if (!head.dataset.class) return;
      const used = wanted === "" || matches(head.dataset.class)
        || shown.some((row) => row.cells[column].textContent !== "");
      for (const row of table.rows) row.cells[column].hidden = !used;
    });
  }
  const all = section.querySelectorAll(".confusion tr[data-class]");
  const left = [...all].filter((line) => !line.hidden).length;
  box.parentElement.querySelector("output").value = `${left} of ${all.length} classes`;
  markScrolling();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-opens]");
  const shown = link && document.getElementById(link.hash.slice(1));
  if (!shown) return;
  event.preventDefault();
  const dialog = document.createElement("dialog");
  const close = document.createElement("button");
  close.className = "close";
  close.textContent = "Close";
  close.addEventListener("click", () => dialog.close());
  const copy = shown.cloneNode(true);
  copy.removeAttribute("id");
  dialog.append(close, copy);
  dialog.setAttribute("aria-label", copy.querySelector("h4").textContent);
  dialog.addEventListener("click", (inside) => { if (inside.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => dialog.remove());
  document.querySelector("main").append(dialog);
  dialog.showModal();
});

function markScrolling() {
  for (const wide of document.querySelectorAll(".wide")) {
    const scrolls = wide.scrollWidth > wide.clientWidth + 1;
    wide.classList.toggle("scrolls", scrolls);
    if (!scrolls && wide.scrollHeight <= wide.clientHeight + 1) continue;
    wide.tabIndex = 0;
    wide.role = "region";
    const above = [...document.querySelectorAll("h1, h2, h3")].filter((h) => h.compareDocumentPosition(wide) & 4);
    const part = above.filter((h) => h.tagName !== "H3").at(-1);
    wide.ariaLabel = [...new Set([part, above.at(-1)])].map((h) => h.textContent).join(": ");
  }
}
addEventListener("resize", markScrolling);
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
markScrolling();
