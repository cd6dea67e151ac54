{{/* Who may call whom, and on which ports: DESIGN.md's table, the stores, and the model servers. `tritons` stands for
     all of them. A test holds it against the table. */}}
{{- define "headrace.edges" -}}
gateway: {guardrails: [7830], retrieval: [7820], inference: [7810], rollout: [7850], tracing: [7840, 7843], postgres: [5432], valkey: [6379]}
inference: {tracing: [7843], tritons: [7871, 7872]}
retrieval: {inference: [7810], tracing: [7843], postgres: [5432]}
guardrails: {inference: [7810], tracing: [7843], postgres: [5432], valkey: [6379]}
tracing: {gateway: [7800, 7801], inference: [7810], tracing: [7843], postgres: [5432]}
rollout: {gateway: [7800, 7801], inference: [7810], tracing: [7843], postgres: [5432], valkey: [6379]}
migrate: {postgres: [5432]}
test: {gateway: [7800, 7801]}
{{- end -}}

{{/* The component whose pods a service runs in: its own, or Ray's. Takes {root, name}. */}}
{{- define "headrace.component" -}}
{{- if hasKey (include "headrace.ports" .root | fromYaml) .name -}}
{{- $settings := include "headrace.settings" .  | fromYaml -}}
{{- if eq $settings.runtime "ray" -}}
{{- eq .root.Values.ray.layout "single" | ternary "ray" (printf "ray-%s" .name) -}}
{{- else -}}{{ .name }}{{- end -}}
{{- else -}}{{ .name }}{{- end -}}
{{- end -}}

{{/* {component: {egress: {component: [port]}, ingress: {component: [port]}}} from the edges. */}}
{{- define "headrace.allowed" -}}
{{- $all := dict -}}
{{- range $from, $targets := include "headrace.edges" . | fromYaml -}}
{{- $sources := list (include "headrace.component" (dict "root" $ "name" $from)) -}}
{{- if eq (include "headrace.hasCanary" (dict "root" $ "name" $from)) "true" -}}{{- $sources = append $sources (printf "%s-canary" $from) -}}{{- end -}}
{{- range $source := $sources -}}
{{- range $to, $ports := $targets -}}
{{- $names := list (include "headrace.component" (dict "root" $ "name" $to)) -}}
{{- /* Of the gateway callers inside take the stable release alone. */ -}}
{{- if and (eq $to "guardrails") $.Values.guardrails.canary.enabled -}}{{- $names = append $names "guardrails-canary" -}}{{- end -}}
{{- if eq $to "tritons" -}}
{{- $names = list -}}
{{- range $name, $triton := include "headrace.tritons" $ | fromYaml -}}{{- if $triton.enabled -}}{{- $names = append $names (printf "triton-%s" $name) -}}{{- end -}}{{- end -}}
{{- end -}}
{{- range $target := $names -}}
{{- range $one := list $source $target -}}
{{- if not (hasKey $all $one) -}}{{- $_ := set $all $one (dict "egress" dict "ingress" dict) -}}{{- end -}}
{{- end -}}
{{- $egress := get (get $all $source) "egress" -}}
{{- $_ := set $egress $target (concat (get $egress $target | default list) $ports | uniq) -}}
{{- $ingress := get (get $all $target) "ingress" -}}
{{- $_ := set $ingress $source (concat (get $ingress $source | default list) $ports | uniq) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $all -}}
{{- end -}}

{{- define "headrace.policyPorts" -}}
{{- range . }}
- {protocol: TCP, port: {{ int . }}}
{{- end }}
{{- end -}}
