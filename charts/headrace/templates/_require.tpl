{{/* Fails where the cluster lacks what a value needs, before anything is applied. Takes {root, api, value, what}. */}}
{{- define "headrace.require" -}}
{{- if not (.root.Capabilities.APIVersions.Has .api) -}}
{{- fail (printf "\n\n%s needs %s, which this cluster does not have (no %s): install it first, or turn %s off. With `helm template` name what the cluster has: --api-versions %s\n" .value .what .api .value .api) -}}
{{- end -}}
{{- end -}}

{{/* A list or map as JSON; fails where it is empty, which `required` takes for given. Takes {value, message}. */}}
{{- define "headrace.given" -}}
{{- if not .value -}}{{- fail .message -}}{{- end -}}
{{- toJson .value -}}
{{- end -}}
