// What the API server fills in. Each function changes the object it is given.
import { fieldsAt, isFields, listAt } from '../object.ts'
import type { Fields } from '../object.ts'
import { applyVolumeDefaults, defaultClaim } from './volume-defaults.ts'

function fill(target: Fields, values: Fields): void {
  for (const [key, value] of Object.entries(values)) target[key] ??= value
}

/** Fills in a new or changed object of a kind. */
export function applyDefaults(resource: string, object: Fields): void {
  switch (resource) {
    case 'pods':
      defaultPodSpec(fieldsAt(object, 'spec'))
      fill(fieldsAt(object, 'spec'), { enableServiceLinks: true })
      defaultRequests(fieldsAt(object, 'spec'))
      if (isFields(object.status)) showEmptyStatus(object.status)
      break
    case 'nodes':
      defaultNodeStatus(fieldsAt(object, 'status'))
      break
    case 'events':
      object.eventTime ??= null
      fill(object, { reportingComponent: '', reportingInstance: '' })
      break
    case 'deployments':
      defaultDeployment(fieldsAt(object, 'spec'))
      break
    case 'replicasets':
      fill(fieldsAt(object, 'spec'), { replicas: 1 })
      defaultTemplate(fieldsAt(object, 'spec'))
      break
    case 'services':
      defaultService(fieldsAt(object, 'spec'))
      fieldsAt(fieldsAt(object, 'status'), 'loadBalancer')
      break
    case 'secrets':
      object.type ??= 'Opaque'
      takeStringData(object)
      break
    case 'endpointslices':
      for (const port of listAt(object, 'ports')) fill(port, { name: '', protocol: 'TCP' })
      for (const endpoint of listAt(object, 'endpoints')) endpoint.conditions ??= {}
      break
    case 'podcertificaterequests':
      fill(fieldsAt(object, 'spec'), { maxExpirationSeconds: 86_400 })
      break
    case 'namespaces':
      fill(fieldsAt(object, 'spec'), { finalizers: ['kubernetes'] })
      fill(fieldsAt(object, 'status'), { phase: 'Active' })
      break
    default:
      applyVolumeDefaults(resource, object)
  }
}

/** Clients find these in every answer, empty or not. */
function showEmptyStatus(status: Fields): void {
  for (const condition of listAt(status, 'conditions')) {
    condition.lastProbeTime ??= null
    condition.lastTransitionTime ??= null
  }
  for (const kind of ['containerStatuses', 'initContainerStatuses', 'ephemeralContainerStatuses']) {
    for (const container of listAt(status, kind)) fill(container, { lastState: {} })
  }
}

const nodeInfo = [
  'machineID',
  'systemUUID',
  'bootID',
  'kernelVersion',
  'osImage',
  'containerRuntimeVersion',
  'kubeletVersion',
  'kubeProxyVersion',
  'operatingSystem',
  'architecture',
]

function defaultNodeStatus(status: Fields): void {
  fill(fieldsAt(fieldsAt(status, 'daemonEndpoints'), 'kubeletEndpoint'), { Port: 0 })
  fill(fieldsAt(status, 'nodeInfo'), Object.fromEntries(nodeInfo.map((key) => [key, ''])))
}

function takeStringData(object: Fields): void {
  if (!isFields(object.stringData)) return
  const data = fieldsAt(object, 'data')
  for (const [key, value] of Object.entries(object.stringData))
    data[key] = Buffer.from(String(value)).toString('base64')
  delete object.stringData
}

function defaultDeployment(spec: Fields): void {
  fill(spec, { replicas: 1, revisionHistoryLimit: 10, progressDeadlineSeconds: 600 })
  const strategy = fieldsAt(spec, 'strategy')
  fill(strategy, { type: 'RollingUpdate' })
  if (strategy.type === 'RollingUpdate')
    fill(fieldsAt(strategy, 'rollingUpdate'), { maxUnavailable: '25%', maxSurge: '25%' })
  defaultTemplate(spec)
}

function defaultTemplate(spec: Fields): void {
  const template = fieldsAt(spec, 'template')
  fieldsAt(template, 'metadata')
  defaultPodSpec(fieldsAt(template, 'spec'))
}

const tagOf = (image: string): string | undefined => /:([^/:@]+)(@.*)?$/.exec(image)?.[1]

