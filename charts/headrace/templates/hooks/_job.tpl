{{/* A pod that does one thing in an installation. Takes {root, component, name, command, volumes, mounts, account}. */}}
{{- define "headrace.jobSpec" -}}
backoffLimit: {{ default 0 .retries }}
activeDeadlineSeconds: {{ .root.Values.jobs.timeoutSeconds }}
ttlSecondsAfterFinished: 3600
template:
  metadata:
    labels: {{- include "headrace.labels" (dict "root" .root "component" .component) | nindent 6 }}
  spec:
    restartPolicy: Never
    {{- if .account }}
    serviceAccountName: {{ .account }}
    automountServiceAccountToken: true
    {{- else }}
    automountServiceAccountToken: false
    {{- end }}
    enableServiceLinks: false
    securityContext: {{- include "headrace.podSecurity" 10001 | nindent 6 }}
    {{- include "headrace.placement" (dict "root" .root "component" .component "settings" dict) | nindent 4 }}
    {{- with .before }}
    initContainers:
      {{- include "headrace.jobContainer" (mergeOverwrite (deepCopy (omit $ "root" "before")) . (dict "root" $.root)) | nindent 6 }}
    {{- end }}
    containers:
      {{- include "headrace.jobContainer" . | nindent 6 }}
    volumes:
      - {name: tmp, emptyDir: {}}
      {{- with .volumes }}
      {{- . | nindent 6 }}
      {{- end }}
{{- end -}}

{{- define "headrace.jobContainer" -}}
- name: {{ .name }}
  image: {{ include "headrace.image" (dict "root" .root "name" "tools") }}
  {{- include "headrace.pull" .root | nindent 2 }}
  command: {{ toJson .command }}
  env: {{- include "headrace.env" .root | nindent 4 }}
  resources: {{- toYaml .root.Values.jobs.resources | nindent 4 }}
  securityContext: {{- include "headrace.containerSecurity" .root | nindent 4 }}
  volumeMounts:
    - {name: tmp, mountPath: /tmp}
    {{- range $name, $path := .mounts }}
    - {name: {{ $name }}, mountPath: {{ $path }}, readOnly: true}
    {{- end }}
{{- end -}}

{{/* Annotations of a hook. Takes {when, weight}. */}}
{{- define "headrace.hook" -}}
helm.sh/hook: {{ .when }}
helm.sh/hook-weight: {{ .weight | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
helm.sh/hook-output-log-policy: hook-failed
{{- end -}}
