{{/* Secrets of all services that run in one Ray cluster. Takes {root, services}. */}}
{{- define "headrace.raySecrets" -}}
{{- $root := .root -}}
{{- $stores := include "headrace.storeFiles" $root | fromYaml -}}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      - secret:
          name: {{ include "headrace.signing" $root }}
          items:
            - {key: jwks.json, path: signing/jwks.json}
            {{- range .services }}
            - {key: {{ . }}.pem, path: signing/{{ . }}.pem}
            {{- end }}
      - secret:
          name: {{ include "headrace.postgresSecret" $root }}
          items: [{key: postgres-dsn, path: {{ $stores.postgres }}}]
      {{- if or (has "gateway" .services) (has "guardrails" .services) (has "rollout" .services) }}
      - secret:
          name: {{ include "headrace.valkeySecret" $root }}
          items: [{key: valkey-url, path: {{ $stores.valkey }}}]
      {{- end }}
      {{- range list "guardrails" "tracing" }}
      {{- if has . $.services }}
      - secret:
          name: {{ include "headrace.generated" $root }}
          items: [{key: {{ . }}-key, path: {{ . }}-key}]
          optional: true
      {{- end }}
      {{- end }}
      {{- if has "gateway" .services }}
      - secret:
          name: {{ include "headrace.adminSecret" $root }}
          items: [{key: bootstrap-admin-key, path: bootstrap-admin-key}]
          optional: true
      {{- end }}
      {{- range $root.Values.secrets.extra }}
      - secret: {name: {{ . }}}
      {{- end }}
{{- end -}}

