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
    hostPath: {path: {{ include "energysweep-agent.statePath" .root }}, type: DirectoryOrCreate}
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
