{{/* Is there a ConfigMap with the sweep's file? */}}
{{- define "energysweep.hasSweepFiles" -}}
{{- if and (eq .Values.mode "job") .Values.job.sweep -}}
yes
{{- end }}
{{- end }}

{{/* Stops with the reason if job does not name one sweep that is YAML. */}}
{{- define "energysweep.checkJob" -}}
{{- $job := .Values.job }}
{{- if and $job.sweep $job.path }}
{{- fail "job: give sweep (the YAML itself) or path (a file of the image), not both" }}
{{- else if not (or $job.sweep $job.path) }}
{{- fail "mode is job, but there is no sweep: --set-file job.sweep=my-sweep.yaml, or job.path for a file of the image" }}
{{- end }}
{{- if and $job.files (not $job.sweep) }}
{{- fail "job.files stand beside job.sweep; with job.path the files are in the image" }}
{{- end }}
{{- if hasKey $job.files "sweep.yaml" }}
{{- fail "job.files: sweep.yaml is the name of job.sweep itself" }}
{{- end }}
{{- if $job.sweep }}
{{- $parsed := fromYaml $job.sweep }}
{{- if hasKey $parsed "Error" }}
{{- fail (printf "job.sweep is no YAML: %s" (get $parsed "Error")) }}
{{- end }}
{{- if not (or (hasKey $parsed "workload") (hasKey $parsed "command")) }}
{{- fail "job.sweep: a sweep has `workload` or `command`" }}
{{- end }}
{{- /* No trial runs on the head, where the run folder is. */}}
{{- $set := $job.set | join " " | printf " %s" | contains " storage=" }}
{{- if not (or $.Values.shared.enabled (hasKey $parsed "storage") $set) }}
{{- fail "job.sweep: trials run on other nodes than their driver: set shared.enabled, or give the sweep a `storage` that all reach, such as s3://bucket/path" }}
{{- end }}
{{- end }}
{{- end }}

{{/* The command of the job. KubeRay gives it to a shell: the schema leaves no character that one would interpret. */}}
{{- define "energysweep.entrypoint" -}}
energysweep run {{ .Values.job.path | default "/etc/energysweep/sweep.yaml" }} --address auto --output /results --run-id {{ include "energysweep.runId" . }}
{{- if .Values.shared.enabled }} --set storage=/shared{{ end }}
{{- range .Values.job.set }} --set {{ . }}{{ end }}
{{- end }}
