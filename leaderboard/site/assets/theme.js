"use strict";

// Light or dark: as the system has it, unless the reader chose. Runs before the page is drawn.
(() => {
  const root = document.documentElement;
  const names = { auto: "System", light: "Light", dark: "Dark" };

  function chosen() {
    try {
      const said = localStorage.getItem("mdbench-theme");
      return said === "light" || said === "dark" ? said : "auto";
    } catch {
      return "auto"; // storage may be forbidden, as it is in some frames
    }
  }

  function apply(theme) {
    if (theme === "auto") delete root.dataset.theme;
    else root.dataset.theme = theme;
    document.dispatchEvent(new CustomEvent("theme"));
  }

  apply(chosen());
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const name = document.getElementById("theme-name");
    let theme = chosen();
    const say = () => {
      name.textContent = names[theme];
      button.setAttribute("aria-label", `Theme: ${names[theme]}. Change it`);
    };
    button.hidden = false;
    say();
    button.addEventListener("click", () => {
      const order = Object.keys(names);
      theme = order[(order.indexOf(theme) + 1) % order.length];
      try {
        localStorage.setItem("mdbench-theme", theme);
      } catch {
        // it holds for this page, then
      }
      say();
      apply(theme);
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => apply(theme));
  });
})();
