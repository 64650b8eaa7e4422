{{/*
The pod of an agent, for both kinds of nodes. Called with (dict "root" $ "class" "cpu" or "gpu" "of" the values of it).

What it may do and why: it sees the host's processes (hostPID: it books CPU time to their trees), two folders of the
host, and nothing else. energy_uj is readable by its owner only, and root owns it: hence uid 0, which needs no capability
for that. Read in tests/helm/test_powercap.py.
*/}}
{{- define "energysweep-agent.pod" -}}
{{- $values := .root.Values -}}
{{- $gpu := eq .class "gpu" -}}
serviceAccountName: {{ $values.name }}
automountServiceAccountToken: false
hostPID: true
{{- if and $gpu (has $values.gpu.access (list "runtimeClass" "volumes")) $values.gpu.runtimeClassName }}
runtimeClassName: {{ $values.gpu.runtimeClassName }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds | int64 }}
{{- with $values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsUser: 0
  runAsGroup: 0
  seccompProfile: {type: RuntimeDefault}
  {{- with $values.seLinuxOptions }}
  seLinuxOptions:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- with .of.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if $values.gpu.enabled }}
# A node has one agent: of the one kind if it has the label, of the other if not.
affinity:
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms:
        - matchExpressions:
            - key: {{ $values.gpu.nodeLabel.key }}
              operator: {{ ternary "In" "NotIn" $gpu }}
              values: [{{ $values.gpu.nodeLabel.value | quote }}]
{{- end }}
{{- with .of.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - name: agent
    {{- include "energysweep-agent.container" . | nindent 4 }}
volumes:
  - name: state
    hostPath: {path: {{ $values.state.path }}, type: DirectoryOrCreate}
  {{- if eq $values.powercap.mount "directory" }}
  - name: powercap
    hostPath: {path: /sys/devices/virtual/powercap, type: Directory}
  {{- else if eq $values.powercap.mount "parent" }}
  - name: powercap
    hostPath: {path: /sys/devices/virtual, type: Directory}
  {{- end }}
  - name: tmp
    emptyDir: {medium: Memory, sizeLimit: 16Mi}
  {{- if and $gpu (eq $values.gpu.access "volumes") }}
  # NVIDIA's runtime reads the names of mounts of /dev/null below its folder as the GPUs that are wanted.
  - name: all-gpus
    hostPath: {path: /dev/null, type: CharDevice}
  {{- end }}
{{- end }}

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
  - --socket={{ $values.state.path }}/agent.sock
  {{- range $values.meters }}
  - --meter={{ . }}
  {{- end }}
env:
  - name: POD_IP
    valueFrom: {fieldRef: {fieldPath: status.podIP}}
  - name: ENERGYSWEEP_NODE
    valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
  - name: ENERGYSWEEP_STATE
    value: {{ $values.state.path }}
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
  - {name: state, mountPath: {{ $values.state.path }}}
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
