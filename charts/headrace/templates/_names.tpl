{{/* The first part of all names: the release's, with the chart's where it does not hold it. */}}
{{- define "headrace.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that pods of a component are chosen by. Takes {root, component}. */}}
{{- define "headrace.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* Labels of everything. Takes {root, component}. */}}
{{- define "headrace.labels" -}}
{{ include "headrace.selector" . }}
app.kubernetes.io/part-of: headrace
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Reference of one of headrace's own images. Takes {root, name}. */}}
{{- define "headrace.image" -}}
{{- $image := .root.Values.image -}}
{{- $name := printf "%s/%s/%s" $image.registry $image.repository .name -}}
{{- with index $image.digests .name -}}
{{- printf "%s@%s" $name . -}}
{{- else -}}
{{- printf "%s:%s" $name (default .root.Chart.AppVersion .root.Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* What runs of an image, as rollouts name it. Takes {root, name}. */}}
{{- define "headrace.release" -}}
{{- $image := .root.Values.image -}}
{{- with index $image.digests .name -}}{{- . -}}{{- else -}}{{- default .root.Chart.AppVersion .root.Values.image.tag -}}{{- end -}}
{{- end -}}

{{/* Whether a second release of a service runs beside the first, as `true` or `false`. Takes {root, name}. */}}
{{- define "headrace.hasCanary" -}}
{{- $own := index .root.Values .name | default dict -}}
{{ dig "canary" "enabled" false $own }}
{{- end -}}

{{/* What runs of the image of a service's canary, and the image's reference. Both take {root, name}. */}}
{{- define "headrace.canaryRelease" -}}
{{- $canary := (index .root.Values .name).canary -}}
{{ default $canary.tag $canary.digest }}
{{- end -}}
{{- define "headrace.canaryImage" -}}
{{- $canary := (index .root.Values .name).canary -}}
{{- printf "%s/%s/%s" .root.Values.image.registry .root.Values.image.repository .name -}}
{{- if $canary.digest -}}@{{ $canary.digest }}{{- else -}}:{{ $canary.tag }}{{- end -}}
{{- end -}}

{{/* Names of the six services, and their ports. */}}
{{- define "headrace.ports" -}}
gateway: {http: 7800, grpc: 7801, ops: 7802}
inference: {grpc: 7810, ops: 7812}
retrieval: {grpc: 7820, ops: 7822}
guardrails: {grpc: 7830, ops: 7832}
tracing: {grpc: 7840, ops: 7842, otlp: 7843}
rollout: {grpc: 7850, ops: 7852}
{{- end -}}

{{/* Settings of a service's pods: its own block over `pods`. Takes {root, name}. */}}
{{- define "headrace.settings" -}}
{{- $own := omit (index .root.Values .name) "eventLog" "canary" -}}
{{- $all := mergeOverwrite (deepCopy .root.Values.pods) (deepCopy $own) -}}
{{- if not $all.runtime -}}{{- $_ := set $all "runtime" .root.Values.runtime -}}{{- end -}}
{{- toYaml $all -}}
{{- end -}}

{{/* Groups of pods that run as processes: {component: service}. Of the gateway and of guardrails there may be two. */}}
{{- define "headrace.groups" -}}
{{- range $name, $_ := include "headrace.ports" . | fromYaml -}}
{{- $settings := include "headrace.settings" (dict "root" $ "name" $name) | fromYaml -}}
{{- if eq $settings.runtime "process" }}
{{ $name }}: {{ $name }}
{{- if eq (include "headrace.hasCanary" (dict "root" $ "name" $name)) "true" }}
{{ $name }}-canary: {{ $name }}
{{- end }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The Service of a Ray cluster for gRPC and OTLP. Takes {root, name of a service}. */}}
{{- define "headrace.rayHost" -}}
{{- $layout := .root.Values.ray.layout -}}
{{ include "headrace.fullname" .root }}-ray{{ if ne $layout "single" }}-{{ .name }}{{ end }}-grpc
{{- end -}}

{{/* Services that run on Ray, in the order of a request, as JSON. */}}
{{- define "headrace.onRay" -}}
{{- $found := list -}}
{{- range list "gateway" "inference" "retrieval" "guardrails" "tracing" "rollout" -}}
{{- if eq (default (default $.Values.runtime $.Values.pods.runtime) (index $.Values .).runtime) "ray" -}}{{- $found = append $found . -}}{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* Whether ModelRollout resources are followed, as `true` or `false`. A head that KubeRay scales has an account of KubeRay's. */}}
{{- define "headrace.modelRollouts" -}}
{{- $settings := include "headrace.settings" (dict "root" . "name" "rollout") | fromYaml -}}
{{- and .Values.modelRollouts.enabled (or (eq $settings.runtime "process") (not .Values.ray.autoscaling.enabled)) -}}
{{- end -}}

{{/* Whether the rollout service talks to Kubernetes' API, as `true` or `false`: for resources, for weights of routes, or to see pods. */}}
{{- define "headrace.rolloutAccount" -}}
{{- or (eq (include "headrace.modelRollouts" .) "true") .Values.gateway.canary.enabled .Values.guardrails.canary.enabled -}}
{{- end -}}

{{/* Triton servers that run: each one's own block over `triton`. */}}
{{- define "headrace.tritons" -}}
{{- range $name, $own := .Values.tritons -}}
{{- $all := mergeOverwrite (deepCopy $.Values.triton) (deepCopy ($own | default dict)) -}}
{{- $_ := set $all "autoscaling" (mergeOverwrite (deepCopy $.Values.pods.autoscaling) $all.autoscaling) -}}
{{- $_ := set $all "keda" (mergeOverwrite (deepCopy $.Values.pods.keda) $all.keda) -}}
{{- if $all.enabled }}
{{ $name }}: {{- toYaml $all | nindent 2 }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Name of the Secret with what the first install makes. */}}
{{- define "headrace.generated" -}}{{ include "headrace.fullname" . }}-generated{{- end -}}
{{- define "headrace.signing" -}}{{ default (printf "%s-signing" (include "headrace.fullname" .)) .Values.secrets.signing }}{{- end -}}
{{- define "headrace.adminSecret" -}}{{ default (include "headrace.generated" .) .Values.secrets.admin }}{{- end -}}
{{- define "headrace.postgresSecret" -}}{{ default (include "headrace.generated" .) .Values.postgres.existingSecret }}{{- end -}}
{{- define "headrace.valkeySecret" -}}{{ default (include "headrace.generated" .) .Values.valkey.existingSecret }}{{- end -}}
{{- define "headrace.modelsClaim" -}}{{ default (printf "%s-models" (include "headrace.fullname" .)) .Values.models.cache.existingClaim }}{{- end -}}
