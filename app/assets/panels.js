// A bar of tabs, or a fold. Panels that are open stand at the root of the document, by name: page.css shows those.

const opened = document.documentElement;

function open_tab(tabs, chosen) {
  for (const tab of tabs) {
    tab.setAttribute("aria-selected", String(tab === chosen));
    tab.tabIndex = tab === chosen ? 0 : -1;
  }
  opened.dataset.tab = chosen.getAttribute("aria-controls");
}

function start_tabs(tabs) {
  tabs.forEach((tab, place) => {
    tab.addEventListener("click", () => open_tab(tabs, tab));
    tab.addEventListener("keydown", ({ key }) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[key];
      if (!by) return;
      const next = tabs[(place + by + tabs.length) % tabs.length];
      open_tab(tabs, next);
      next.focus();
    });
  });
}

function start_fold(fold) {
  fold.addEventListener("click", () => {
    const open = fold.getAttribute("aria-expanded") !== "true";
    fold.setAttribute("aria-expanded", String(open));
    opened.dataset.fold = open ? fold.getAttribute("aria-controls") : "";
  });
}

start_tabs([...element.querySelectorAll("[role=tab]")]);
element.querySelectorAll("[aria-expanded]").forEach(start_fold);
