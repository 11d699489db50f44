"use strict";
// The table of a batch's overview. Texts become text nodes, never HTML. What is shown is told by the page's address
// (after the #), so that a view can be kept as a bookmark.
const data = JSON.parse(document.getElementById("data").textContent);
const state = {sort: "", down: "", show: "", search: "", page: "0", size: "25", columns: ""};
const FIRST_COLUMNS = 8;
const find = (id) => document.getElementById(id);
const has = (row, name) => row[name] !== undefined;

function element(tag, text, kind) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function shown() {
  return state.columns ? state.columns.split(",").map(Number) : data.columns.map((_, n) => n).slice(0, FIRST_COLUMNS);
}

const KINDS = {
  look: (row) => !row.fine || has(row, "flags") || has(row, "unusual"),
  failed: (row) => !row.fine,
  flags: (row) => row.fine && has(row, "flags"),
  unusual: (row) => has(row, "unusual"),
  told: (row) => has(row, "told"),
  fine: (row) => !KINDS.look(row) && !KINDS.told(row),
};

function keyOf(row) {
  if (state.sort === "id") return row.id;
  return (row.values || [])[Number(state.sort)];
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), undefined, {numeric: true});
}

function chosen() {
  const part = state.search.toLowerCase();
  const rows = data.rows.filter((row) => (!KINDS[state.show] || KINDS[state.show](row)) && (!part ||
    [row.id, ...(row.told || []), ...(row.flags || [])].some((text) => text.toLowerCase().includes(part))));
  if (!state.sort) return rows;  // the worst first, as they came
  const known = rows.filter((row) => keyOf(row) !== undefined && keyOf(row) !== null);
  known.sort((a, b) => (state.down ? -1 : 1) * compare(keyOf(a), keyOf(b)));
  return [...known, ...rows.filter((row) => keyOf(row) === undefined || keyOf(row) === null)];
}

function heading(text, column) {
  const cell = element("th", text);
  if (column === undefined) return cell;
  cell.dataset.column = column;
  cell.tabIndex = 0;
  if (state.sort === column) cell.setAttribute("aria-sort", state.down ? "descending" : "ascending");
  const sort = () => change({sort: column, down: state.sort === column && !state.down ? "1" : "", page: "0"});
  cell.addEventListener("click", sort);
  cell.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
  return cell;
}

function pictureCell(row) {
  const cell = element("td");
  if (!row.picture) return cell;
  const link = element("a");
  const picture = element("img");
  link.href = picture.src = row.picture;
  picture.alt = "";
  picture.loading = "lazy";
  link.append(picture);
  cell.append(link);
  return cell;
}

function caseCell(row) {
  const cell = element("td", row.id);
  if (!row.fine) cell.append(element("small", row.status, "bad"));
  for (const [name, place] of row.files || []) {
    const link = element("a", name);
    link.href = place;
    const line = element("small");
    line.append(link);
    cell.append(line);
  }
  return cell;
}

function wordsCell(row) {
  const cell = element("td", undefined, "words");
  for (const text of row.flags || []) cell.append(element("p", text, "bad"));
  for (const text of row.unusual || []) cell.append(element("p", text, "warning"));
  for (const text of row.told || []) cell.append(element("p", text));
  return cell;
}

function valueCell(row, column) {
  const value = (row.values || [])[column];
  const cell = element("td", value === null || value === undefined ? "" : value);
  const z = (row.z || {})[column];
  if (z !== undefined) {
    cell.className = "odd";
    cell.title = `robust z ${z > 0 ? "+" : ""}${z}`;
  }
  return cell;
}

function draw() {
  const rows = chosen();
  const size = Number(state.size);
  const pages = Math.max(1, Math.ceil(rows.length / size));
  const page = Math.min(Number(state.page), pages - 1);
  const columns = shown();
  find("head").replaceChildren(heading("case", "id"), heading(""), heading("to know"),
    ...columns.map((n) => heading(data.columns[n], String(n))));
  find("body").replaceChildren(...rows.slice(page * size, (page + 1) * size).map((row) => {
    const line = element("tr");
    line.append(caseCell(row), pictureCell(row), wordsCell(row));
    line.append(...columns.map((n) => valueCell(row, n)));
    return line;
  }));
  const first = rows.length ? page * size + 1 : 0;
  find("where").textContent = `${first}–${Math.min((page + 1) * size, rows.length)} of ${rows.length}`;
  find("back").disabled = page === 0;
  find("on").disabled = page >= pages - 1;
  for (const name of ["search", "show", "size"]) find(name).value = state[name];
  for (const box of find("columns").querySelectorAll("input")) box.checked = columns.includes(Number(box.value));
}

function change(news) {
  Object.assign(state, news);
  const told = Object.entries(state).filter(([, value]) => value);
  history.replaceState(null, "", "#" + new URLSearchParams(told));
  draw();
}

function read() {
  const told = new URLSearchParams(location.hash.slice(1));
  for (const name of Object.keys(state)) if (told.has(name)) state[name] = told.get(name);
}

function setUp() {
  data.columns.forEach((name, n) => {
    const box = element("input");
    box.type = "checkbox";
    box.value = n;
    const label = element("label");
    label.append(box, ` ${name}`);
    box.addEventListener("change", () => {
      const boxes = [...find("columns").querySelectorAll("input:checked")];
      change({columns: boxes.map((one) => one.value).join(",")});
    });
    find("columns").append(label);
  });
  find("filters").addEventListener("submit", (event) => event.preventDefault());
  find("search").addEventListener("input", () => change({search: find("search").value, page: "0"}));
  find("show").addEventListener("change", () => change({show: find("show").value, page: "0"}));
  find("size").addEventListener("change", () => change({size: find("size").value, page: "0"}));
  find("back").addEventListener("click", () => change({page: String(Math.max(0, Number(state.page) - 1))}));
  find("on").addEventListener("click", () => change({page: String(Number(state.page) + 1)}));
  find("worst").addEventListener("click", () => change({sort: "", down: "", page: "0"}));
}

read();
setUp();
draw();
window.addEventListener("hashchange", () => { read(); draw(); });
