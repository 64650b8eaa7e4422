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
  {{- range $name, $group := .Values.workerGroups }}
  {{- if gt ($group.minReplicas | int64) ($group.maxReplicas | int64) }}
  {{- fail (printf "workerGroups.%s: minReplicas %v is more than maxReplicas %v" $name $group.minReplicas $group.maxReplicas) }}
  {{- end }}
  - groupName: {{ $name }}
    minReplicas: {{ $group.minReplicas | int64 }}
    maxReplicas: {{ $group.maxReplicas | int64 }}
    {{- if not $.Values.autoscaling.enabled }}
    replicas: {{ $group.maxReplicas }}
    {{- end }}
    rayStartParams: {}
    {{- with $group.rayLabels }}
    labels:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    template:
      metadata:
        labels:
          {{- include "energysweep.podLabels" (dict "root" $ "component" "ray-worker") | nindent 10 }}
      spec:
        {{- include "energysweep.rayPod" (dict "root" $ "name" "ray-worker" "of" $group) | nindent 8 }}
  {{- else }}
  []
  {{- end }}
{{- end }}
