{{/* Labels of everything. */}}
{{- define "energysweep-agent.labels" -}}
{{ include "energysweep-agent.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: energysweep
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The user's labels or annotations beside those of the chart; a key twice would be no YAML. Called with (dict "of" ... "key" "where they stand"). */}}
{{- define "energysweep-agent.more" -}}
{{- range $name, $_ := .of }}
{{- if regexMatch "^(app[.]kubernetes[.]io/|cdi[.]k8s[.]io/energysweep$|helm[.]sh/|kubectl[.]kubernetes[.]io/default-container$)" $name }}
{{- fail (printf "%s: %s is the chart's own" $.key $name) }}
{{- end }}
{{- end -}}
{{ toYaml .of }}
{{- end }}

{{/* What selects the agents of both kinds of nodes. */}}
{{- define "energysweep-agent.selector" -}}
app.kubernetes.io/name: energysweep-agent
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "energysweep-agent.image" -}}
{{- if eq .Values.image.tag "latest" }}
{{- fail "image.tag: name a version; what `latest` is changes without an upgrade" }}
{{- end -}}
{{- $repository := required "image.repository: name the image as your nodes pull it, such as registry.example/energysweep-agent; docs/kubernetes.md says how to build and push it" .Values.image.repository -}}
{{- with .Values.image.digest }}{{ printf "%s@%s" $repository . }}{{ else }}{{ printf "%s:%s" $repository (.Values.image.tag | default .Chart.AppVersion) }}{{ end }}
{{- end }}

{{/* The host's folder for the state; in the pod it is /var/lib/energysweep always. Root writes there: not below the host's own. */}}
{{- define "energysweep-agent.statePath" -}}
{{- if regexMatch "^/(etc|usr|bin|sbin|lib|lib32|lib64|proc|sys|dev|boot)/" .Values.state.path }}
{{- fail (printf "state.path: %s is in a folder of the host's own system: name one such as /var/lib/energysweep" .Values.state.path) }}
{{- end -}}
{{ .Values.state.path }}
{{- end }}

{{/* Name of the headless Service that lists all agents. */}}
{{- define "energysweep-agent.metricsService" -}}
{{ .Values.name }}-metrics
{{- end }}

{{/* Is there a PodMonitor to make: it is asked for, and the cluster knows the kind. */}}
{{- define "energysweep-agent.hasPodMonitor" -}}
{{- if and (eq .Values.metrics.discovery "podMonitor") (.Capabilities.APIVersions.Has "monitoring.coreos.com/v1/PodMonitor") -}}
yes
{{- end }}
{{- end }}

{{/* Labels of the pod of `helm test`, which is no agent. */}}
{{- define "energysweep-agent.testLabels" -}}
app.kubernetes.io/name: energysweep-agent-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Do the agents of GPU nodes need a RuntimeClass that is not there: without it Kubernetes makes no pod. With checks=false nothing is looked up. */}}
{{- define "energysweep-agent.lacksRuntimeClass" -}}
{{- $gpu := .Values.gpu -}}
{{- if and .Values.checks $gpu.enabled (has $gpu.access (list "runtimeClass" "volumes")) $gpu.runtimeClassName -}}
{{- $isCluster := lookup "v1" "Namespace" "" "kube-system" -}}
{{- if and $isCluster (not (lookup "node.k8s.io/v1" "RuntimeClass" "" $gpu.runtimeClassName)) -}}
yes
{{- end }}
{{- end }}
{{- end }}
