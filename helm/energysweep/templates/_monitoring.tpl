{{/* Configuration and rules of the bundled Prometheus. It needs no right in the cluster: the agents are found by name. */}}
{{- define "energysweep.prometheusFiles" -}}
prometheus.yml: |
  global:
    scrape_interval: {{ .Values.prometheus.scrapeInterval }}
    evaluation_interval: {{ .Values.prometheus.scrapeInterval }}
  rule_files: [/etc/prometheus/*.rules.yml]
  scrape_configs:
    - job_name: energysweep
      honor_labels: true  # `node` and `sweep` are the agent's own
      http_sd_configs:
        - url: http://{{ .Values.agent.service }}-metrics.{{ .Values.agent.namespace }}.svc:9770/sd
          refresh_interval: 30s
{{- range $path, $_ := .Files.Glob "files/rules/*.yml" }}
{{ base $path | trimSuffix ".yml" }}.rules.yml: |
  {{- include "energysweep.ruleFile" (dict "root" $ "path" $path) | nindent 2 }}
{{- end }}
{{- end }}

{{/* Where the bundled Grafana finds Prometheus, and the dashboards. */}}
{{- define "energysweep.grafanaFiles" -}}
{{- $bundled := printf "http://%s-prometheus.%s.svc:9090" (include "energysweep.name" .) .Release.Namespace -}}
{{- if not (or .Values.grafana.prometheusUrl .Values.prometheus.enabled) }}
{{- fail "grafana.enabled: name grafana.prometheusUrl, or set prometheus.enabled" }}
{{- end -}}
datasources.yml: |
  apiVersion: 1
  datasources:
    - name: Prometheus
      type: prometheus
      uid: energysweep-prometheus
      access: proxy
      url: {{ .Values.grafana.prometheusUrl | default $bundled }}
      isDefault: true
      jsonData: {timeInterval: {{ .Values.prometheus.scrapeInterval }}, httpMethod: POST}
dashboards.yml: |
  apiVersion: 1
  providers:
    - name: energysweep
      folder: energysweep
      type: file
      allowUiUpdates: false
      options: {path: /etc/energysweep/dashboards}
{{- end }}

{{- define "energysweep.dashboardName" -}}
{{ include "energysweep.name" .root }}-dashboard-{{ base .path | trimSuffix ".json" | replace "_" "-" }}
{{- end }}

{{/* A file of rules; the limits of the alerts are rules.limits, their runbooks are below rules.runbookBase. Called with (dict "root" $ "path" ...). */}}
{{- define "energysweep.ruleFile" -}}
{{- if eq (base .path) "limits.yml" -}}
groups:
  - name: energysweep-limits
    rules:
      - record: sweep:energysweep_power_limit_watts:constant
        expr: vector({{ .root.Values.rules.limits.powerWatts }})
      - record: sweep:energysweep_carbon_limit_grams:constant
        expr: vector({{ .root.Values.rules.limits.carbonGrams }})
{{- else if eq (base .path) "alerts.yml" -}}
{{- $rules := .root.Values.rules -}}
{{- $document := "runbook_url: docs/" -}}
{{- if $rules.runbookBase }}{{ $document = printf "runbook_url: %s/docs/" (trimSuffix "/" $rules.runbookBase) }}{{ end -}}
{{ .root.Files.Get .path | replace "30m" $rules.limits.noReport | replace "runbook_url: docs/" $document }}
{{- else -}}
{{ .root.Files.Get .path }}
{{- end }}
{{- end }}
