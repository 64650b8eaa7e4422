{{/* The container of an agent. Called as energysweep-agent.pod is. */}}
{{- define "energysweep-agent.container" -}}
{{- $values := .root.Values -}}
{{- $gpu := eq .class "gpu" -}}
image: {{ include "energysweep-agent.image" .root }}
imagePullPolicy: {{ $values.image.pullPolicy }}
command: [energysweep, agent]
args:
  - --bind=0.0.0.0
  - --port=9770
  - --lease-port=9771
  - --advertise=$(POD_IP)
  - --socket=/var/lib/energysweep/agent.sock
  {{- range $values.meters }}
  - --meter={{ . }}
  {{- end }}
env:
  - name: POD_IP
    valueFrom: {fieldRef: {fieldPath: status.podIP}}
  - name: ENERGYSWEEP_NODE
    valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
  - name: ENERGYSWEEP_STATE
    value: /var/lib/energysweep
  {{- if eq $values.metrics.discovery "sd" }}
  - name: ENERGYSWEEP_PEERS  # whichever agent answers at /sd, it names all of them
    value: {{ include "energysweep-agent.metricsService" .root }}.{{ .root.Release.Namespace }}.svc:9770
  {{- end }}
  - name: PYTHONDONTWRITEBYTECODE  # the root file system is read-only
    value: "1"
  {{- if and $gpu (eq $values.gpu.access "runtimeClass") }}
  - name: NVIDIA_VISIBLE_DEVICES
    value: all
  {{- else if and $gpu (eq $values.gpu.access "volumes") }}
  - name: NVIDIA_VISIBLE_DEVICES
    value: /var/run/nvidia-container-devices
  {{- end }}
  {{- if $gpu }}
  - name: NVIDIA_DRIVER_CAPABILITIES  # NVML alone: no CUDA, no graphics
    value: utility
  {{- end }}
ports:
  - {name: metrics, containerPort: 9770, protocol: TCP}
  - {name: leases, containerPort: 9771, protocol: TCP}
# /healthz says whether the meters were read within the last 10 s.
startupProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 2
  failureThreshold: 60
readinessProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 5
livenessProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
resources:
  {{- $resources := deepCopy .of.resources }}
  {{- if and $gpu (eq $values.gpu.access "resource") }}
  {{- $_ := set $resources.limits $values.gpu.resource 1 }}
  {{- end }}
  {{- toYaml $resources | nindent 2 }}
securityContext:
  privileged: false
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
    {{- if $values.strictProof }}
    add: [SYS_PTRACE, DAC_READ_SEARCH]  # /proc/PID/fd of other users' processes takes both
    {{- end }}
volumeMounts:
  - {name: state, mountPath: /var/lib/energysweep}
  {{- if eq $values.powercap.mount "directory" }}
  - {name: powercap, mountPath: /host/powercap, readOnly: true}
  {{- else if eq $values.powercap.mount "parent" }}
  - {name: powercap, mountPath: /host, readOnly: true}
  {{- end }}
  - {name: tmp, mountPath: /tmp}
  {{- if and $gpu (eq $values.gpu.access "volumes") }}
  - {name: all-gpus, mountPath: /var/run/nvidia-container-devices/all, readOnly: true}
  {{- end }}
{{- end }}
