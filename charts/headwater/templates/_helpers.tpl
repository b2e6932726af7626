{{/* Name of the chart, and of the release's objects. */}}
{{- define "headwater.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "headwater.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "headwater.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "headwater.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "headwater.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name: needed where serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Objects that have no namespace: two releases of one name must not meet. */}}
{{- define "headwater.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "headwater.fullname" .) -}}
{{- end -}}

{{/* Where the default resources, and a namespaced operator's rights, are. */}}
{{- define "headwater.resourcesNamespace" -}}
{{- default .Release.Namespace .Values.watchNamespace -}}
{{- end -}}

{{/* The operator's pods. Media nodes let pods with the first two labels alone reach their control API. */}}
{{- define "headwater.selectorLabels" -}}
app.kubernetes.io/name: headwater
app.kubernetes.io/component: operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "headwater.labels" -}}
{{- $own := dict "app.kubernetes.io/name" "headwater" "app.kubernetes.io/instance" .Release.Name
      "app.kubernetes.io/managed-by" .Release.Service "app.kubernetes.io/version" .Chart.AppVersion
      "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_") -}}
{{- toYaml (merge $own .Values.commonLabels) -}}
{{- end -}}

{{/* The metadata of an object: dict "root" . "name" NAME [ "namespace" NS ] [ "labels" MAP ] [ "annotations" MAP ] [ "cluster" true ] */}}
{{- define "headwater.metadata" -}}
{{- $labels := merge (include "headwater.labels" .root | fromYaml) (default dict .labels) -}}
{{- if .component }}{{ $_ := set $labels "app.kubernetes.io/component" .component }}{{ end -}}
{{- $annotations := merge (deepCopy (default dict .annotations)) .root.Values.commonAnnotations -}}
metadata:
  name: {{ .name }}
  {{- if not .cluster }}
  namespace: {{ default .root.Release.Namespace .namespace }}
  {{- end }}
  labels:
    {{- toYaml $labels | nindent 4 }}
  {{- with $annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "headwater.image" -}}
{{- $image := .image -}}
{{- with $image.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- $image.repository }}:{{ default .root.Chart.AppVersion $image.tag }}
{{- with $image.digest }}@{{ . }}{{ end -}}
{{- end -}}

{{/* What the operator may do to the resources that it looks after; the same as in examples/operator.yaml. */}}
{{- define "headwater.rules" -}}
# What people ask for: read; only its status is written.
- apiGroups: [headwater.dev]
  resources: [streamorigins, edgepools]
  verbs: [list, watch]
- apiGroups: [headwater.dev]
  resources: [streamorigins/status, edgepools/status]
  verbs: [patch]
# Nothing is written there: a cluster that guards owner references asks for it before they may block a deletion.
- apiGroups: [headwater.dev]
  resources: [streamorigins/finalizers, edgepools/finalizers]
  verbs: [update]
# What is made of it. A suspended pool has no budget; all else is deleted with its owner, by the garbage collector.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch]
# Publish keys are read, control tokens are kept.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch]
# Media nodes are found by their pods; drains and deletion costs stand in the pods' annotations.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{/* True if the operator is given resources to make. */}}
{{- define "headwater.hasDefaults" -}}
{{- if or .Values.origin.create .Values.pool.create }}true{{ end -}}
{{- end -}}

{{/* What a schema can't say, each with the key's path. */}}
{{- define "headwater.check" -}}
{{- with .Values.pool.spec.autoscaling -}}
{{- $min := int (default 2 .minReplicas) -}}
{{- $max := int (default 5 .maxReplicas) -}}
{{- $in := int (default 40 .scaleInPercent) -}}
{{- $out := int (default 70 .scaleOutPercent) -}}
{{- if lt $max $min -}}
{{- fail (printf "pool.spec.autoscaling.maxReplicas: %d is below pool.spec.autoscaling.minReplicas, which is %d" $max $min) -}}
{{- end -}}
{{- if ge $in $out -}}
{{- fail (printf "pool.spec.autoscaling.scaleInPercent: %d is not below pool.spec.autoscaling.scaleOutPercent, which is %d" $in $out) -}}
{{- end -}}
{{- with .fallbackReplicas -}}
{{- if or (lt (int .) $min) (gt (int .) $max) -}}
{{- fail (printf "pool.spec.autoscaling.fallbackReplicas: %d is not between minReplicas (%d) and maxReplicas (%d)" (int .) $min $max) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.pool.create (not .Values.origin.create) (not .Values.pool.spec.upstream) -}}
{{- fail "pool.spec.upstream: needed where origin.create is false" -}}
{{- end -}}
{{- end -}}
