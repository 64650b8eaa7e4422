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
{{- end }}
{{- /* No trial runs on the head, where the run folder is. */}}
{{- if not (or .Values.shared.enabled (include "energysweep.ownStorage" .)) }}
{{- $how := ternary "name a storage= in job.set" "give the sweep a `storage`" (empty $job.sweep) }}
{{- fail (printf "job: trials run on other nodes than their driver: set shared.enabled, or %s that all reach, such as s3://bucket/path" $how) }}
{{- end }}
{{- end }}

{{/* Does the user name a storage: in job.sweep, or by job.set? A file of the image cannot be read here. */}}
{{- define "energysweep.ownStorage" -}}
{{- $parsed := dict -}}
{{- with .Values.job.sweep }}{{ $parsed = fromYaml . }}{{ end -}}
{{- if or (get $parsed "storage") (.Values.job.set | join " " | regexMatch "(^| )storage=[^ ]") -}}
yes
{{- end }}
{{- end }}

{{/* The command of the job. KubeRay gives it to a shell: the schema leaves no character that one would interpret. */}}
{{- define "energysweep.entrypoint" -}}
energysweep run {{ .Values.job.path | default "/etc/energysweep/sweep.yaml" }} --address auto --output /results --run-id {{ include "energysweep.runId" . }}
{{- if and .Values.shared.enabled (not (include "energysweep.ownStorage" .)) }} --set storage=/shared{{ end }}
{{- range .Values.job.set }} --set {{ . }}{{ end }}
{{- end }}
