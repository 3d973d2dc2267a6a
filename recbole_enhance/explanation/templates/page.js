"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const root = document.documentElement;

  // ---- theme: the system's until the reader chooses
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
  const remember = (theme) => { try { localStorage.setItem("theme", theme); } catch { /* a file */ } };
  const toggle = document.getElementById("theme");
  const showTheme = () => {
    toggle.textContent = isDark() ? "☀ Light" : "☾ Dark";
    paintPlots();
  };
  toggle.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    remember(root.dataset.theme);
    showTheme();
  });
  system.addEventListener("change", showTheme);

  // ---- plots
  const colours = () => {
    const style = getComputedStyle(root);
    const of = (name) => style.getPropertyValue(name).trim();
    const axis = { gridcolor: of("--line"), linecolor: of("--soft"), tickcolor: of("--soft") };
    return { axis, ink: of("--ink"), card: of("--card"), line: of("--line") };
  };
  const plots = all(".plot").map((place) => ({
    place, spec: JSON.parse(document.getElementById(place.dataset.spec).textContent),
  }));
  const painted = (layout) => {
    const { axis, ink, card, line } = colours();
    return {
      ...layout, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: ink, family: getComputedStyle(document.body).fontFamily, size: 12 },
      xaxis: { ...layout.xaxis, ...axis }, yaxis: { ...layout.yaxis, ...axis },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: line, activecolor: ink },
      hoverlabel: { bgcolor: card, bordercolor: line, font: { color: ink } },
    };
  };
  const paintPlots = () => plots.forEach(({ place, spec }) => {
    if (!window.Plotly) {
      place.textContent = "plotly.min.js is missing from the folder above this page's.";
      return;
    }
    // On a phone names cover one another: a tap on a mark shows its name.
    const narrow = place.clientWidth < 500;
    const data = narrow
      ? spec.data.map((trace) => ({ ...trace, mode: (trace.mode || "").replace("+text", "") || undefined }))
      : spec.data;
    Plotly.react(place, data, painted(spec.layout), {
      responsive: true, displaylogo: false,
      modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
    });
  });

  // ---- sorting: a column's better side first, then the other way round; no value is last
  const sortBy = (table, th) => {
    const column = [...th.parentElement.children].indexOf(th);
    const first = th.dataset.first || "descending";
    const other = first === "descending" ? "ascending" : "descending";
    const order = th.getAttribute("aria-sort") === first ? other : first;
    all("thead th[aria-sort]", table).forEach((h) => h.setAttribute("aria-sort", "none"));
    th.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const value = (row) => row.children[column].dataset.value;
    const compare = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const numbers = th.dataset.kind !== "text";
      return sign * (numbers ? x - y : x.localeCompare(y));
    };
    const body = table.tBodies[0];
    const rows = [...body.rows].filter((row) => !row.classList.contains("failed"));
    rows.sort(compare).forEach((row) => body.append(row));
    all("tr.failed", body).forEach((row) => body.append(row));
  };
  all("table.sortable").forEach((table) => all("thead th[aria-sort]", table).forEach((th) => {
    th.querySelector("button").addEventListener("click", () => sortBy(table, th));
  }));

  // ---- tooltips that a scrolling table does not cut off, for mouse, keyboard and touch
  const tip = document.getElementById("tip");
  let tipOf = null;
  const showTip = (target) => {
    tipOf = target;
    tip.textContent = target.dataset.tip;
    tip.hidden = false;
    const at = target.getBoundingClientRect();
    const size = tip.getBoundingClientRect();
    const left = Math.min(Math.max(8, at.left), innerWidth - size.width - 8);
    const below = at.bottom + size.height + 10 < innerHeight;
    tip.style.left = `${left}px`;
    tip.style.top = `${below ? at.bottom + 6 : at.top - size.height - 6}px`;
  };
  const hideTip = () => { tipOf = null; tip.hidden = true; };
  // The focus scrolls its column into sight: the tip of the keyboard moves with it.
  const followOrHide = () => {
    if (tipOf && tipOf.matches(":focus-visible")) showTip(tipOf); else hideTip();
  };
  const near = (event) => event.target.closest && event.target.closest("[data-tip]");
  for (const name of ["mouseover", "focusin", "click"]) {
    document.addEventListener(name, (event) => {
      const target = near(event);
      if (target) showTip(target); else if (name === "mouseover") followOrHide(); else hideTip();
    });
  }
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });
  addEventListener("scroll", followOrHide, true);

  // ---- columns that are cut off fade at the edge until the reader has scrolled there
  const showCut = (place) => place.classList.toggle(
    "cut", place.scrollWidth - place.clientWidth - place.scrollLeft > 4);
  const watch = new ResizeObserver((entries) => entries.forEach(({ target }) => {
    showCut(target.closest(".scroll"));
  }));
  all(".scroll").forEach((place) => {
    place.addEventListener("scroll", () => showCut(place), { passive: true });
    [place, ...place.children].forEach((part) => watch.observe(part));
  });

  showTheme();
})();
