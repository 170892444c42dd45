// A protein's chain of alpha carbons on a canvas, from PDB or mmCIF; it turns by dragging and by arrow keys.

import { element } from "./elements.js";

export function drawStructure(url, turns) {
  const side = turns ? 560 : 240;
  const canvas = element("canvas", {
    width: side, height: side, role: "img", "aria-label": "A structure's backbone", tabindex: turns ? 0 : false,
  });
  let angles = [0.4, 0.3];
  fetch(url).then((answer) => answer.text()).then((text) => {
    const atoms = centred(alphaCarbons(text));
    const redraw = () => draw(canvas, atoms, angles);
    redraw();
    if (!turns) return;
    const turn = (dx, dy) => { angles = [angles[0] + dx, angles[1] + dy]; redraw(); };
    canvas.addEventListener("pointermove", (event) => {
      if (event.buttons) turn(event.movementX / 120, event.movementY / 120);
    });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, -0.15], ArrowDown: [0, 0.15] }[event.key];
      if (!step) return;
      event.stopPropagation();
      event.preventDefault();
      turn(...step);
    });
  }).catch(() => {});
  return canvas;
}

// Positions and chains of the alpha carbons.
export function alphaCarbons(text) {
  const lines = text.split("\n");
  if (lines.some((line) => line.startsWith("_atom_site."))) return ofCif(lines);
  return lines.filter((line) => line.startsWith("ATOM") && line.slice(12, 16).trim() === "CA").map((line) => ({
    chain: line[21],
    at: [30, 38, 46].map((start) => Number(line.slice(start, start + 8))),
  }));
}

function ofCif(lines) {
  const names = lines.filter((line) => line.startsWith("_atom_site.")).map((line) => line.trim().slice(11));
  const column = (name) => names.indexOf(name);
  return lines.filter((line) => line.startsWith("ATOM")).map((line) => line.trim().split(/\s+/))
    .filter((cells) => cells[column("label_atom_id")] === "CA")
    .map((cells) => ({
      chain: cells[column("label_asym_id")],
      at: ["Cartn_x", "Cartn_y", "Cartn_z"].map((name) => Number(cells[column(name)])),
    }));
}

function centred(atoms) {
  const mean = [0, 1, 2].map((k) => atoms.reduce((sum, atom) => sum + atom.at[k], 0) / (atoms.length || 1));
  return atoms.map((atom) => ({ ...atom, at: atom.at.map((x, k) => x - mean[k]) }));
}

function draw(canvas, atoms, [a, b]) {
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, canvas.width, canvas.height);
  const radius = Math.max(1, ...atoms.map(({ at }) => Math.hypot(...at)));
  const scale = canvas.width / 2.2 / radius;
  const seen = atoms.map(({ at: [x, y, z], chain }) => {
    const across = x * Math.cos(a) + z * Math.sin(a);
    const deep = z * Math.cos(a) - x * Math.sin(a);
    return { chain, x: canvas.width / 2 + scale * across, y: canvas.height / 2 - scale * (y * Math.cos(b) - deep * Math.sin(b)),
      z: deep * Math.cos(b) + y * Math.sin(b) };
  });
  const pieces = seen.slice(1).map((to, i) => ({ from: seen[i], to, hue: 220 - (200 * i) / (seen.length || 1) }))
    .filter(({ from, to }) => from.chain === to.chain);
  pieces.sort((one, other) => one.from.z - other.from.z);
  pen.lineCap = "round";
  for (const { from, to, hue } of pieces) {
    const near = (from.z / radius + 1) / 2;
    pen.strokeStyle = `hsl(${hue} 65% ${58 - 22 * near}%)`;
    pen.lineWidth = canvas.width / 110 * (0.7 + near);
    pen.beginPath();
    pen.moveTo(from.x, from.y);
    pen.lineTo(to.x, to.y);
    pen.stroke();
  }
}
