{{/* The pod of Ray's head and of its workers. Called with (dict "root" $ "name" "ray-head" or "ray-worker" "of" its values). */}}
{{- define "energysweep.rayPod" -}}
{{- $values := .root.Values -}}
{{- $head := eq .name "ray-head" -}}
serviceAccountName: {{ include "energysweep.name" .root }}-{{ .name }}
automountServiceAccountToken: false
terminationGracePeriodSeconds: 60
{{- with $values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- include "energysweep.podSecurity" 1000 | nindent 2 }}
{{- with .of.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .of.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .of.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - name: {{ .name }}
    {{- include "energysweep.rayContainer" . | nindent 4 }}
volumes:
  - name: tmp
    emptyDir: {}
  {{- if $head }}
  - name: results
    persistentVolumeClaim: {claimName: {{ include "energysweep.resultsClaim" .root }}}
  {{- end }}
  {{- if $values.shared.enabled }}
  - name: shared
    persistentVolumeClaim: {claimName: {{ include "energysweep.sharedClaim" .root }}}
  {{- end }}
  {{- if include "energysweep.hasSweepFiles" .root }}
  - name: sweep
    configMap: {name: {{ include "energysweep.jobName" .root }}-sweep}
  {{- end }}
  {{- if and $head $values.autoscaling.enabled }}
  - name: api-token
    projected:
      sources:
        - serviceAccountToken: {path: token, expirationSeconds: 3607}
        - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
        - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
  {{- end }}
{{- end }}

{{- define "energysweep.rayContainer" -}}
{{- $values := .root.Values -}}
{{- range $values.env }}
{{- /* Kubernetes takes the last of two entries: this one would switch the token off. */}}
{{- if regexMatch "^(RAY_AUTH_.*|ENERGYSWEEP_(AGENT|RESULTS))$" .name }}
{{- fail (printf "env: %s is the chart's own: see auth, agent and results" .name) }}
{{- end }}
{{- end -}}
{{- $head := eq .name "ray-head" -}}
image: {{ include "energysweep.image" (dict "root" .root "image" $values.image "key" "image") }}
imagePullPolicy: {{ $values.image.pullPolicy }}
env:
  - name: ENERGYSWEEP_AGENT
    value: {{ $values.agent.service }}.{{ $values.agent.namespace }}.svc:9771
  - name: RAY_AUTH_MODE  # also said here: a KubeRay too old for authOptions must not start Ray without a token
    value: token
  {{- if $head }}
  - name: ENERGYSWEEP_RESULTS  # where `energysweep submit` puts run folders, and fetches them from
    value: /results
  {{- end }}
  {{- with $values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $values.envFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if $head }}
ports:
  - {name: gcs-server, containerPort: 6379, protocol: TCP}
  - {name: dashboard, containerPort: 8265, protocol: TCP}
  - {name: client, containerPort: 10001, protocol: TCP}
{{- end }}
# Ray's agent on each node: is its raylet well, and on the head also the GCS. It answers without the token.
startupProbe:
  httpGet: {path: /api/healthz, port: 52365}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 60
readinessProbe:
  httpGet: {path: /api/healthz, port: 52365}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 10
livenessProbe:
  httpGet: {path: /api/healthz, port: 52365}
  periodSeconds: 10
  timeoutSeconds: 10
  failureThreshold: 30
resources:
  {{- toYaml .of.resources | nindent 2 }}
securityContext:
  {{- include "energysweep.containerSecurity" .root | nindent 2 }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  {{- if $head }}
  - {name: results, mountPath: /results}
  {{- end }}
  {{- if $values.shared.enabled }}
  - {name: shared, mountPath: /shared}
  {{- end }}
  {{- if include "energysweep.hasSweepFiles" .root }}
  # Also on workers: `workload: train.py:train` is imported there.
  - {name: sweep, mountPath: /etc/energysweep, readOnly: true}
  {{- end }}
{{- end }}
