"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // ---- filters: rows by text and model family, columns and comparisons by metric family and k
  const pressed = (name) => new Set(all(`[data-filter="${name}"][aria-pressed="true"]`)
    .map((chip) => chip.dataset.value));
  const find = document.getElementById("find");
  const cut = document.getElementById("cut");
  const apply = () => {
    const text = find.value.trim().toLowerCase();
    const models = pressed("model");
    const metrics = pressed("metric");
    const k = cut ? cut.value : "";
    const wanted = (element) => metrics.has(element.dataset.family)
      && (!k || !element.dataset.k || element.dataset.k === k);
    all("tr[data-model]").forEach((row) => {
      const shown = models.has(row.dataset.model) && row.dataset.text.includes(text);
      row.hidden = !shown || (row.dataset.family !== undefined && !wanted(row));
    });
    all(".results [data-family]").forEach((cell) => { cell.hidden = !wanted(cell); });
    all(".results").forEach((table) => all("tr.families th[data-of]", table).forEach((th) => {
      const columns = all(`tr.columns th[data-family="${th.dataset.of}"]:not([hidden])`, table);
      th.hidden = columns.length === 0;
      th.colSpan = Math.max(1, columns.length);
    }));
    all("table.filtered").forEach((table) => {
      const note = document.getElementById(table.dataset.empty);
      note.hidden = all("tbody tr:not([hidden])", table).length > 0;
    });
  };
  all("[data-filter]").forEach((chip) => chip.addEventListener("click", () => {
    chip.setAttribute("aria-pressed", chip.getAttribute("aria-pressed") !== "true");
    apply();
  }));
  find.addEventListener("input", apply);
  if (cut) cut.addEventListener("change", apply);

  apply();
})();
