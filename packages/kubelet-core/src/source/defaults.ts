// What the API server would fill in, for pods that never pass through one. Pure.
import type {
  Container,
  DownwardAPIVolumeFile,
  HTTPGetAction,
  Pod,
  PodSpec,
  Probe,
} from 'kubernetes-types/core/v1.d.ts'
import { defaultPullPolicy } from '../pod/image-reference.ts'
import type { NewerVolume } from '../volume/image-volume.ts'
import { fillPodResources } from './pod-resource-defaults.ts'

/** A pod with the defaults of the API. */
export function withDefaults(pod: Pod): Pod {
  const complete = structuredClone(pod)
  if (complete.spec) fillSpec(complete.spec)
  return complete
}

function fillSpec(spec: PodSpec): void {
  spec.restartPolicy ||= 'Always'
  spec.dnsPolicy ||= 'ClusterFirst'
  spec.schedulerName ||= 'default-scheduler'
  spec.terminationGracePeriodSeconds ??= 30
  spec.enableServiceLinks ??= true
  spec.securityContext ??= {}
  for (const container of [...(spec.initContainers ?? []), ...(spec.containers ?? [])]) {
    fillContainer(container)
    for (const port of spec.hostNetwork ? (container.ports ?? []) : []) port.hostPort ||= port.containerPort
  }
  for (const volume of spec.volumes ?? []) fillVolume(volume)
  fillPodResources(spec)
}

function fillContainer(container: Container): void {
  const { ports = [], env = [], lifecycle, livenessProbe, readinessProbe, startupProbe } = container
  container.terminationMessagePath ||= '/dev/termination-log'
  container.terminationMessagePolicy ||= 'File'
  container.imagePullPolicy ||= pullPolicyOf(container.image)
  for (const port of ports) port.protocol ||= 'TCP'
  for (const { valueFrom } of env) fillFieldRef(valueFrom ?? {})
  for (const probe of [livenessProbe, readinessProbe, startupProbe]) if (probe) fillProbe(probe)
  for (const handler of [lifecycle?.postStart, lifecycle?.preStop]) fillHttp(handler?.httpGet)
  const resources = (container.resources ??= {})
  if (resources.limits) resources.requests = { ...resources.limits, ...resources.requests }
}

/** A name that cannot be read is told when the image is pulled. */
function pullPolicyOf(image = ''): string {
  try {
    return defaultPullPolicy(image)
  } catch {
    return 'IfNotPresent'
  }
}

function fillProbe(probe: Probe): void {
  probe.timeoutSeconds ||= 1
  probe.periodSeconds ||= 10
  probe.successThreshold ||= 1
  probe.failureThreshold ||= 3
  fillHttp(probe.httpGet)
  if (probe.grpc) probe.grpc.service ??= ''
}

function fillHttp(http: HTTPGetAction | undefined): void {
  if (!http) return
  http.path ||= '/'
  http.scheme ||= 'HTTP'
}

const readable = 0o644

function fillVolume(volume: NewerVolume): void {
  const { hostPath, iscsi, downwardAPI, projected, image } = volume
  if (Object.keys(volume).every((key) => key === 'name')) volume.emptyDir = {}
  if (hostPath) hostPath.type ??= ''
  if (iscsi) iscsi.iscsiInterface ||= 'default'
  if (image) image.pullPolicy ||= pullPolicyOf(image.reference)
  for (const source of [downwardAPI, projected]) if (source) source.defaultMode ??= readable
  for (const { downwardAPI: own } of [volume, ...(projected?.sources ?? [])]) {
    for (const file of own?.items ?? []) fillFieldRef(file)
  }
}

function fillFieldRef({ fieldRef }: Pick<DownwardAPIVolumeFile, 'fieldRef'>): void {
  if (fieldRef) fieldRef.apiVersion ||= 'v1'
}