function defaultPodSpec(spec: Fields): void {
  fill(spec, {
    restartPolicy: 'Always',
    terminationGracePeriodSeconds: 30,
    dnsPolicy: 'ClusterFirst',
    securityContext: {},
    schedulerName: 'default-scheduler',
  })
  for (const container of [...listAt(spec, 'initContainers'), ...listAt(spec, 'containers')]) {
    const image = typeof container.image === 'string' ? container.image : ''
    const isLatest = !image.includes('@') && (tagOf(image) ?? 'latest') === 'latest'
    fill(container, {
      resources: {},
      terminationMessagePath: '/dev/termination-log',
      terminationMessagePolicy: 'File',
      imagePullPolicy: isLatest ? 'Always' : 'IfNotPresent',
    })
    for (const port of listAt(container, 'ports')) {
      fill(port, { protocol: 'TCP' })
      if (spec.hostNetwork === true) fill(port, { hostPort: port.containerPort })
    }
    for (const variable of listAt(container, 'env')) {
      const source = isFields(variable.valueFrom) ? variable.valueFrom : undefined
      if (source && isFields(source.fieldRef)) fill(source.fieldRef, { apiVersion: 'v1' })
    }
    for (const name of ['livenessProbe', 'readinessProbe', 'startupProbe']) {
      if (isFields(container[name])) defaultProbe(container[name])
    }
  }
  for (const volume of listAt(spec, 'volumes')) defaultVolume(volume)
}

/** What is limited and not requested is requested in full. */
function defaultRequests(spec: Fields): void {
  for (const container of [...listAt(spec, 'initContainers'), ...listAt(spec, 'containers')]) {
    const resources = fieldsAt(container, 'resources')
    if (isFields(resources.limits)) fill(fieldsAt(resources, 'requests'), resources.limits)
  }
}

function defaultProbe(probe: Fields): void {
  fill(probe, { timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3 })
  if (isFields(probe.httpGet)) fill(probe.httpGet, { path: '/', scheme: 'HTTP' })
  if (isFields(probe.grpc)) fill(probe.grpc, { service: '' })
}

const readable = 0o644

function defaultVolume(volume: Fields): void {
  const sources = Object.keys(volume).filter((key) => key !== 'name')
  if (sources.length === 0) volume.emptyDir = {}
  for (const name of ['configMap', 'secret', 'projected', 'downwardAPI']) {
    if (isFields(volume[name])) fill(volume[name], { defaultMode: readable })
  }
  if (isFields(volume.hostPath)) fill(volume.hostPath, { type: '' })
  const template = isFields(volume.ephemeral) ? volume.ephemeral.volumeClaimTemplate : undefined
  if (isFields(template)) defaultClaim(fieldsAt(template, 'spec'))
  const projected = isFields(volume.projected) ? volume.projected : undefined
  for (const source of listAt(projected, 'sources')) {
    if (isFields(source.serviceAccountToken)) fill(source.serviceAccountToken, { expirationSeconds: 3600 })
    if (isFields(source.downwardAPI)) defaultFieldRefs(source.downwardAPI)
  }
  if (isFields(volume.downwardAPI)) defaultFieldRefs(volume.downwardAPI)
}

function defaultFieldRefs(downward: Fields): void {
  for (const item of listAt(downward, 'items')) if (isFields(item.fieldRef)) fill(item.fieldRef, { apiVersion: 'v1' })
}

const threeHours = 10_800

function defaultService(spec: Fields): void {
  fill(spec, { type: 'ClusterIP', sessionAffinity: 'None' })
  for (const port of listAt(spec, 'ports')) {
    // Go clients write a port that is not set.
    if (port.targetPort === 0 || port.targetPort === '') delete port.targetPort
    fill(port, { protocol: 'TCP', targetPort: port.port })
  }
  if (spec.sessionAffinity === 'ClientIP') {
    fill(fieldsAt(fieldsAt(spec, 'sessionAffinityConfig'), 'clientIP'), { timeoutSeconds: threeHours })
  }
  if (spec.type !== 'ExternalName') fill(spec, { internalTrafficPolicy: 'Cluster' })
  if (spec.type === 'NodePort' || spec.type === 'LoadBalancer') {
    fill(spec, { externalTrafficPolicy: 'Cluster' })
    if (spec.type === 'LoadBalancer') fill(spec, { allocateLoadBalancerNodePorts: true })
  } else {
    delete spec.externalTrafficPolicy
    for (const port of listAt(spec, 'ports')) delete port.nodePort
  }
}
