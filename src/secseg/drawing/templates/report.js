"use strict";

// Tables: a click on the name of a column sorts by it, a second click reverses the order. Empty cells come last.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.parentElement, column = head.cellIndex, body = head.closest("table").tBodies[0];
    const ascending = head.getAttribute("aria-sort") === "descending"
      || (head.getAttribute("aria-sort") === "none" && column === 0);
    for (const other of head.parentElement.children) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const rows = [...body.rows], cell = (row) => row.cells[column];
    const numeric = rows.some((row) => "value" in cell(row).dataset);
    const compare = (a, b) => {
      if (!numeric) return cell(a).textContent.localeCompare(cell(b).textContent, "en", { numeric: true });
      return Number(cell(a).dataset.value) - Number(cell(b).dataset.value);
    };
    const known = rows.filter((row) => !numeric || "value" in cell(row).dataset);
    known.sort((a, b) => (ascending ? compare(a, b) : compare(b, a)));
    body.append(...known, ...rows.filter((row) => !known.includes(row)));
  });
}

// A printed page shows all details.
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});

const data = document.getElementById("data");
if (data) startGallery(JSON.parse(data.textContent));

function startGallery({ settings, variants, classes, images }) {
  const at = (id) => document.getElementById(id);
  const percent = (share) => (share === null ? "-" : `${(100 * share).toFixed(1)} %`);
  const options = (select, pairs) => select.replaceChildren(...pairs.map(([value, text]) => new Option(text, value)));
  let shown = [];

  const held = classes.map((_, number) => number).filter((number) => images.some((i) => i.classes.includes(number)));
  options(at("class"), [["", "all"], ...held.map((number) => [number, classes[number][0]])]);
  for (const id of ["first", "second"]) options(at(id), settings.map((name, number) => [number, name]));
  at("second").value = settings.length > 1 ? 1 : 0;
  at("gallery").hidden = false;

  const variant = () => (variants.length > 1 && !at("crf").checked ? "without_crf" : variants[variants.length - 1]);

  function badness(image) { // images with the largest value come first
    const first = Number(at("first").value), second = Number(at("second").value);
    if (at("order").value === "differs") return image.differs[variant()][first][second] ?? -1;
    return -(image.iou[variant()][first] ?? 2);
  }

  function list() { // the controls above decide which images are listed, and their order
    const order = at("order").value, wanted = at("class").value, kept = at("image").value;
    at("first-label").hidden = order === "name";
    at("second-label").hidden = order !== "differs";
    shown = images.filter((image) => wanted === "" || image.classes.includes(Number(wanted)));
    if (order !== "name") shown.sort((a, b) => badness(b) - badness(a));
    const note = (image) => (order === "name" ? "" : ` (${percent(Math.abs(badness(image)))})`);
    options(at("image"), shown.map((image) => [image.name, image.name + note(image)]));
    if (shown.some((image) => image.name === kept)) at("image").value = kept;
    show();
  }

  function tile(address, caption, mask) {
    const figure = document.createElement("figure"), text = document.createElement("figcaption");
    const picture = Object.assign(new Image(), { src: address, alt: caption, className: mask ? "mask" : "" });
    text.textContent = caption;
    figure.append(picture, text);
    return figure;
  }

  function show() {
    const number = at("image").selectedIndex, image = shown[number];
    at("place").textContent = image ? `${number + 1} of ${shown.length}` : "no such image";
    at("previous").disabled = number <= 0;
    at("next").disabled = number + 1 >= shown.length;
    if (!image) return at("tiles").replaceChildren();
    const pictures = [["image", image.photo], ["cues", image.cues], ["truth", image.truth, true]];
    image.masks[variant()].forEach((mask, setting) => {
      pictures.push([`${settings[setting]}: ${percent(image.iou[variant()][setting])}`, mask, true]);
    });
    at("tiles").replaceChildren(
      ...pictures.filter(([, address]) => address).map(([caption, address, mask]) => tile(address, caption, mask)));
  }

  function step(by) {
    const number = at("image").selectedIndex + by;
    if (number < 0 || number >= shown.length) return;
    at("image").selectedIndex = number;
    show();
  }

  at("colours").replaceChildren(...classes.map(([name, colour]) => {
    const entry = document.createElement("span"), swatch = document.createElement("i");
    swatch.style.background = colour;
    entry.append(swatch, name);
    return entry;
  }));
  for (const id of ["class", "order", "first", "second"]) at(id).addEventListener("change", list);
  if (at("crf")) at("crf").addEventListener("change", list);
  at("image").addEventListener("change", show);
  at("previous").addEventListener("click", () => step(-1));
  at("next").addEventListener("click", () => step(1));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest("select, input, .scroll")) return;
    if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "ArrowRight") step(1);
    else return;
    event.preventDefault();
  });
  list();
}
