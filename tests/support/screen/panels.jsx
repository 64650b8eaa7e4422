// Grafana's kinds of panels, of the components that its own panels are made of. An XY chart's component is not on npm.

import {
  applyFieldOverrides, cacheFieldDisplayNames, createTheme, dateTime, FieldConfigOptionsRegistry, FieldType, getDisplayValueAlignmentFactors,
  getFieldDisplayName, getFieldDisplayValues, ReducerID, transformDataFrame, VizOrientation,
} from '@grafana/data';
import {
  BarGauge, BigValue, BigValueGraphMode, PanelChrome, TimeSeries, VizRepeater,
} from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import { frames, properties } from './frames.js';

export const theme = createTheme({ colors: { mode: 'light' } });

let chosen = {};

/** Text with the variables filled in, where Grafana does so: in titles and in some properties of fields. */
export const fill = (text) =>
  text.replace(/\$(?:\{(\w+)(?::(\w+))?\}|(\w+))/g, (whole, braced, format, plain) =>
    chosen[format === 'text' ? `${braced}:text` : braced ?? plain] ?? whole
  );

export function choose(values) {
  chosen = values;
}

function displayed(panel, data) {
  const fields = applyFieldOverrides({
    data, theme, fieldConfig: panel.fieldConfig, replaceVariables: (text) => fill(String(text)), timeZone: 'utc',
    fieldConfigRegistry: new FieldConfigOptionsRegistry(properties),
  });
  cacheFieldDisplayNames(fields);
  return fields;
}

/** A panel's frames: as asked for, transformed, and with every field's own configuration. */
export async function data(panel, answers, transformed) {
  const [target] = panel.targets;
  const asked = target.panelId
    ? transformed[target.panelId]
    : answers.flatMap((answer) =>
        frames(answer, answers.filter(({ result }) => result.length).length > 1)
      );
  const series = await new Promise((done, fail) =>
    transformDataFrame(panel.transformations, asked, { interpolate: (text) => text }).subscribe({ next: done, error: fail })
  );
  return { raw: series, series: displayed(panel, series) };
}

const isEmpty = (series) => series.every((frame) => frame.length === 0 || !frame.fields.length);

function Empty({ panel }) {
  return <div data-empty style={{ padding: 16, textAlign: 'center' }}>{panel.fieldConfig.defaults.noValue ?? 'No data'}</div>;
}

function Table({ panel, series, width, height }) {
  return (
    <TableNG
      data={series[0]} width={width} height={height} fieldConfig={panel.fieldConfig} enableVirtualization={false}
      initialSortBy={panel.options.sortBy} cellHeight={panel.options.cellHeight} timeRange={undefined}
    />
  );
}

function values(panel, series) {
  return getFieldDisplayValues({
    fieldConfig: panel.fieldConfig, reduceOptions: panel.options.reduceOptions, replaceVariables: (text) => fill(String(text)),
    theme, data: series, timeZone: 'utc', sparkline: false,
  });
}

function Stat({ panel, series, width, height }) {
  const { orientation, textMode, colorMode, justifyMode, wideLayout } = panel.options;
  return (
    <VizRepeater
      getValues={() => values(panel, series)} width={width} height={height} source={series} renderCounter={0} autoGrid
      orientation={orientation} itemSpacing={3}
      renderValue={({ value, width, height, count }) => (
        <BigValue
          value={value.display} count={count} width={width} height={height} theme={theme} colorMode={colorMode}
          graphMode={BigValueGraphMode.None} justifyMode={justifyMode} textMode={textMode} wideLayout={wideLayout}
        />
      )}
    />
  );
}

function Bars({ panel, series, width, height }) {
  const { orientation, displayMode, namePlacement, showUnfilled, valueMode, minVizHeight, maxVizHeight, minVizWidth } = panel.options;
  return (
    <VizRepeater
      getValues={() => values(panel, series)} width={width} height={height} source={series} renderCounter={0}
      orientation={orientation} itemSpacing={10} minVizHeight={minVizHeight} maxVizHeight={maxVizHeight}
      minVizWidth={minVizWidth} getAlignmentFactors={(all) => getDisplayValueAlignmentFactors(all)}
      renderValue={({ value, width, height, alignmentFactors }) => (
        <BarGauge
          value={value.display} width={width} height={height} theme={theme} field={value.field} orientation={orientation}
          display={value.view?.getFieldDisplayProcessor(value.colIndex)} text={panel.options.text} itemSpacing={10}
          displayMode={displayMode} namePlacement={namePlacement} showUnfilled={showUnfilled} valueDisplayMode={valueMode}
          alignmentFactors={alignmentFactors} isOverflow={false}
        />
      )}
    />
  );
}

