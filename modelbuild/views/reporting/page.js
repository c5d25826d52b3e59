// Draws each plot when it comes into view, in the colours of the theme, and again when that changes.
"use strict";

(() => {
  const figures = [...document.querySelectorAll("figure > .plot")];
  const drawn = new Map();

  // A custom property says light-dark(...); what it comes to is known once it is a colour.
  const probe = document.createElement("span");
  document.body.append(probe);
  const colour = (name) => {
    probe.style.color = name;
    return getComputedStyle(probe).color;
  };

  // Specs name colours, var(--bad); data is left as it is.
  const coloured = (value, key) => {
    if (key === "values") return value;
    if (typeof value === "string") return value.startsWith("var(--") ? colour(value) : value;
    if (Array.isArray(value)) return value.map((v) => coloured(v));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, coloured(v, k)]));
  };

  const config = () => {
    const font = "system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif";
    const text = colour("var(--text)"), muted = colour("var(--muted)"), line = colour("var(--line)");
    return {
      background: "transparent",
      font,
      view: { stroke: null },
      axis: {
        labelColor: text, titleColor: muted, titleFontWeight: "normal", gridColor: colour("var(--grid)"),
        domainColor: line, tickColor: line, labelFontSize: 11, titleFontSize: 11.5,
        labelSeparation: 6,
      },
      legend: { labelColor: text, titleColor: muted, labelFontSize: 11.5 },
      text: { fontSize: 11 },
    };
  };

  const draw = async (plot) => {
    const spec = coloured(JSON.parse(plot.nextElementSibling.textContent));
    // On a phone half of the width would be labels.
    if (plot.clientWidth < 420) spec.params[0].value = 20;
    drawn.get(plot)?.finalize();
    drawn.set(plot, await vegaEmbed(plot, spec, { renderer: "svg", actions: false, config: config() }));
    plot.dataset.drawn = "yes";
  };

  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting || entry.target.clientWidth === 0) continue;
      seen.unobserve(entry.target);
      draw(entry.target);
    }
  }, { rootMargin: "400px" });
  for (const plot of figures) seen.observe(plot);

  // Another theme: what was drawn is drawn again.
  const again = () => Promise.all([...drawn.keys()].map(draw));
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");
  const root = document.documentElement;
  const isDark = () => (root.style.colorScheme || (dark.matches ? "dark" : "light")) === "dark";
  const label = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  button.hidden = false;
  label();
  button.addEventListener("click", () => {
    root.style.colorScheme = isDark() ? "light" : "dark";
    label();
    again();
  });
  dark.addEventListener("change", () => { label(); again(); });

  // A link into a folded model unfolds it.
  const unfold = () => {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    if (target && target.tagName === "DETAILS") { target.open = true; target.scrollIntoView(); }
  };
  addEventListener("hashchange", unfold);
  unfold();

  addEventListener("beforeprint", () => {
    for (const model of document.querySelectorAll("details.model")) model.open = true;
    for (const plot of figures) if (!drawn.has(plot)) draw(plot);
  });
})();
