// Plots by plotly.js, which is loaded when the first one is looked at, in the colours of the page.

import { element } from "./elements.js";
import { source } from "./source.js";

let loading = null;

function plotly() {
  loading ??= new Promise((resolve, reject) => {
    const inside = document.getElementById("plotly"); // in a file of its own, as text that runs when it is needed
    const script = element("script", inside ? {} : { src: "/plotly.js", onload: resolve, onerror: reject },
      inside?.textContent);
    document.head.append(script);
    if (inside) resolve();
  });
  return loading;
}

export async function drawFigures(place, figures) {
  await plotly();
  place.replaceChildren(...figures.map(({ title, note }) => element("figure", { class: "plot" },
    element("figcaption", {}, element("h3", {}, title), note ? element("p", { class: "quiet" }, note) : null),
    element("div", { class: "drawing", role: "img", "aria-label": title }))));
  figures.forEach((figure, i) => drawOne(place.children[i].querySelector(".drawing"), figure));
}

function drawOne(place, { data, layout }) {
  const style = getComputedStyle(document.body);
  const [ink, rule] = ["--ink", "--rule"].map((name) => style.getPropertyValue(name).trim());
  const coloured = { ...layout, template: null, autosize: true, width: undefined, paper_bgcolor: "transparent",
    plot_bgcolor: "transparent", font: { color: ink, family: style.fontFamily } };
  for (const name of Object.keys(coloured).filter((key) => /^[xy]axis/.test(key))) {
    coloured[name] = { ...coloured[name], gridcolor: rule, zerolinecolor: rule, linecolor: rule };
  }
  window.Plotly.newPlot(place, data, coloured, { responsive: true, displaylogo: false, displayModeBar: false });
}

export async function drawPlots(place) {
  place.replaceChildren(element("p", { class: "quiet" }, "Drawing the plots"));
  const figures = await source.figures();
  if (figures.length) await drawFigures(place, figures);
  else place.replaceChildren(element("p", { class: "quiet" }, "There is nothing to plot yet."));
}
