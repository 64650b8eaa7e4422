// What a dashboard of ours may be: Grafana's own types, with the options of each kind of panel instead of `unknown`.

import type { AnnotationQuery, Dashboard, DataSourceRef, FieldConfig, Panel, RowPanel, VariableModel } from '@grafana/schema';
import type * as BarGauge from 'panelcfg/bargauge';
import type * as Stat from 'panelcfg/stat';
import type * as Table from 'panelcfg/table';
import type * as TimeSeries from 'panelcfg/timeseries';
import type * as XYChart from 'panelcfg/xychart';

/** A type as its JSON has it: an enum's member is its value. */
type Plain<T> = T extends string
  ? `${T}`
  : T extends number
    ? `${T}` extends `${infer N extends number}`
      ? N
      : never
    : T extends boolean | null | undefined
      ? T
      : T extends Array<infer Item>
        ? Array<Plain<Item>>
        : T extends object
          ? { [Key in keyof T]: Plain<T[Key]> }
          : T;

/** Never a data source of somebody's own. */
type Datasource = Plain<DataSourceRef> & { type: 'prometheus'; uid: '${datasource}' };

/** What Grafana's Prometheus data source takes; @grafana/schema has no types for it. */
interface Target {
  refId: string;
  datasource: Datasource;
  expr: string;
  editorMode: 'code';
  range: boolean;
  instant: boolean;
  legendFormat?: string;
  format?: 'table';
  /** The least step: Min step in the editor. */
  interval?: string;
}

/** What another panel of the dashboard has asked for; @grafana/schema has no types for it. */
interface Shared {
  refId: string;
  datasource: SharedSource;
  panelId: number;
  withTransforms: true;
}

type SharedSource = Plain<DataSourceRef> & { type: 'datasource'; uid: '-- Dashboard --' };

type GroupBy = { operation: 'groupby' | 'aggregate'; aggregations: string[] };

type Transformation =
  | { id: 'merge'; options: Record<string, never> }
  | { id: 'groupBy'; options: { fields: Record<string, GroupBy> } }
  | { id: 'calculateField'; options: { mode: 'binary'; binary: { left: string; operator: '/'; right: string }; alias: string } }
  | { id: 'sortBy'; options: { fields: Record<string, never>; sort: Array<{ field: string; desc: boolean }> } }
  | { id: 'limit'; options: { limitField: number } }
  | {
      id: 'filterByValue';
      options: {
        type: 'include';
        match: 'all';
        filters: Array<{ fieldName: string; config: { id: 'regex'; options: { value: string } } }>;
      };
    }
  | {
      id: 'organize';
      options: {
        excludeByName: Record<string, boolean>;
        indexByName?: Record<string, number>;
        renameByName: Record<string, string>;
      };
    };

type Loose = 'type' | 'datasource' | 'options' | 'fieldConfig' | 'targets' | 'transformations';

type PanelOf<Kind extends string, Options, Custom> = Omit<Plain<Panel>, Loose> & {
  type: Kind;
  title: string;
  description: string;
  pluginVersion: string;
  datasource: Datasource | SharedSource;
  targets: Target[] | Shared[];
  transformations: Transformation[];
  options: Plain<Options>;
  fieldConfig: {
    defaults: Omit<Plain<FieldConfig>, 'custom'> & { unit?: string; noValue: string; custom?: Plain<Custom> };
    overrides: Array<{ matcher: { id: string; options: unknown }; properties: Array<{ id: string; value: unknown }> }>;
  };
};

type AnyPanel =
  | Plain<RowPanel>
  | PanelOf<'bargauge', BarGauge.Options, never>
  | PanelOf<'stat', Stat.Options, never>
  | PanelOf<'table', Table.Options, Table.FieldConfig>
  | PanelOf<'timeseries', TimeSeries.Options, TimeSeries.FieldConfig>
  | PanelOf<'xychart', XYChart.Options, XYChart.FieldConfig>;

/** What the Prometheus data source adds to an annotation. */
type Annotation = Omit<Plain<AnnotationQuery>, 'datasource'> & {
  datasource: Datasource;
  expr: string;
  step: string;
  useValueForTime: boolean;
  titleFormat: string;
  textFormat: string;
  tagKeys: string;
};

/** `definition` is what Grafana's own JSON has beside the schema: the query as text. */
type Variable = Plain<VariableModel> & { definition?: string };

export type Checked = Omit<Plain<Dashboard>, 'panels' | 'annotations' | 'templating'> & {
  uid: string;
  title: string;
  panels: AnyPanel[];
  annotations: { list: Annotation[] };
  templating: { list: Variable[] };
};
