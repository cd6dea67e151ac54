{{/* Security of a pod: passes the standard `restricted`. Takes a uid. */}}
{{- define "headrace.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "headrace.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Where a pod may run, and how it is named. Takes {root, component, settings}. */}}
{{- define "headrace.placement" -}}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .settings.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .settings.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .settings.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .settings.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .settings.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- if hasKey .settings "topologySpreadConstraints" }}
topologySpreadConstraints:
  {{- if .settings.topologySpreadConstraints }}
  {{- toYaml .settings.topologySpreadConstraints | nindent 2 }}
  {{- else }}
  {{- $selector := include "headrace.selector" . }}
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- $selector | nindent 8 }}
  {{- end }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* The environment of every container of ours. */}}
{{- define "headrace.env" -}}
- {name: HEADRACE_CONFIG, value: /etc/headrace/headrace.yaml}
- {name: HEADRACE_SECRETS_DIR, value: /etc/headrace-secrets}
- {name: HEADRACE_DATA_DIR, value: /var/lib/headrace}
- {name: HEADRACE_CACHE_DIR, value: /var/cache/headrace}
- {name: HEADRACE_HOST, value: 0.0.0.0}
- {name: HEADRACE_PORT_BASE, value: "7800"}
- {name: HOME, value: /tmp}
{{- if .Values.models.offline }}
- {name: HEADRACE_OFFLINE, value: "true"}
{{- end }}
{{- with .Values.models.hubEndpoint }}
- {name: HEADRACE_HUB_ENDPOINT, value: {{ . | quote }}}
{{- end }}
{{- end -}}

{{- define "headrace.pull" -}}
{{- with .Values.image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
{{- end -}}

{{/* The config's volume: a folder, never a `subPath`, so that a change reaches running pods. Takes {root, name of the ConfigMap}. */}}
{{- define "headrace.configVolume" -}}
- name: config
  configMap:
    name: {{ .name }}
    items:
      - {key: headrace.yaml, path: headrace.yaml}
      {{- range $path, $_ := .root.Values.configFiles }}
      - {key: {{ sha256sum $path | trunc 16 }}, path: {{ $path | quote }}}
      {{- end }}
{{- end -}}

{{/* The secrets of a service as one folder; each gets those it reads and no others. Takes {root, name}. */}}
{{- define "headrace.secretsVolume" -}}
{{- $root := .root -}}
{{- $stores := include "headrace.storeFiles" $root | fromYaml -}}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      - secret:
          name: {{ include "headrace.signing" $root }}
          items:
            - {key: {{ .name }}.pem, path: signing/{{ .name }}.pem}
            - {key: jwks.json, path: signing/jwks.json}
      {{- if has .name (list "gateway" "retrieval" "guardrails" "tracing" "rollout") }}
      - secret:
          name: {{ include "headrace.postgresSecret" $root }}
          items: [{key: postgres-dsn, path: {{ $stores.postgres }}}]
      {{- end }}
      {{- if has .name (list "gateway" "guardrails" "rollout") }}
      - secret:
          name: {{ include "headrace.valkeySecret" $root }}
          items: [{key: valkey-url, path: {{ $stores.valkey }}}]
      {{- end }}
      {{- if has .name (list "guardrails" "tracing") }}
      - secret:
          name: {{ include "headrace.generated" $root }}
          items: [{key: {{ .name }}-key, path: {{ .name }}-key}]
          optional: true
      {{- end }}
      {{- if eq .name "gateway" }}
      - secret:
          name: {{ include "headrace.adminSecret" $root }}
          items: [{key: bootstrap-admin-key, path: bootstrap-admin-key}]
          optional: true
      {{- end }}
      {{- if has .name (list "gateway" "inference" "rollout" "tracing") }}
      {{- range $root.Values.secrets.extra }}
      - secret: {name: {{ . }}}
      {{- end }}
      {{- end }}
{{- end -}}
