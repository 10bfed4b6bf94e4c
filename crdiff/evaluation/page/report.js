"use strict";
{
  const images = JSON.parse(document.getElementById("data").textContent);
  const [cell, left, right, under, over, line, slider, scores] =
    ["cell", "left", "right", "under", "over", "line", "slider", "scores"].map((id) => document.getElementById(id));

  const options = (select, texts) => {
    const chosen = select.value;
    select.replaceChildren(...texts.map((text, value) => new Option(text, select === cell ? value : text)));
    if (texts.includes(chosen)) select.value = chosen;
  };

  const said = (way, found) => {
    const values = Object.entries(found.scores).map(([name, score]) => `${name} ${score.toFixed(3)}`);
    return [way, ...values].join(", ");
  };

  const slide = () => {
    over.style.clipPath = `inset(0 0 0 ${slider.value}%)`;
    line.style.left = `calc(${slider.value}% - 1px)`;
  };

  const show = () => {
    const { ways } = images[cell.value];
    under.src = ways[left.value].source;
    over.src = ways[right.value].source;
    under.alt = left.value;
    over.alt = right.value;
    scores.textContent = `${said(left.value, ways[left.value])} | ${said(right.value, ways[right.value])}`;
  };

  const choose = () => {
    const fresh = left.value === "";
    const names = Object.keys(images[cell.value].ways);
    options(left, names);
    options(right, names);
    if (fresh) right.value = names.includes("crdiff") ? "crdiff" : names[names.length - 1];
    show();
  };

  const step = (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || event.target.tagName === "SELECT") return;
    event.preventDefault();
    cell.value = (Number(cell.value) + by + images.length) % images.length;
    choose();
  };

  if (images.length) {
    document.getElementById("images").hidden = false;
    options(cell, images.map((one) => `${one.size}, seed ${one.seed}: ${one.prompt}`));
    cell.addEventListener("change", choose);
    left.addEventListener("change", show);
    right.addEventListener("change", show);
    slider.addEventListener("input", slide);
    document.addEventListener("keydown", step);
    choose();
    slide();
  }
}
