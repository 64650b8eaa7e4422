{{/*
The Ray cluster, the same for RayCluster and RayJob. Head and workers share one pod spec: they differ in their resources,
in the run folders, which only the head mounts, and in what the autoscaler beside the head needs.
*/}}
{{- define "energysweep.rayCluster" -}}
rayVersion: {{ .Values.rayVersion | quote }}
# Everybody who reaches a port of Ray's can run code: all of them ask for the token.
authOptions:
  mode: token
  {{- with .Values.auth.secretName }}
  secretName: {{ . }}
  {{- end }}
enableInTreeAutoscaling: {{ .Values.autoscaling.enabled }}
{{- if .Values.autoscaling.enabled }}
autoscalerOptions:
  version: v2
  upscalingMode: Default
  idleTimeoutSeconds: {{ .Values.autoscaling.idleTimeoutSeconds | int64 }}
  resources:
    {{- toYaml .Values.autoscaling.resources | nindent 4 }}
  securityContext:
    {{- include "energysweep.containerSecurity" . | nindent 4 }}
  # The one container that speaks to the API server, and the only one with a token for it.
  volumeMounts:
    - {name: api-token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
{{- end }}
headGroupSpec:
  serviceType: ClusterIP
  rayStartParams:
    dashboard-host: 0.0.0.0
    num-cpus: "0"  # trials run on workers; the head is the driver's
  template:
    metadata:
      labels:
        {{- include "energysweep.podLabels" (dict "root" . "component" "ray-head") | nindent 8 }}
    spec:
      {{- include "energysweep.rayPod" (dict "root" . "name" "ray-head" "of" .Values.head) | nindent 6 }}
workerGroupSpecs:
  {{- include "energysweep.workerGroups" . | nindent 2 }}
{{- end }}

{{/*
The groups of workers, as they are to be applied. The list is one field to Kubernetes, and others write to it: Ray's autoscaler its
`replicas`, Kueue the nodes of a job. So an upgrade that does not change the groups repeats the list as it stands in the cluster:
nothing is taken back, and Helm 4's server-side apply finds no conflict. One that changes them takes over `replicas`.
*/}}
{{- define "energysweep.workerGroups" -}}
{{- $isJob := eq .Values.mode "job" -}}
{{- $kind := ternary "RayJob" "RayCluster" $isJob -}}
{{- $live := dict -}}
{{- if .Capabilities.APIVersions.Has (printf "ray.io/v1/%s" $kind) }}
{{- $name := ternary (include "energysweep.jobName" .) (include "energysweep.name" .) $isJob -}}
{{- $live = lookup "ray.io/v1" $kind .Release.Namespace $name -}}
{{- end -}}
{{- $cluster := ternary (dig "spec" "rayClusterSpec" dict $live) (dig "spec" dict $live) $isJob -}}
{{- $groups := get $cluster "workerGroupSpecs" | default list -}}
{{- if and $groups (eq (include "energysweep.groupsHash" .) (dig "metadata" "annotations" "energysweep/worker-groups" "" $live)) -}}
{{ toYaml $groups }}
{{- else -}}
{{- $replicas := dict -}}
{{- if and .Values.autoscaling.enabled (not $isJob) }}
{{- range $groups }}{{ if hasKey . "replicas" }}{{ $_ := set $replicas .groupName .replicas }}{{ end }}{{ end -}}
{{- end -}}
{{ include "energysweep.wantedGroups" (dict "root" . "replicas" $replicas) | trim }}
{{- end -}}
{{- end }}

{{/* Tells whether an upgrade changes the groups: an annotation of what was applied last. */}}
{{- define "energysweep.groupsHash" -}}
{{ include "energysweep.wantedGroups" (dict "root" . "replicas" dict) | sha256sum }}
{{- end }}

{{/* The groups as the values say. Called with (dict "root" $ "replicas" how many there are now, by name). */}}
{{- define "energysweep.wantedGroups" -}}
{{- $root := .root -}}
{{- $replicas := .replicas -}}
{{- range $name, $group := $root.Values.workerGroups }}
{{- if gt ($group.minReplicas | int64) ($group.maxReplicas | int64) }}
{{- fail (printf "workerGroups.%s: minReplicas %v is more than maxReplicas %v" $name $group.minReplicas $group.maxReplicas) }}
{{- end }}
- groupName: {{ $name }}
  minReplicas: {{ $group.minReplicas | int64 }}
  maxReplicas: {{ $group.maxReplicas | int64 }}
  {{- if not $root.Values.autoscaling.enabled }}
  replicas: {{ $group.maxReplicas | int64 }}
  {{- else if hasKey $replicas $name }}
  replicas: {{ min (max (get $replicas $name | int64) ($group.minReplicas | int64)) ($group.maxReplicas | int64) }}
  {{- end }}
  rayStartParams: {}
  {{- with $group.rayLabels }}
  labels:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  template:
    metadata:
      labels:
        {{- include "energysweep.podLabels" (dict "root" $root "component" "ray-worker") | nindent 8 }}
    spec:
      {{- include "energysweep.rayPod" (dict "root" $root "name" "ray-worker" "of" $group) | nindent 6 }}
{{- else -}}
[]
{{- end }}
{{- end }}
