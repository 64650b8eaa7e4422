{{/* Names everything: the release, at most 40 characters, because KubeRay adds to it. */}}
{{- define "energysweep.name" -}}
{{- if gt (len .Release.Name) 40 }}
{{- fail (printf "the release's name %q has more than 40 characters, too many for KubeRay" .Release.Name) }}
{{- end }}
{{- if not (regexMatch "^[a-z]([a-z0-9-]*[a-z0-9])?$" .Release.Name) }}
{{- fail (printf "the release's name %q names Services: it takes lower-case letters, digits and -, and begins with a letter" .Release.Name) }}
{{- end -}}
{{ .Release.Name }}
{{- end }}

{{/* Labels of everything. */}}
{{- define "energysweep.labels" -}}
{{ include "energysweep.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: energysweep
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The user's labels beside those of above; a key twice would be no YAML. Called with (dict "labels" ... "key" "where they stand"). */}}
{{- define "energysweep.moreLabels" -}}
{{- range $label, $_ := .labels }}
{{- if regexMatch "^(app\\.kubernetes\\.io|helm\\.sh)/" $label }}
{{- fail (printf "%s: %s is the chart's own" $.key $label) }}
{{- end }}
{{- end -}}
{{ toYaml .labels }}
{{- end }}

{{/* What selects this release's pods. */}}
{{- define "energysweep.selector" -}}
app.kubernetes.io/name: energysweep
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Labels of a pod of KubeRay's, which are this release's and say what it is. Called with (dict "root" $ "component" ...). */}}
{{- define "energysweep.podLabels" -}}
{{ include "energysweep.selector" .root }}
app.kubernetes.io/part-of: energysweep
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Name and version of an image. Called with (dict "root" $ "image" ... "key" "where it stands in the values"). */}}
{{- define "energysweep.image" -}}
{{- if eq .image.tag "latest" }}
{{- fail (printf "%s.tag: name a version; what `latest` is changes without an upgrade" .key) }}
{{- end -}}
{{- $repository := required (printf "%s.repository: name the image as your nodes pull it, such as registry.example/energysweep-sweep; docs/kubernetes.md says how to build and push it" .key) .image.repository -}}
{{- with .image.digest }}{{ printf "%s@%s" $repository . }}{{ else }}{{ printf "%s:%s" $repository (.image.tag | default .root.Chart.AppVersion) }}{{ end }}
{{- end }}

{{/* Name of the run and its folder. With the namespace: agents and Prometheus tell the runs of all teams apart by it. */}}
{{- define "energysweep.runId" -}}
{{- $run := printf "%s.%s" .Release.Namespace (.Values.job.runId | default .Release.Name) -}}
{{- if gt (len $run) 100 }}
{{- fail (printf "job.runId: the run %q has more than 100 characters" $run) }}
{{- end -}}
{{ $run }}
{{- end }}

{{/* The RayJob is named after its run, so that another runId makes another job. KubeRay allows 47 characters. */}}
{{- define "energysweep.jobName" -}}
{{- $name := include "energysweep.name" . -}}
{{- if .Values.job.runId }}{{ $name = printf "%s-%s" $name .Values.job.runId }}{{ end -}}
{{- if gt (len $name) 47 }}
{{- fail (printf "job.runId: the job's name %q has more than 47 characters, too many for KubeRay" $name) }}
{{- end -}}
{{ $name }}
{{- end }}

{{- define "energysweep.resultsClaim" -}}
{{ .Values.results.existingClaim | default (printf "%s-results" (include "energysweep.name" .)) }}
{{- end }}

{{- define "energysweep.sharedClaim" -}}
{{ .Values.shared.existingClaim | default (printf "%s-shared" (include "energysweep.name" .)) }}
{{- end }}

{{- define "energysweep.hasRules" -}}
{{- if and .Values.rules.enabled (.Capabilities.APIVersions.Has "monitoring.coreos.com/v1/PrometheusRule") -}}
yes
{{- end }}
{{- end }}

{{/* Security of every pod and container of this chart: Pod Security "restricted". Called with the user's id. */}}
{{- define "energysweep.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "energysweep.containerSecurity" -}}
privileged: false
allowPrivilegeEscalation: false
runAsNonRoot: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end }}
