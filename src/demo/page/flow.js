// The picture: few wires on the left, many on the right, and a pulse when an event passes.

const SVG = 'http://www.w3.org/2000/svg';
const WIRES_MAX = 36;
const PULSE_EVERY_MS = 350;
const still = matchMedia('(prefers-reduced-motion: reduce)');

export class Flow {
  constructor(up, down) {
    this.sides = { up: { svg: up, count: -1 }, down: { svg: down, count: -1 } };
    this.pulsed = 0;
    for (const svg of [up, down]) svg.setAttribute('viewBox', '0 0 100 100');
  }

  draw(upstream, clients) {
    wires(this.sides.up, upstream, (y) => `M0 ${y} C50 ${y} 50 50 100 50`);
    wires(this.sides.down, clients, (y) => `M0 50 C50 50 50 ${y} 100 ${y}`);
  }

  pulse() {
    const now = performance.now();
    if (still.matches || document.hidden || now - this.pulsed < PULSE_EVERY_MS) return;
    this.pulsed = now;
    run(this.sides.up.svg, 0);
    run(this.sides.down.svg, 260);
  }
}

function wires(side, count, path) {
  const shown = Math.min(count, WIRES_MAX);
  if (side.count === shown) return;
  side.count = shown;
  side.svg.dataset.none = String(shown === 0);
  const drawn = Math.max(shown, 1);
  const paths = [];
  for (let i = 0; i < drawn; i += 1) {
    const spread = Math.min(92, drawn * 12);
    const y = drawn === 1 ? 50 : 50 - spread / 2 + (spread * i) / (drawn - 1);
    for (const name of shown ? ['wire', 'spark'] : ['wire']) {
      const element = document.createElementNS(SVG, 'path');
      element.setAttribute('class', name);
      element.setAttribute('d', path(y.toFixed(1)));
      element.setAttribute('pathLength', '100');
      paths.push(element);
    }
  }
  side.svg.replaceChildren(...paths);
}

function run(svg, delay) {
  for (const spark of svg.querySelectorAll('.spark')) {
    spark.animate(
      [{ strokeDashoffset: 18, opacity: 1 }, { strokeDashoffset: -100, opacity: 1 }],
      { duration: 520, delay, easing: 'cubic-bezier(.4,0,.6,1)' },
    );
  }
}
