// Draws a dashboard at several widths, one below the other, and writes down what a person would see.

import '@fontsource/inter/400.css';
import '@fontsource/inter/500.css';
import { ThemeContext } from '@grafana/data';
import { GlobalStyles } from '@grafana/ui';
import { createRoot } from 'react-dom/client';
import { prepare } from './frames.js';
import { choose, data, fill, Panel, theme } from './panels.jsx';
import { measure } from './measure.js';

const GAP = 8; // Grafana's grid: 24 columns, rows of 30 px, gaps of 8 px
const ROW = 30;

function place({ x, y, w, h }, width) {
  const column = (width - 23 * GAP) / 24;
  return {
    left: x * (column + GAP), top: y * (ROW + GAP), width: w * column + (w - 1) * GAP, height: h * ROW + (h - 1) * GAP,
  };
}

function Screen({ dashboard, shown, width, range }) {
  const bottom = Math.max(...dashboard.panels.map(({ gridPos }) => gridPos.y + gridPos.h)) * (ROW + GAP);
  return (
    <section data-width={width} style={{ position: 'relative', width, height: bottom + 40, margin: 16 }}>
      {dashboard.panels.map((panel) => {
        const at = place(panel.gridPos, width);
        return (
          <div key={panel.id} data-panel={panel.id} style={{ position: 'absolute', ...at }}>
            {panel.type === 'row' ? (
              <h6 data-heading style={{ whiteSpace: 'nowrap', overflow: 'hidden', paddingTop: 6 }}>{fill(panel.title)}</h6>
            ) : (
              <Panel panel={panel} series={shown[panel.id].series} width={at.width} height={at.height} range={range} />
            )}
          </div>
        );
      })}
    </section>
  );
}

async function main() {
  prepare();
  const { dashboard, answers, chosen, widths, range } = JSON.parse(document.getElementById('input').textContent);
  choose(chosen);
  const transformed = {};
  const shown = {};
  const panels = dashboard.panels.filter(({ type }) => type !== 'row');
  // Those that take another panel's data come after it.
  for (const panel of [...panels.filter((each) => !each.targets[0].panelId), ...panels.filter((each) => each.targets[0].panelId)]) {
    shown[panel.id] = await data(panel, answers[panel.id] ?? [], transformed);
    transformed[panel.id] = shown[panel.id].raw;
  }
  await Promise.all([400, 500].map((weight) => document.fonts.load(`${weight} 14px Inter`)));
  createRoot(document.getElementById('root')).render(
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      {widths.map((width) => <Screen key={width} {...{ dashboard, shown, width, range }} />)}
    </ThemeContext.Provider>
  );
  await new Promise((drawn) => setTimeout(drawn, 4000));
  tell(measure(dashboard));
}

function tell(what) {
  document.getElementById('measured').textContent = JSON.stringify(what);
}

main().catch((error) => tell({ error: String(error.stack ?? error) }));