function Lines({ panel, series, width, height, range }) {
  return (
    <TimeSeries
      frames={series} width={width} height={height} timeZone="utc" legend={panel.options.legend} structureRev={1}
      timeRange={{ from: dateTime(range.from * 1000), to: dateTime(range.to * 1000), raw: { from: '', to: '' } }}
    />
  );
}

/** Points by our own few lines, with each axis in its field's own unit. */
function Points({ panel, series, width, height }) {
  const [of] = panel.options.series;
  const field = (name) => series[0].fields.find((each) => getFieldDisplayName(each, series[0], series) === name);
  const [x, y] = [field(of.x.matcher.options), field(of.y.matcher.options)];
  if (!x || !y) {
    return <Empty panel={panel} />;
  }
  const known = x.values.map((_, row) => row).filter((row) => x.values[row] != null && y.values[row] != null);
  const span = (axis) => {
    const numbers = known.map((row) => axis.values[row]);
    const [low, high] = [Math.min(axis.config.custom?.axisSoftMin ?? Infinity, ...numbers), Math.max(...numbers)];
    return [low && low - (high - low || 1) * 0.05, high + (high - low || 1) * 0.05];
  };
  const text = (axis, value) => { const { text, suffix, prefix } = axis.display(value); return `${prefix ?? ''}${text}${suffix ?? ''}`; };
  const [xs, ys] = [span(x), span(y)];
  const at = (row) => ({
    cx: 70 + ((x.values[row] - xs[0]) / (xs[1] - xs[0])) * (width - 90),
    cy: height - 45 - ((y.values[row] - ys[0]) / (ys[1] - ys[0])) * (height - 60),
  });
  return (
    <svg width={width} height={height} fontSize={12} data-axes={JSON.stringify([x.config.custom?.axisLabel, y.config.custom?.axisLabel])}>
      {known.map((row) => <circle key={row} r={4} fill="#5794f2" opacity={0.7} {...at(row)} />)}
      <line x1={70} x2={width - 20} y1={height - 45} y2={height - 45} stroke="#ccc" />
      <line x1={70} x2={70} y1={15} y2={height - 45} stroke="#ccc" />
      <text x={70} y={height - 28}>{text(x, xs[0])}</text><text x={width - 20} y={height - 28} textAnchor="end">{text(x, xs[1])}</text>
      <text x={64} y={height - 45} textAnchor="end">{text(y, ys[0])}</text><text x={64} y={24} textAnchor="end">{text(y, ys[1])}</text>
      <text x={width / 2} y={height - 8} textAnchor="middle">{x.config.custom?.axisLabel}</text>
      <text transform={`translate(14 ${height / 2}) rotate(-90)`} textAnchor="middle">{y.config.custom?.axisLabel}</text>
    </svg>
  );
}

const KINDS = { table: Table, stat: Stat, bargauge: Bars, timeseries: Lines, xychart: Points };

/** One panel in Grafana's frame. A stat says by itself that it is empty. */
export function Panel({ panel, series, width, height, range }) {
  const Kind = KINDS[panel.type] ?? Empty;
  const padding = panel.type === 'table' ? 'none' : 'md'; // Grafana's plugins: a table has no padding
  return (
    <PanelChrome title={fill(panel.title).trim()} description={fill(panel.description)} width={width} height={height} padding={padding}>
      {(innerWidth, innerHeight) =>
        isEmpty(series) && panel.type !== 'stat' ? (
          <Empty panel={panel} />
        ) : (
          <Kind panel={panel} series={series} width={innerWidth} height={innerHeight} range={range} />
        )
      }
    </PanelChrome>
  );
}
