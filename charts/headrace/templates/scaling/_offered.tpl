{{/* Places in model servers that arrivals will take, in PromQL. `python -m benchmarks.scaling` plays this rule beside others.
     Takes {where, keda}. */}}
{{- define "headrace.offered" -}}
{{- $rate := printf "sum(rate(headrace_inference_arrivals_total{%s}[1m]))" .where -}}
{{- $held := printf "clamp_min(sum(rate(headrace_inference_request_seconds_sum{%[1]s}[5m])) - sum(rate(headrace_inference_queue_seconds_sum{%[1]s}[5m])), 0) / clamp_min(sum(rate(headrace_inference_request_seconds_count{%[1]s}[5m])), 1e-9)" .where -}}
{{- $coming := $rate -}}
{{- if .keda.forecastSeconds -}}
{{- $coming = printf "(%[1]s + clamp_min(deriv(%[1]s[5m:15s]), 0) * %[2]d + sum(headrace_inference_waiting{%[3]s}) / %[2]d)" $rate (int .keda.forecastSeconds) .where -}}
{{- end -}}
{{ $coming }} * ({{ $held }}){{ if .keda.spare }} + {{ mul .keda.spare .keda.offered }}{{ end }}
{{- end -}}
