// What Sphinx leaves out for screen readers and keyboards.
addEventListener("DOMContentLoaded", () => {
  for (const caption of document.querySelectorAll("p.caption[role=heading]")) caption.ariaLevel = "2";
  const names = { ".sidebar-drawer": "All pages", ".toc-drawer": "On this page" };
  for (const [drawer, name] of Object.entries(names)) {
    for (const found of document.querySelectorAll(drawer)) found.ariaLabel = name;
  }
  for (const block of document.querySelectorAll("pre, .table-wrapper")) {
    if (block.scrollWidth > block.clientWidth) block.tabIndex = 0;
  }
});
