// What the server does to pods beside storing them: service account, tolerations, QoS, priority. Pure.
import { randomBytes } from 'node:crypto'
import { fieldsAt, isFields, listAt } from '../object.ts'
import type { ApiObject, Fields } from '../object.ts'
import { quantity } from '../kinds/validate.ts'

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
