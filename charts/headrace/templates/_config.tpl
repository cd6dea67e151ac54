{{/* headrace.yaml as the pods see it: what you gave, and the addresses under which the services find each other here,
     where you gave none. */}}
{{- define "headrace.config" -}}
{{- $given := .Values.config -}}
{{- if .Values.configFile -}}
{{- $given = fromYaml .Values.configFile -}}
{{- if hasKey $given "Error" -}}{{- fail (printf "configFile is not YAML: %s" $given.Error) -}}{{- end -}}
{{- else if not $given -}}
{{- $given = fromYaml (.Files.Get "files/headrace.yaml") -}}
{{- end -}}
{{- $full := include "headrace.fullname" . -}}
{{- $services := dict -}}
{{- $onRay := include "headrace.onRay" . | fromJsonArray -}}
{{- $otlp := printf "%s-tracing:7843" $full -}}
{{- range $name, $ports := include "headrace.ports" . | fromYaml -}}
{{- $address := printf "%s-%s:%d" $full $name (int $ports.grpc) -}}
{{- if has $name $onRay -}}
{{- /* On Ray all services of a cluster share Serve's port, and each node has it. */ -}}
{{- $host := include "headrace.rayHost" (dict "root" $ "name" $name) -}}
{{- if and (eq $.Values.ray.layout "single") (eq (len $onRay) 6) -}}{{- $host = "127.0.0.1" -}}{{- end -}}
{{- $address = printf "%s:7801" $host -}}
{{- if eq $name "tracing" -}}
{{- $otlp = printf "%s:7843" (and (eq $host "127.0.0.1") (not (empty $.Values.ray.workers)) | ternary (include "headrace.rayHost" (dict "root" $ "name" $name)) $host) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $services $name (dict "address" $address) -}}
{{- end -}}
{{- if eq (include "headrace.modelRollouts" .) "true" -}}
{{- $_ := set $services.rollout "model_rollouts" true -}}
{{- $_ := set $services.rollout "model_rollouts_lease" (printf "%s-rollout" $full) -}}
{{- end -}}
{{- $swaps := dict -}}
{{- if not (has "gateway" $onRay) -}}
{{- $_ := set $services.gateway "release" (include "headrace.release" (dict "root" . "name" "gateway")) -}}
{{- $canary := .Values.gateway.canary -}}
{{- if $canary.enabled -}}
{{- $routes := dict "stable" (printf "%s-gateway" $full) "canary" (printf "%s-gateway-canary" $full) "set_weights" $canary.setWeights "settle" (printf "%vs" $canary.settleSeconds) -}}
{{- if .Values.httpRoute.enabled -}}{{- $_ := set $routes "http" $full -}}{{- end -}}
{{- if .Values.grpcRoute.enabled -}}{{- $_ := set $routes "grpc" $full -}}{{- end -}}
{{- $_ := set $services.rollout "routes" (dict "gateway" $routes) -}}
{{- with $canary.rollout -}}
{{- $_ := set $swaps "service/gateway" (mergeOverwrite (dict "candidate" (dict "release" (include "headrace.canaryRelease" (dict "root" $ "name" "gateway")))) (deepCopy .)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if not (has "guardrails" $onRay) -}}
{{- $what := dict "root" . "name" "guardrails" -}}
{{- $_ := set $services.guardrails "release" (include "headrace.release" $what) -}}
{{- $canary := .Values.guardrails.canary -}}
{{- if $canary.enabled -}}
{{- $second := printf "%s-guardrails-canary" $full -}}
{{- $_ := set $services.guardrails "canary_address" (printf "%s:7830" $second) -}}
{{- $_ := set $services.rollout "pods" (dict "guardrails" (dict "canary" $second)) -}}
{{- with $canary.rollout -}}
{{- $_ := set $swaps "service/guardrails" (mergeOverwrite (dict "candidate" (dict "release" (include "headrace.canaryRelease" $what))) (deepCopy .)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $name, $triton := include "headrace.tritons" . | fromYaml -}}
{{- if not $triton.deployments -}}
{{- $_ := set $services.inference "triton_address" (printf "%s-triton-%s:7871" $full $name) -}}
{{- $_ := set $services.inference "triton_metrics_address" (printf "%s-triton-%s:7872" $full $name) -}}
{{- end -}}
{{- end -}}
{{- $own := dict -}}
{{- range $name, $triton := include "headrace.tritons" . | fromYaml -}}
{{- range $triton.deployments -}}
{{- if hasKey (get $given "deployments" | default dict) . -}}
{{- $_ := set $own . (dict "triton_address" (printf "%s-triton-%s:7871" $full $name) "triton_metrics_address" (printf "%s-triton-%s:7872" $full $name)) -}}
{{- if and (dig "enabled" false ($triton.keda | default dict)) (eq (int (dig "minReplicas" 1 $triton.keda)) 0) -}}
{{- $_ := set (get $own .) "wakes_within" (printf "%dm" (int $triton.startupMinutes)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- /* Content is sent to our own tracing alone, which redacts it. */ -}}
{{- $ours := not (dig "telemetry" "otlp_address" "" $given) -}}
{{- $here := dict "rollouts" $swaps "deployments" $own "services" $services "telemetry" (dict "otlp_address" $otlp "own_receiver" $ours) -}}
{{- toYaml (mergeOverwrite $here (deepCopy $given)) -}}
{{- end -}}

{{/* One of the config's settings of a service, with its default. Takes {root, name, key, default}. */}}
{{- define "headrace.setting" -}}
{{- $config := include "headrace.config" .root | fromYaml -}}
{{- $found := dig "services" .name .key "" $config -}}
{{- if kindIs "string" $found -}}{{- default .default $found -}}{{- else -}}{{- $found -}}{{- end -}}
{{- end -}}

{{/* File names of the secrets that the stores' addresses are read from. */}}
{{- define "headrace.storeFiles" -}}
{{- $stores := get (include "headrace.config" . | fromYaml) "stores" | default dict -}}
postgres: {{ dig "postgres" "secret" "postgres-dsn" $stores }}
admin: {{ dig "postgres_admin" "secret" "postgres-admin-dsn" $stores }}
valkey: {{ dig "valkey" "secret" "valkey-url" $stores }}
{{- end -}}
