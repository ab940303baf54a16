"use strict";

// The board: one ranking of many, filtered and sorted. What is shown stands in the address behind the #, so that it can be linked to.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const WIDTH = 104;
  const HEIGHT = 14;
  const RIM = 4;
  const FILTERS = ["track", "sees", "q"];
  const CHOICES = [...FILTERS, "against"];
  const VERIFIED = ["verified", "reproduced within noise"];

  document.addEventListener("DOMContentLoaded", () => {
    const source = document.getElementById("board-data");
    if (!source || typeof Tabulator === "undefined") return;
    const data = JSON.parse(source.textContent);
    if (!data.views.length) return;

    const form = document.getElementById("controls");
    const controls = form.elements;
    const box = document.getElementById("board");
    const said = document.getElementById("said");
    const asked = document.getElementById("asked");
    let scale = { low: 0, high: 100 };
    let view = null;
    let state = read();

    // --- What is shown, and the address that says it ---------------------------------------------------------------------

    function read() {
      const from = new URLSearchParams(location.hash.slice(1));
      const headline = data.views[0];
      const [sort, direction] = (from.get("sort") || "").split(":");
      return {
        selection: from.get("selection") || headline.selection,
        task: from.get("task") || headline.task,
        scenario: from.get("scenario") || headline.scenario,
        track: from.get("track") || "",
        sees: from.get("sees") || "",
        q: from.get("q") || "",
        against: from.get("against") || "",
        verified: from.get("verified") === "1",
        sort: sort || "",
        direction: direction === "desc" ? "desc" : "asc",
      };
    }

    // A little later: browsers take longer over an address than over the table.
    let writing = 0;
    function write() {
      clearTimeout(writing);
      writing = setTimeout(writeNow, 50);
    }

    function writeNow() {
      const headline = data.views[0];
      const to = new URLSearchParams();
      for (const key of ["selection", "task", "scenario"]) if (state[key] !== headline[key]) to.set(key, state[key]);
      for (const key of CHOICES) if (state[key]) to.set(key, state[key]);
      if (state.verified) to.set("verified", "1");
      if (state.sort) to.set("sort", `${state.sort}:${state.direction}`);
      const text = to.toString();
      // An empty fragment would scroll to the top; a bare address has none.
      history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
    }

    // --- Rankings --------------------------------------------------------------------------------------------------------

    const word = (name) => data.words[name] || name.replaceAll("_", " ");
    const distinct = (values) => [...new Set(values)];

    function find() {
      const inSelection = data.views.filter((one) => one.selection === state.selection);
      const pool = inSelection.length ? inSelection : data.views;
      const inTask = pool.filter((one) => one.task === state.task);
      const best = (inTask.length ? inTask : pool).find((one) => one.scenario === state.scenario);
      const found = best || (inTask.length ? inTask : pool)[0];
      Object.assign(state, { selection: found.selection, task: found.task, scenario: found.scenario });
      return found;
    }

    function fill(name, values, say = word) {
      const select = controls[name];
      const same = select.options.length === values.length && values.every((value, at) => select.options[at].value === value);
      if (!same) {
        select.replaceChildren(
          ...values.map((value) => {
            const option = document.createElement("option");
            option.value = value;
            option.textContent = say(value);
            if (name === "scenario" && value === "all") option.textContent = data.words.all_scenarios;
            return option;
          }),
        );
      }
      select.value = state[name];
    }

    function showControls() {
      fill("selection", distinct(data.views.map((one) => one.selection)));
      const mine = data.views.filter((one) => one.selection === state.selection);
      fill("task", distinct(mine.map((one) => one.task)));
      fill("scenario", distinct(mine.filter((one) => one.task === state.task).map((one) => one.scenario)));
      const compared = view ? view.places.slice(0, data.compared).map(([at]) => data.entries[at]) : [];
      const names = Object.fromEntries(compared.map((one) => [one.slug, one.name]));
      if (!(state.against in names)) state.against = "";
      fill("against", ["", ...Object.keys(names)], (slug) => names[slug] || "nobody");
      for (const key of CHOICES) controls[key].value = state[key];
      controls.verified.checked = state.verified;
    }

    function rows() {
      const placed = view.places.map(([at, place, score, low, high, rank, groups, overRows, overCases], order) => ({
        ...data.entries[at], order, place, score, low, high, rank, groups, overRows, overCases, ...none,
      }));
      const others = view.unplaced.map(([at, answered]) => ({
        ...data.entries[at], order: null, place: null, score: null, rank: null, groups: "", overRows: null, answered, ...none,
      }));
      others.sort((one, other) => other.answered - one.answered);
      const ends = placed.flatMap((one) => [one.low, one.high]);
      const low = ends.length ? Math.min(90, Math.max(0, 10 * Math.floor(Math.min(...ends) / 10))) : 0;
      const high = ends.length ? Math.min(100, Math.max(low + 10, 10 * Math.ceil(Math.max(...ends) / 10))) : 100;
      scale = { low, high };
      return [...placed, ...others];
    }

    function passes(row) {
      if (state.track && row.track !== state.track) return false;
      if (state.sees && row.sees !== state.sees) return false;
      if (state.verified && !VERIFIED.includes(row.verdict)) return false;
      const wanted = state.q.toLowerCase().split(/\s+/).filter(Boolean);
      const text = `${row.name} ${row.authors} ${row.slug}`.toLowerCase();
      return wanted.every((part) => text.includes(part));
    }

    // What is said of entries beside those that are shown with them: the pairs of others do not count.
    const none = { better: null, p: null };

    // Return what changes where some are shown, and whether groups are those of what is shown.
    function compared() {
      const placed = table.getData().filter((row) => row.place !== null);
      const shown = placed.filter(passes).map((row) => row.order).sort((one, other) => one - other);
      const most = Math.min(view.places.length, data.compared);
      const pairs = data.pairs[view.pairs];
      const own = shown.length < placed.length && shown.every((place) => place < most);
      const letters = own ? mdbenchGroups.among(shown, most, pairs, data.level) : [];
      const reference = placed.find((row) => row.slug === state.against);
      const near = shown.filter((place) => place < most);
      const p = reference ? mdbenchGroups.against(reference.order, near, most, pairs) : [];
      const said = placed.map((row) => ({
        slug: row.slug,
        groups: own && shown.includes(row.order) ? letters[shown.indexOf(row.order)] : view.places[row.order][6],
        better: reference && near.includes(row.order) ? row.score - reference.score : null,
        p: reference && near.includes(row.order) ? p[near.indexOf(row.order)] : null,
      }));
      const old = new Map(placed.map((row) => [row.slug, row]));
      const changed = said.filter((row) => Object.keys(row).some((key) => row[key] !== old.get(row.slug)[key]));
      return { changed, own };
    }

    // --- Cells: elements with texts, never markup --------------------------------------------------------------------------

    function element(name, className, text) {
      const made = document.createElement(name);
      if (className) made.className = className;
      if (text !== undefined) made.textContent = text;
      return made;
    }

    function svg(name, attributes) {
      const made = document.createElementNS(SVG, name);
      for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
      return made;
    }

    // As Python writes them, who wrote the page: of two numbers that are as near, the one with an even last digit.
    const one = (value) => (Math.abs(value) % 1 === 0.25 ? value - 0.05 * Math.sign(value) : value).toFixed(1);
    const whole = (value) => String(value % 2 === 0.5 ? Math.floor(value) : Math.round(value));
    const at = (value) => {
      const share = (Math.min(Math.max(value, scale.low), scale.high) - scale.low) / (scale.high - scale.low);
      return (RIM + share * (WIDTH - 2 * RIM)).toFixed(1);
    };

    function whisker(row) {
      const drawing = svg("svg", { class: "whisker", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true" });
      const [low, high] = [at(row.low), at(row.high)];
      drawing.append(
        svg("path", { d: `M${low} 7H${high}M${low} 4v6M${high} 4v6` }),
        svg("circle", { cx: at(row.score), cy: 7, r: 3 }),
      );
      return drawing;
    }

    const format = {
      number: (cell) => (cell.getValue() === null ? "–" : one(cell.getValue())),
      place: (cell) => (cell.getValue() === null ? "–" : String(cell.getData().place)),
      name(cell) {
        const link = element("a", "name");
        const parts = cell.getValue().split(/(?<=[_-])/); // long names may end a line behind these
        parts.forEach((part, at) => link.append(...(at ? [document.createElement("wbr")] : []), part));
        link.title = cell.getValue();
        link.href = `methods/${encodeURIComponent(cell.getData().slug)}.html`;
        const flags = cell.getData().flags;
        if (!flags) return link;
        const both = element("span");
        const tag = element("span", "tag", narrow ? "?" : "knows these rows?");
        tag.title = `knows these rows? ${flags}`;
        if (narrow) link.append(" ", tag); // there is no line to spare
        both.append(link, ...(narrow ? [] : [" ", tag]));
        return both;
      },
      text(cell) {
        const made = element("span", "", cell.getValue());
        made.title = cell.getValue();
        return made;
      },
      lines(cell) {
        const made = format.text(cell);
        made.className = "two";
        return made;
      },
      score(cell) {
        const row = cell.getData();
        if (row.score === null) return element("span", "unplaced", row.ranked ? `answers ${row.answered} of ${view.cases.length}` : "not run here");
        const numbers = element("span", "score");
        numbers.append(element("b", "", one(row.score)), " ", element("span", "interval", `[${one(row.low)}, ${one(row.high)}]`));
        const both = element("span", "nowrap");
        both.append(numbers, whisker(row));
        return both;
      },
      groups(cell) {
        const made = element("span", "groups", cell.getValue());
        made.title = cell.getValue();
        return made;
      },
      against(cell) {
        const row = cell.getData();
        if (row.better === null) return "–";
        if (row.p === null) return "itself";
        const made = element("span", "nowrap");
        const better = `${row.better < 0 ? "−" : "+"}${one(Math.abs(row.better))}`;
        const chance = row.p < 0.001 ? "p < 0.001" : `p = ${row.p.toFixed(3)}`;
        made.append(row.p <= data.level ? element("b", "", better) : better, " ", element("span", "interval", chance));
        made.title = row.p <= data.level ? "told apart" : "not told apart";
        return made;
      },
      stability(cell) {
        const row = cell.getData();
        return row.overRows === null ? "–" : `${whole(row.overRows)} / ${whole(row.overCases)}`;
      },
      sees(cell) {
        const made = element("span", "wrap");
        const families = cell.getData().families;
        for (const family of families.length ? families : ["nothing"]) {
          const tag = element("span", "family", family);
          tag.dataset.family = family;
          made.append(tag, " ");
        }
        return made;
      },
      verdict(cell) {
        const row = cell.getData();
        const made = element("span", "verdict");
        const sign = element("span", "", row.sign);
        sign.setAttribute("aria-hidden", "true");
        made.append(sign, ` ${row.verdict.replace(" within noise", "")}`); // the cell is narrow
        made.dataset.outcome = row.verdict;
        made.title = `${row.verdict}: ${row.reason}`;
        return made;
      },
    };

    function scoreTitle() {
      const made = element("span", "nowrap");
      const ends = element("span", "ends");
      ends.id = "ends";
      made.append(element("span", "score", "Above chance, % [95 % interval]"), ends);
      return made;
    }

    // --- The table -----------------------------------------------------------------------------------------------------------

    const bottom = { alignEmptyValues: "bottom" };
    const narrow = matchMedia("(max-width: 640px)").matches;
    const column = (title, field, width, more = {}) => ({ title, field, width, ...more });
    const right = { hozAlign: "right", headerHozAlign: "right" };
    const numeric = { sorter: "number", sorterParams: bottom };
    const columns = [
      column("Place", "order", 56, { formatter: format.place, ...numeric, ...right, frozen: true }),
      column("Method", "name", undefined, { formatter: format.name, sorter: "string", frozen: true, minWidth: narrow ? 164 : 186, widthGrow: 2 }),
      column("Above chance", "score", 248, { formatter: format.score, titleFormatter: scoreTitle, ...numeric, headerSortStartingDir: "desc" }),
      column("Average rank", "rank", 76, { formatter: format.number, ...numeric, ...right }),
      column("Group", "groups", 80, { formatter: format.groups, sorter: "string", sorterParams: bottom }),
      column("Against the chosen one", "better", 142, { formatter: format.against, ...numeric, headerSortStartingDir: "desc", visible: false }),
      column("Stays first, %", "overRows", 74, { formatter: format.stability, ...numeric, ...right, headerSortStartingDir: "desc" }),
      column("Sees", "sees", 172, { formatter: format.sees, sorter: "string" }),
      column("Track", "track", 98, { formatter: format.text, sorter: "string" }),
      column("Verdict", "verdict", 118, { formatter: format.verdict, sorter: "string" }),
      column("On the board since", "date", 100, { formatter: format.text, sorter: "string", headerSortStartingDir: "desc" }),
      column("Authors", "authors", undefined, { formatter: format.lines, sorter: "string", minWidth: 112, widthGrow: 3 }),
    ];

    view = find();
    box.classList.remove("scroll");
    box.removeAttribute("tabindex");
    box.replaceChildren(element("div"));
    const table = new Tabulator(box.firstChild, {
      data: rows(),
      index: "slug",
      columns,
      columnDefaults: { resizable: false, vertAlign: "middle" },
      layout: "fitColumns",
      maxHeight: "82vh",
      rowHeight: 43, // as in the style sheet; what is known is not measured
      renderVerticalBuffer: 90, // pixels: what is out of sight costs as much as what is seen
      headerSortClickElement: "header",
      placeholder: "No entry fits. Reset shows all.",
    });
    let ready = false;
    let showing = false;
    let own = false; // whether groups are those of what is shown

    function tell() {
      const shown = table.getDataCount("active");
      const all = data.entries.length;
      const scenario = view.scenario === "all" ? data.words.all_scenarios : word(view.scenario);
      said.textContent =
        `Selection ${view.selection}, ${word(view.task)}, ${scenario}: mean over ${view.cases.length} ` +
        `case${view.cases.length === 1 ? "" : "s"}, ${view.rows.toLocaleString("en")} test rows. ` +
        (shown === all ? `${all.toLocaleString("en")} entries.` : `${shown.toLocaleString("en")} of ${all.toLocaleString("en")} entries.`) +
        (own ? " Groups are those of what is shown." : "") +
        (state.against ? ` Differences from ${controls.against.selectedOptions[0].textContent} in points, p corrected for those shown.` : "");
      const ends = document.getElementById("ends");
      if (ends) ends.replaceChildren(element("span", "", String(scale.low)), element("span", "", `${scale.high} %`));
      asked.hidden = false;
      asked.querySelector("ul").replaceChildren(
        ...view.cases.map((number) => {
          const [name, page] = data.cases[number];
          const link = element("a", "code", name);
          link.href = page;
          const item = element("li");
          item.append(link);
          return item;
        }),
      );
    }

    async function show() {
      if (!ready) return;
      showing = true; // what sorts meanwhile is not the reader
      const found = find();
      showControls();
      try {
        if (found !== view) {
          view = found;
          await table.setData(rows());
        }
        table.setFilter(passes);
        const said = compared();
        own = said.own;
        table[state.against ? "showColumn" : "hideColumn"]("better");
        if (said.changed.length) await table.updateData(said.changed);
        for (const row of said.changed) table.getRow(row.slug).reformat(); // p is no column
        if (columns.some((one) => one.field === state.sort)) table.setSort(state.sort, state.direction);
        else table.clearSort();
      } finally {
        showing = false;
      }
      tell();
    }

    table.on("tableBuilt", () => {
      ready = true;
      for (const one of table.getColumns()) {
        const head = one.getElement();
        head.tabIndex = 0;
        head.addEventListener("keydown", (event) => {
          if (event.key !== "Enter" && event.key !== " ") return;
          event.preventDefault();
          head.click();
        });
      }
      show();
    });
    table.on("dataSorted", (sorters) => {
      if (!ready || showing) return;
      state.sort = sorters.length ? sorters[0].field : "";
      state.direction = sorters.length ? sorters[0].dir : "asc";
      write();
    });
    table.on("dataFiltered", () => ready && requestAnimationFrame(tell));

    form.hidden = false;
    showControls();
    form.addEventListener("submit", (event) => event.preventDefault());
    const choose = () => {
      for (const key of ["selection", "task", "scenario", ...CHOICES]) state[key] = controls[key].value;
      state.verified = controls.verified.checked;
      show().then(write);
    };
    form.addEventListener("input", choose);
    form.addEventListener("change", choose); // some browsers tell of a select by this alone
    form.addEventListener("reset", (event) => {
      event.preventDefault();
      clearTimeout(writing);
      history.replaceState(null, "", location.pathname + location.search);
      state = read();
      show();
    });
    addEventListener("hashchange", () => {
      state = read();
      show();
    });
    window.mdbench = { table }; // for measuring
  });
})();
