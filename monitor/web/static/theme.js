// Runs before the page is painted, so that it never flashes in the other theme.
(() => {
  const chosen = localStorage.getItem("alignd.theme");
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
})();
