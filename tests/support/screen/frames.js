// What Grafana's Prometheus data source makes of answers, and its standard field properties and transformations.

import {
  FieldType,
  identityOverrideProcessor,
  numberOverrideProcessor,
  booleanOverrideProcessor,
  standardFieldConfigEditorRegistry,
  standardTransformers,
  standardTransformersRegistry,
  stringOverrideProcessor,
  displayNameOverrideProcessor,
  thresholdsOverrideProcessor,
  valueMappingsOverrideProcessor,
  toDataFrame,
} from '@grafana/data';

/** Properties that an override may set, as Grafana's application registers them; npm has only the processors. */
const STANDARD = {
  unit: stringOverrideProcessor,
  min: numberOverrideProcessor,
  max: numberOverrideProcessor,
  fieldMinMax: booleanOverrideProcessor,
  decimals: numberOverrideProcessor,
  displayName: displayNameOverrideProcessor,
  noValue: stringOverrideProcessor,
  color: identityOverrideProcessor,
  mappings: valueMappingsOverrideProcessor,
  thresholds: thresholdsOverrideProcessor,
};
const CUSTOM = [
  'align', 'axisLabel', 'axisSoftMax', 'axisSoftMin', 'cellOptions', 'fillOpacity', 'lineWidth', 'minWidth',
  'stacking', 'thresholdsStyle', 'width', 'wrapHeaderText', 'wrapText',
];

/** Those in which Grafana fills variables in. */
const FILLED = ['displayName', 'axisLabel'];

function item(id, path, process, isCustom) {
  return {
    id, path, name: id, isCustom, process,
    settings: { expandTemplateVars: FILLED.includes(path) }, editor: () => null, override: () => null, shouldApply: () => true,
  };
}

const standard = () => Object.entries(STANDARD).map(([id, process]) => item(id, id, process, false));

/** All that a panel's fields may have. */
export const properties = () => [
  ...standard(),
  ...CUSTOM.map((name) =>
    item(`custom.${name}`, name, name === 'axisLabel' ? stringOverrideProcessor : identityOverrideProcessor, true)
  ),
];

export function prepare() {
  standardFieldConfigEditorRegistry.setInit(standard);
  standardTransformersRegistry.setInit(() =>
    // joinByField has two names there.
    [...new Set(Object.values(standardTransformers))].map((transformation) => ({
      id: transformation.id, name: transformation.name, transformation, editor: () => null,
    }))
  );
}

const legend = (format, labels) => format.replace(/\{\{\s*(.+?)\s*\}\}/g, (_, name) => labels[name] ?? '');

/** A query's answer as data frames. `several`: other queries of the panel have rows, too. */
export function frames({ target, result }, several) {
  if (target.format === 'table') {
    if (result.length === 0) {
      return [];
    }
    const names = [...new Set(result.flatMap((each) => Object.keys(each.metric)))].sort();
    return [
      toDataFrame({
        refId: target.refId,
        fields: [
          { name: 'Time', type: FieldType.time, values: result.map((each) => each.value[0] * 1000) },
          ...names.map((name) => ({
            name, type: FieldType.string, config: { filterable: true }, values: result.map((each) => each.metric[name] ?? ''),
          })),
          {
            name: several ? `Value #${target.refId}` : 'Value',
            type: FieldType.number, config: {}, values: result.map((each) => Number(each.value[1])),
          },
        ],
      }),
    ];
  }
  return result.map(({ metric, values, value }) => {
    const points = values ?? [value];
    const { __name__, ...labels } = metric;
    return toDataFrame({
      refId: target.refId,
      fields: [
        { name: 'Time', type: FieldType.time, config: {}, values: points.map((point) => point[0] * 1000) },
        {
          name: 'Value', type: FieldType.number, labels,
          config: { displayNameFromDS: legend(target.legendFormat, labels) },
          values: points.map((point) => Number(point[1])),
        },
      ],
    });
  });
}