{{/* A pod of a Ray cluster. Takes {root, component, services, node (values of the head or of a group), head}. */}}
{{- define "headrace.rayPod" -}}
{{- $root := .root -}}
{{- $full := include "headrace.fullname" $root -}}
{{- $names := dict "root" $root "component" .component "settings" .node -}}
metadata:
  labels:
    {{- include "headrace.labels" $names | nindent 4 }}
    {{- with .node.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .node.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- if not (and .head $root.Values.ray.autoscaling.enabled) }}
  {{- $follows := and (has "rollout" .services) (eq (include "headrace.rolloutAccount" $root) "true") }}
  serviceAccountName: {{ $full }}{{ if $follows }}-rollout{{ end }}
  automountServiceAccountToken: {{ $follows }}
  {{- end }}
  enableServiceLinks: false
  terminationGracePeriodSeconds: 90
  securityContext: {{- include "headrace.podSecurity" 10001 | nindent 4 }}
  {{- include "headrace.placement" $names | nindent 2 }}
  {{- if .head }}
  initContainers:
    - name: schema
      image: {{ include "headrace.image" (dict "root" $root "name" "ray") }}
      {{- include "headrace.pull" $root | nindent 6 }}
      command: [python, -m, headrace_kit.stores.migrations, --wait, --patience-s, {{ $root.Values.jobs.timeoutSeconds | quote }}]
      env: {{- include "headrace.env" $root | nindent 8 }}
      resources: {{- toYaml $root.Values.jobs.resources | nindent 8 }}
      securityContext: {{- include "headrace.containerSecurity" $root | nindent 8 }}
      volumeMounts:
        - {name: config, mountPath: /etc/headrace, readOnly: true}
        - {name: secrets, mountPath: /etc/headrace-secrets, readOnly: true}
        - {name: tmp, mountPath: /tmp}
  {{- end }}
  containers:
    - name: {{ .head | ternary "ray-head" "ray-worker" }}
      image: {{ include "headrace.image" (dict "root" $root "name" "ray") }}
      {{- include "headrace.pull" $root | nindent 6 }}
      env:
        {{- include "headrace.env" $root | nindent 8 }}
        - {name: HEADRACE_RUNTIME, value: ray}
        - {name: MALLOC_ARENA_MAX, value: "2"}
        # Before Serve starts, on every node: Ray's own proxy in Python costs 3 to 15 times the CPU.
        - {name: RAY_SERVE_ENABLE_HA_PROXY, value: "1"}
        - {name: RAY_SERVE_THROUGHPUT_OPTIMIZED, value: "1"}
        - {name: RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S, value: "30"}
        # A service holds one connection to Serve: at Ray's default of 100, call 101 waits for another to end.
        - {name: RAY_SERVE_HAPROXY_H2_FE_MAX_CONCURRENT_STREAMS, value: "4096"}
        - {name: RAY_SERVE_HAPROXY_H2_BE_MAX_CONCURRENT_STREAMS, value: "4096"}
        - {name: RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S, value: "180"}
        # No idle workers in store: each holds 100 MB.
        - {name: RAY_prestart_worker_first_driver, value: "0"}
        - {name: RAY_num_workers_soft_limit, value: "0"}
        - {name: RAY_AUTH_MODE, value: disabled}
        - {name: RAY_USAGE_STATS_ENABLED, value: "0"}
        {{- with .node.env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        {{- if .head }}
        - {name: gcs-server, containerPort: 6379}
        - {name: dashboard, containerPort: 8265}
        - {name: client, containerPort: 10001}
        {{- end }}
        - {name: serve, containerPort: 7800}
        - {name: serve-grpc, containerPort: 7801}
        {{- range $name, $ports := include "headrace.ports" $root | fromYaml }}
        {{- if has $name $.services }}
        - {name: {{ $name }}-ops, containerPort: {{ $ports.ops }}}
        {{- end }}
        {{- end }}
        {{- if has "tracing" .services }}
        - {name: otlp, containerPort: 7843}
        {{- end }}
      resources: {{- toYaml .node.resources | nindent 8 }}
      securityContext: {{- include "headrace.containerSecurity" $root | nindent 8 }}
      volumeMounts:
        - {name: config, mountPath: /etc/headrace, readOnly: true}
        - {name: secrets, mountPath: /etc/headrace-secrets, readOnly: true}
        - {name: data, mountPath: /var/lib/headrace}
        - {name: cache, mountPath: /var/cache/headrace}
        - {name: tmp, mountPath: /tmp}
        - {name: shm, mountPath: /dev/shm}
        {{- with .node.volumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    {{- include "headrace.configVolume" (dict "root" $root "name" (printf "%s-config" $full)) | nindent 4 }}
    {{- include "headrace.raySecrets" (dict "root" $root "services" .services) | nindent 4 }}
    - {name: data, emptyDir: {}}
    - {name: cache, emptyDir: {}}
    - {name: tmp, emptyDir: {}}
    - {name: shm, emptyDir: {medium: Memory, sizeLimit: {{ $root.Values.ray.sharedMemory }}}}
    {{- with .node.volumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* serveConfigV2. Takes {root, services}. */}}
{{- define "headrace.rayServe" -}}
{{- $root := .root -}}
proxy_location: EveryNode
http_options: {host: 0.0.0.0, port: 7800}
grpc_options:
  port: 7801
  grpc_servicer_functions: {{- $root.Files.Get "files/grpc-servicers.yaml" | nindent 4 }}
logging_config: {enable_access_log: false}
applications:
  {{- range .services }}
  {{- $settings := include "headrace.settings" (dict "root" $root "name" .) | fromYaml }}
  - name: {{ . }}
    route_prefix: {{ eq . "gateway" | ternary "/" (printf "/-/%s" .) }}
    import_path: headrace_kit.hosting.ray_app:application
    args: {service: {{ . }}, drain_s: {{ include "headrace.setting" (dict "root" $root "name" . "key" "drain_s" "default" "20") }}}
    deployments:
      - name: {{ . }}
        {{- with $settings.autoscaling }}
        {{- if .enabled }}
        num_replicas: auto
        autoscaling_config:
          min_replicas: {{ .minReplicas }}
          max_replicas: {{ .maxReplicas }}
          target_ongoing_requests: {{ .ongoingRequests }}
          downscale_delay_s: {{ .scaleDownSeconds }}
        {{- else }}
        num_replicas: {{ $settings.rayReplicas }}
        {{- end }}
        {{- end }}
  {{- end }}
{{- end -}}
