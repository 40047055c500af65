// What the server does to pods beside storing them: service account, tolerations, QoS, priority. Pure.
import { randomBytes } from 'node:crypto'
import { fieldsAt, isFields, listAt, sameJson } from '../object.ts'
import type { ApiObject, Fields } from '../object.ts'
import { quantity } from '../kinds/quantity.ts'
import { forbidden, invalidValue } from './errors.ts'
import type { FieldProblem } from './errors.ts'

const accountPath = '/var/run/secrets/kubernetes.io/serviceaccount'
const tokenSeconds = 3607
const evictionSeconds = 300
const readable = 0o644

/** Completes a new pod. */
export function completePod(pod: ApiObject): void {
  const spec = fieldsAt(pod, 'spec')
  const isMirror = pod.metadata.annotations?.['kubernetes.io/config.mirror'] !== undefined
  if (!isMirror) {
    spec.serviceAccountName ??= spec.serviceAccount ?? 'default'
    spec.serviceAccount = spec.serviceAccountName
    if (spec.automountServiceAccountToken !== false) mountToken(spec)
  }
  addTolerations(spec)
  spec.priority ??= 0
  spec.preemptionPolicy ??= 'PreemptLowerPriority'
  pod.status = { phase: 'Pending', qosClass: qosClass(spec) }
}

const containersOf = (spec: Fields): Fields[] => [...listAt(spec, 'initContainers'), ...listAt(spec, 'containers')]

function mountToken(spec: Fields): void {
  const name = `kube-api-access-${randomBytes(3).toString('hex').slice(0, 5)}`
  let isUsed = false
  for (const container of containersOf(spec)) {
    const mounts = listAt(container, 'volumeMounts')
    if (mounts.some(({ mountPath }) => mountPath === accountPath)) continue
    container.volumeMounts = [...mounts, { name, readOnly: true, mountPath: accountPath }]
    isUsed = true
  }
  if (!isUsed) return
  const sources = [
    { serviceAccountToken: { expirationSeconds: tokenSeconds, path: 'token' } },
    { configMap: { name: 'kube-root-ca.crt', items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
    {
      downwardAPI: {
        items: [{ path: 'namespace', fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.namespace' } }],
      },
    },
  ]
  spec.volumes = [...listAt(spec, 'volumes'), { name, projected: { sources, defaultMode: readable } }]
}

function addTolerations(spec: Fields): void {
  const tolerations = listAt(spec, 'tolerations')
  for (const key of ['node.kubernetes.io/not-ready', 'node.kubernetes.io/unreachable']) {
    const isTolerated = tolerations.some(
      (one) => (one.key === key || one.key === undefined) && (one.effect === undefined || one.effect === 'NoExecute'),
    )
    if (!isTolerated)
      tolerations.push({ key, operator: 'Exists', effect: 'NoExecute', tolerationSeconds: evictionSeconds })
  }
  spec.tolerations = tolerations
}

/** Subresources that change a part of a pod's spec and nothing else. */
export type PodPart = 'ephemeralcontainers' | 'resize'

export const changesPart = (subresource: string | undefined): subresource is PodPart =>
  subresource === 'ephemeralcontainers' || subresource === 'resize'

/** The spec after a write to a part of it. */
export function partlyChanged(part: PodPart, before: Fields, wanted: Fields): Fields {
  if (part === 'ephemeralcontainers') return { ...before, ephemeralContainers: wanted.ephemeralContainers ?? [] }
  const resized = (list: string): Fields[] =>
    listAt(before, list).map((container) => {
      const other = listAt(wanted, list).find(({ name }) => name === container.name)
      return other ? { ...container, resources: other.resources ?? {} } : container
    })
  return {
    ...before,
    ...(wanted.resources !== undefined && { resources: wanted.resources }),
    containers: resized('containers'),
    ...(before.initContainers !== undefined && { initContainers: resized('initContainers') }),
  }
}

/** What is wrong with such a write. */
export const partChangeProblems = (part: PodPart, old: Fields, now: Fields): FieldProblem[] =>
  part === 'resize' ? resizeProblems(old, now) : debugProblems(old, now)

function resizeProblems(old: Fields, now: Fields): FieldProblem[] {
  const same = qosClass(old) === qosClass(now)
  return same ? [] : [invalidValue('spec', qosClass(now), 'Pod QOS Class may not change as a result of resizing')]
}

/** Once added, an ephemeral container stays as it is. */
function debugProblems(old: Fields, now: Fields): FieldProblem[] {
  return listAt(old, 'ephemeralContainers').flatMap((container) => {
    const name = String(container.name)
    const other = listAt(now, 'ephemeralContainers').find((one) => one.name === name)
    if (!other)
      return [forbidden('spec.ephemeralContainers', `existing ephemeral containers "${name}" may not be removed\n`)]
    if (sameJson(container, other)) return []
    return [forbidden('spec.ephemeralContainers', `existing ephemeral containers "${name}" may not be changed\n`)]
  })
}

function qosClass(spec: Fields): string {
  const resources = containersOf(spec).map((container) => (isFields(container.resources) ? container.resources : {}))
  const amounts = (key: string, of: Fields): number => (isFields(of[key]) ? Object.keys(of[key]).length : 0)
  if (resources.every((one) => amounts('limits', one) + amounts('requests', one) === 0)) return 'BestEffort'
  const isGuaranteed = resources.every((one) => {
    const [limits, requests] = [one.limits, one.requests]
    return ['cpu', 'memory'].every(
      (key) =>
        isFields(limits) &&
        isFields(requests) &&
        limits[key] !== undefined &&
        quantity(limits[key]) === quantity(requests[key]),
    )
  })
  return isGuaranteed ? 'Guaranteed' : 'Burstable'
}
