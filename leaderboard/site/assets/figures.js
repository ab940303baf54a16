"use strict";

// Figures: what a page holds as JSON, drawn by Vega-Lite in the page's own colours, and drawn again when these change.
(() => {
  // Okabe and Ito's colours, black first; shapes tell lines apart without them.
  const SHAPES = ["circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "triangle-right", "triangle-left"];
  const VERDICTS = {
    temperature_too_low: ["#0072B2", "L", "#ffffff"],
    temperature_too_high: ["#E69F00", "H", "#000000"],
    optimizer: ["#56B4E9", "T", "#000000"],
    width: ["#009E73", "W", "#000000"],
    data: ["#CC79A7", "D", "#000000"],
    training_too_short: ["#F0E442", "S", "#000000"],
    regularization_too_weak: ["#D55E00", "R", "#000000"],
    regularization_too_strong: ["#7A4FA3", "r", "#ffffff"],
    none: ["#c9ccd1", "·", "#000000"],
  };

  const words = (name) => name.replaceAll("_", " ");
  const json = (id) => JSON.parse(document.getElementById(id).textContent);

  // Colours of the style sheet as the browser resolves them.
  function palette() {
    const probe = document.createElement("span");
    probe.hidden = true;
    document.body.append(probe);
    const colour = (name) => {
      probe.style.color = `var(--${name})`;
      return getComputedStyle(probe).color;
    };
    const found = Object.fromEntries(["ink", "soft", "line", "paper", "raised", "accent"].map((name) => [name, colour(name)]));
    probe.remove();
    found.lines = [found.ink, "#E69F00", "#0072B2", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#8C8C8C"];
    return found;
  }

  function config(colours) {
    const font = getComputedStyle(document.body).fontFamily;
    return {
      font,
      background: null,
      view: { stroke: null },
      axis: {
        labelColor: colours.soft, titleColor: colours.soft, domainColor: colours.line, tickColor: colours.line, gridColor: colours.line,
        labelFontSize: 12, titleFontSize: 12.5, titleFontWeight: "normal", titlePadding: 8,
      },
      legend: { labelColor: colours.ink, titleColor: colours.soft, labelFontSize: 12.5, titleFontSize: 12.5, labelLimit: 260 },
      header: { labelColor: colours.soft, titleColor: colours.soft, labelFontSize: 12.5, titleFontSize: 12.5 },
      title: { color: colours.ink },
    };
  }

  const wide = () => Math.max(220, Math.min(1240, document.getElementById("content").clientWidth - 80));

  // --- Accuracy against budget ------------------------------------------------------------------------------------------------

  function budget(data, colours) {
    const methods = [...new Set(data.points.map((point) => point.method))];
    const small = wide() < 520;
    const legend = { title: null, orient: small ? "bottom" : "right", columns: 1, symbolOpacity: 1, symbolStrokeWidth: 1.5 };
    const colour = { field: "method", type: "nominal", sort: methods, scale: { domain: methods, range: colours.lines }, legend };
    const x = {
      field: "x", type: "quantitative", title: data.label,
      scale: data.log ? { type: "log", base: 2 } : { zero: false, nice: false, padding: 14 },
      axis: { grid: false, values: [...new Set(data.points.map((point) => point.x))], format: "~r" },
    };
    const y = (field) => ({ field, type: "quantitative", title: "above chance, %", scale: { zero: false } });
    const tooltip = [
      { field: "method", title: "method" },
      { field: "x", title: data.label, format: "~r" },
      { field: "y", title: "above chance, %", format: ".1f" },
      { field: "low", title: "from", format: ".1f" },
      { field: "high", title: "to", format: ".1f" },
    ];
    return {
      width: small ? wide() : Math.min(640, wide() - 230), height: 320,
      data: { values: data.points },
      layer: [
        { mark: { type: "area", opacity: 0.1 }, encoding: { x, y: y("low"), y2: { field: "high" }, color: colour } },
        { mark: { type: "line", strokeWidth: 1.8 }, encoding: { x, y: y("y"), color: colour } },
        {
          mark: { type: "point", filled: true, size: 60, opacity: 1 },
          encoding: {
            x, y: y("y"), color: colour, tooltip,
            shape: { field: "method", type: "nominal", sort: methods, scale: { domain: methods, range: SHAPES }, legend },
          },
        },
      ],
    };
  }

  // --- Mistakes of a method ------------------------------------------------------------------------------------------------------

  const chosen = (data) => data.cases[Number(document.getElementById("case-choice").value)];

  // From paper to blue, so that a share can be told on either ground; what it is also stands in the cell.
  const shade = (colours) => ({ domain: [0, 100], range: [colours.raised, "#0072B2"], interpolate: "lab" });
  const label = (colours) => ({
    condition: { test: "datum.share > 55", value: "#ffffff" },
    value: colours.ink,
  });

  function confusion(data, colours) {
    const one = chosen(data);
    const classes = data.classes[one.task];
    const values = one.confusion.flatMap((row, truth) => {
      const all = row.reduce((sum, count) => sum + count, 0);
      return row.map((count, said) => ({
        truth: classes[truth], said: classes[said], share: all ? (100 * count) / all : 0, text: all ? `${Math.round((100 * count) / all)}` : "–",
      }));
    });
    const axis = { labelLimit: 160, labelExpr: "split(datum.label, ' ')", ticks: false, domain: false };
    const cell = Math.min(classes.length > 2 ? 92 : 120, (wide() - 60) / classes.length);
    return {
      width: cell * classes.length, height: Math.max(cell * 0.6, 56) * classes.length,
      data: { values },
      encoding: {
        y: { field: "truth", type: "nominal", sort: classes, title: "true", axis },
        x: { field: "said", type: "nominal", sort: classes, title: "predicted", axis: { ...axis, labelAngle: 0 } },
      },
      layer: [
        {
          mark: { type: "rect", stroke: colours.paper, strokeWidth: 2 },
          encoding: {
            color: { field: "share", type: "quantitative", scale: shade(colours), legend: null },
            tooltip: [{ field: "truth", title: "true" }, { field: "said", title: "predicted" }, { field: "share", title: "% of the row", format: ".1f" }],
          },
        },
        { mark: { type: "text", fontSize: 14 }, encoding: { text: { field: "text" }, color: label(colours) } },
      ],
    };
  }

  function shares(data, colours) {
    const one = chosen(data);
    const [down, across] = data.grids[one.grid];
    if (!down.length) return null;
    const values = one.shares.flatMap((row, at) =>
      row.map((share, next) => ({ down: down[at], across: across[next], share: share < 0 ? null : share, text: share < 0 ? "" : String(share) })),
    );
    const axis = { ticks: false, domain: false, labelAngle: 0 };
    return {
      width: Math.min(54 * across.length, wide() - 10), height: 34 * down.length,
      data: { values },
      encoding: {
        x: { field: "across", type: "ordinal", title: data.across, axis },
        y: { field: "down", type: "ordinal", title: data.down, sort: "descending", axis },
      },
      layer: [
        {
          transform: [{ filter: "datum.share !== null" }],
          mark: { type: "rect", stroke: colours.paper, strokeWidth: 2 },
          encoding: {
            color: { field: "share", type: "quantitative", scale: shade(colours), legend: null },
            tooltip: [
              { field: "across", title: data.across }, { field: "down", title: data.down },
              { field: "share", title: "wrong, %" },
            ],
          },
        },
        { mark: { type: "text", fontSize: 12.5 }, encoding: { text: { field: "text" }, color: label(colours) } },
      ],
    };
  }

  // --- Phases of a zoo -----------------------------------------------------------------------------------------------------------

  const PANELS = 3;

  function phaseChoices(data) {
    const form = document.getElementById("phase-choices");
    const add = (name, title, options) => {
      const box = document.createElement("label");
      const select = document.createElement("select");
      select.name = name;
      for (const [value, text] of options) select.append(new Option(text, value));
      box.append(title, " ", select);
      form.append(box);
    };
    const first = Math.max(data.tasks.indexOf("failure_source"), 0);
    const tasks = data.tasks.map((task, at) => [at, words(task)]);
    add("shown", "Shown", [tasks[first], ...tasks.filter((_, at) => at !== first), ["error", "test error, %"]].filter(Boolean));
    for (const [knob, unit, levels] of data.knobs) {
      if ([data.down, data.across, "data_fraction"].includes(knob) || levels.length < 2) continue;
      add(knob, unit === "1" || !unit ? words(knob) : `${words(knob)}, ${unit}`, levels.map((level) => [level, String(level)]));
    }
    form.addEventListener("submit", (event) => event.preventDefault());
  }

  function phase(data, colours) {
    const form = document.getElementById("phase-choices");
    if (!form.elements.length) phaseChoices(data);
    const shown = form.elements.shown.value;
    const names = data.knobs.map(([knob]) => knob);
    const fractions = (data.knobs.find(([knob]) => knob === "data_fraction") || [0, 0, [null]])[2];
    const some = [...new Set(Array.from({ length: PANELS }, (_, at) => fractions[Math.round((at * (fractions.length - 1)) / (PANELS - 1))]))];
    const values = data.points.flatMap((point, row) => {
      const at = Object.fromEntries(names.map((name, place) => [name, point[place]]));
      const kept = names.every((name) => !form.elements[name] || form.elements[name].value === String(at[name]));
      if (!kept || ("data_fraction" in at && !some.includes(at.data_fraction))) return [];
      const code = shown === "error" ? -1 : data.labels[shown][row];
      const verdict = data.classes[code];
      if (shown !== "error" && code < 0) return [];
      return [{
        down: at[data.down], across: at[data.across], panel: "data_fraction" in at ? `${at.data_fraction} % of the data` : "all data",
        error: data.errors[row], verdict: verdict && words(verdict),
        sign: shown === "error" ? (data.errors[row] === null ? "" : String(Math.round(data.errors[row]))) : VERDICTS[verdict][1],
        ink: verdict && VERDICTS[verdict][2],
      }];
    });
    const there = data.classes.filter((name) => values.some((value) => value.verdict === words(name)));
    const axis = { ticks: false, domain: false, labelAngle: 0 };
    const panel = Math.min(320, wide() < 700 ? wide() - 20 : (wide() - 60) / some.length);
    const rows = new Set(values.map((value) => value.down)).size;
    const verdictColour = {
      field: "verdict", type: "nominal", sort: there.map(words),
      scale: { domain: there.map(words), range: there.map((name) => VERDICTS[name][0]) },
      legend: { title: null, orient: "bottom", columns: wide() < 520 ? 2 : 6, symbolType: "square", symbolSize: 160, labelExpr: `${JSON.stringify(Object.fromEntries(there.map((name) => [words(name), VERDICTS[name][1]])))}[datum.label] + "  " + (datum.label === "none" ? "no verdict" : datum.label)` },
    };
    const errorColour = { field: "error", type: "quantitative", scale: { range: [colours.raised, "#0072B2"], interpolate: "lab" }, legend: null };
    const errors = values.map((value) => value.error).filter((value) => value !== null);
    const middle = (Math.min(...errors) + Math.max(...errors)) / 2;
    const inks = shown === "error"
      ? { condition: { test: `datum.error > ${middle}`, value: "#ffffff" }, value: colours.ink }
      : { condition: { test: "datum.ink === '#ffffff'", value: "#ffffff" }, value: "#000000" };
    return {
      data: { values },
      facet: { field: "panel", type: "nominal", sort: some.map((level) => `${level} % of the data`), title: null, header: { labelAnchor: "start", labelPadding: 6 } },
      columns: wide() < 700 ? 1 : some.length,
      spacing: 18,
      spec: {
        width: panel, height: 26 * rows,
        encoding: {
          x: { field: "across", type: "ordinal", title: words(data.across), axis },
          y: { field: "down", type: "ordinal", title: words(data.down), sort: "descending", axis },
        },
        layer: [
          {
            mark: { type: "rect", stroke: colours.paper, strokeWidth: 1.5 },
            encoding: {
              color: shown === "error" ? errorColour : verdictColour,
              tooltip: [
                { field: "across", title: words(data.across) }, { field: "down", title: words(data.down) }, { field: "panel", title: "data" },
                ...(shown === "error" ? [] : [{ field: "verdict", title: "verdict" }]),
                { field: "error", title: "test error, %", format: ".1f" },
              ],
            },
          },
          { mark: { type: "text", fontSize: 11.5 }, encoding: { text: { field: "sign" }, color: inks } },
        ],
      },
    };
  }

  // --- Drawing -------------------------------------------------------------------------------------------------------------------

  const kinds = { budget, confusion, shares, phase };

  async function draw(box) {
    const colours = palette();
    const spec = kinds[box.dataset.figure](json(box.dataset.from), colours);
    if (!spec) {
      box.replaceChildren();
      return;
    }
    const found = await vegaEmbed(box, spec, {
      mode: "vega-lite",
      ast: true, // expressions are interpreted: nothing on these pages is made from text at run time
      actions: false,
      renderer: "svg",
      defaultStyle: false,
      tooltip: { disableDefaultStyle: true },
      config: config(colours),
    });
    if (box.drawn) box.drawn.finalize();
    box.drawn = found;
    box.dataset.ready = "";
  }

  document.addEventListener("DOMContentLoaded", () => {
    if (typeof vegaEmbed === "undefined") return;
    const boxes = [...document.querySelectorAll("[data-figure]")];
    const all = () => boxes.forEach(draw);
    const choice = document.getElementById("case-choice");
    if (choice) {
      choice.append(...json("mistakes-data").cases.map((one, at) => new Option(one.name, at)));
      choice.disabled = false;
      choice.addEventListener("change", all);
    }
    all();
    document.getElementById("phase-choices")?.addEventListener("change", all);
    document.addEventListener("theme", all);
    let width = wide();
    addEventListener("resize", () => {
      if (wide() === width) return;
      width = wide();
      all();
    });
  });
})();
