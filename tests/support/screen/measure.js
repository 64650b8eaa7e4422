// What a person would see of each panel: texts, which of them are cut, the cells of tables, the ticks of axes.

/** What is written on each canvas since it was cleared. */
const written = new WeakMap();
const { fillText, clearRect } = CanvasRenderingContext2D.prototype;
CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) {
  written.set(this.canvas, [...(written.get(this.canvas) ?? []), text]);
  return fillText.call(this, text, ...rest);
};
CanvasRenderingContext2D.prototype.clearRect = function (...area) {
  written.delete(this.canvas);
  return clearRect.apply(this, area);
};

/** The elements that show text by themselves. */
const texts = (root) =>
  [...root.querySelectorAll('*')].filter(
    (element) =>
      element.getClientRects().length &&
      [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.textContent.trim())
  );

/** Whether a text goes on where nobody can see it: beyond an element that hides it and cannot be scrolled. */
function isCut(element, root) {
  const range = document.createRange();
  range.selectNodeContents(element);
  const text = range.getBoundingClientRect();
  for (let around = element; around !== root.parentElement; around = around.parentElement) {
    const { overflowX } = getComputedStyle(around);
    const box = around.getBoundingClientRect();
    if (overflowX !== 'visible' && (text.right > box.right + 1 || text.left < box.left - 1)) {
      return !['auto', 'scroll'].includes(overflowX);
    }
  }
  return false;
}

export function measure(dashboard) {
  const found = [];
  for (const section of document.querySelectorAll('section[data-width]')) {
    for (const panel of dashboard.panels) {
      const root = section.querySelector(`[data-panel="${panel.id}"]`);
      const grid = root.querySelector('[role="grid"]');
      const rows = grid ? [...grid.querySelectorAll('[role="row"]')] : [];
      found.push({
        width: Number(section.dataset.width),
        panel: panel.id,
        cut: texts(root).filter((element) => isCut(element, root)).map((element) => element.textContent),
        // A table that is wider than its panel is scrolled sideways.
        beyond: grid ? grid.scrollWidth - grid.clientWidth : 0,
        rows: rows.map((row) =>
          [...row.querySelectorAll('[role="columnheader"], [role="gridcell"]')].map((cell) => cell.textContent)
        ),
        texts: texts(root).map((element) => element.textContent),
        ticks: [...root.querySelectorAll('canvas')].map((canvas) => written.get(canvas) ?? []),
        bars: [...root.querySelectorAll('[data-testid*="Bar gauge value"]')].map((element) => element.textContent),
      });
    }
  }
  return found;
}
