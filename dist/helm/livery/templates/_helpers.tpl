{{- define "livery.name" -}}
{{- if contains "livery" .Release.Name -}}
{{- .Release.Name | trunc 30 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-livery" .Release.Name | trunc 30 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "livery.selector" -}}
app.kubernetes.io/name: livery
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "livery.labels" -}}
{{ include "livery.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end -}}

{{- define "livery.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "livery.name" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}
