{{- define "sesame.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "sesame.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sesame.labels" -}}
{{ include "sesame.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "sesame.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "sesame.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "sesame.image" -}}
{{- $tag := ternary (printf "%s-gpu" .Chart.AppVersion) .Chart.AppVersion (gt (int .Values.gpu.count) 0) -}}
{{- printf "%s:%s" .Values.image.repository (default $tag .Values.image.tag) -}}
{{- end -}}

{{- define "sesame.adminSecret" -}}
{{- if .Values.adminToken.value -}}
{{- printf "%s-admin" (include "sesame.fullname" .) -}}
{{- else -}}
{{- .Values.adminToken.secret -}}
{{- end -}}
{{- end -}}

{{- define "sesame.modelRepository" -}}
{{- $source := .Values.modelRepository.source -}}
{{- if eq $source "url" -}}
{{- .Values.modelRepository.url -}}
{{- else if eq $source "image" -}}
{{- .Values.modelRepository.path -}}
{{- else -}}
/models
{{- end -}}
{{- end -}}

{{- /* Seconds from SIGTERM to SIGKILL. Several processes in a pod need 15 s after the drain; 5 s more are a margin. */ -}}
{{- define "sesame.grace" -}}
{{- $drain := add (int (default 0 .Values.settings.drain_delay_s)) (int (default 30 .Values.settings.drain_limit_s)) -}}
{{- $grace := int (default (add $drain 20) .Values.terminationGracePeriodSeconds) -}}
{{- if le $grace (int (add $drain 15)) -}}
{{- fail (printf "terminationGracePeriodSeconds is %d: it must be above drain_delay_s + drain_limit_s + 15, which is %d, or admitted requests are cut short." $grace (add $drain 15)) -}}
{{- end -}}
{{- $grace -}}
{{- end -}}

{{- /* A whole number as it is written: Helm reads numbers as floats, and prints large ones with an exponent. */ -}}
{{- define "sesame.text" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) -}}{{- printf "%.0f" . -}}{{- else -}}{{- toString . -}}{{- end -}}
{{- end -}}
