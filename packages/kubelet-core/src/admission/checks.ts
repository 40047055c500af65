// Whether this node may run a new pod, check by check in the order that the Go kubelet has. Pure.
import { tolerates, wantsNode } from '@nodelet/kube-client'
import type { Container, Node, Pod } from 'kubernetes-types/core/v1.d.ts'
import { missingFeatures } from '../node/declared-features.ts'
import { isStatic } from '../pod/labels.ts'
import { qosClass } from '../resource/qos.ts'
import { isCritical } from './critical.ts'
import { lacksPorts, outOf, type Rejection, type Shortage, shortagesOf } from './node-fit.ts'
import type { SysctlRules } from './sysctls.ts'

/** Conditions of the node that keep pods away. */
export type Pressure = 'MemoryPressure' | 'DiskPressure' | 'PIDPressure'

export interface AdmissionFacts {
  /** Admitted before and not ended. */
  active: readonly Pod[]
  /** With labels and taints. */
  node: Node
  /** Resource name → quantity. */
  allocatable: Readonly<Record<string, string>>
  pressure: readonly Pressure[]
  sysctls: SysctlRules
  /** The runtime can keep `supplementalGroupsPolicy: Strict`. */
  hasGroupsPolicy: boolean
  hasAppArmor: boolean
  /** What the node tells that it can do; undefined: it does not tell. */
  declaredFeatures: readonly string[] | undefined
  shuttingDown: boolean
}

/** What keeps a pod from running; `shortages` alone, if others could make room. */
export type Obstacle = { rejection: Rejection; shortages?: readonly Shortage[] }

const predicate = (reason: string, message: string): Rejection => ({
  reason,
  message: `Predicate ${reason} failed: ${message}`,
})

/** The checks before resources of the node are given out. */
export function earlyObstacle(pod: Pod, facts: AdmissionFacts): Rejection | undefined {
  const pressure = underPressure(pod, facts.pressure)
  if (pressure) return pressure
  const sysctl = facts.sysctls.problemOf(pod)
  return sysctl ? { reason: 'SysctlForbidden', message: sysctl } : undefined
}

/** Undefined for a pod that may run. @throws RangeError naming the field of a malformed quantity */
export function obstacleTo(pod: Pod, facts: AdmissionFacts): Obstacle | undefined {
  const wrong = unsupported(pod, facts)
  if (wrong) return { rejection: wrong }
  const shortages = shortagesOf(pod, facts.active, facts.allocatable)
  const other = misplaced(pod, facts)
  const [shortage] = shortages
  if (shortage) return { rejection: outOf(shortage), ...(!other && { shortages }) }
  const last = other ?? late(pod, facts)
  return last && { rejection: last }
}

function underPressure(pod: Pod, pressure: readonly Pressure[]): Rejection | undefined {
  if (pressure.length === 0 || isCritical(pod)) return undefined
  if (pressure.every((one) => one === 'MemoryPressure')) {
    const taint = { key: 'node.kubernetes.io/memory-pressure', effect: 'NoSchedule' }
    if (qosClass(pod) !== 'BestEffort' || tolerates(pod.spec?.tolerations ?? [], taint)) return undefined
  }
  return { reason: 'Evicted', message: `The node had condition: [${pressure.toSorted().join(' ')}]. ` }
}

type NewerSpec = { securityContext?: { supplementalGroupsPolicy?: string } }

function unsupported({ spec }: Pod, { node, hasGroupsPolicy }: AdmissionFacts): Rejection | undefined {
  const os = spec?.nodeSelector?.['kubernetes.io/os']
  const label = node.metadata?.labels?.['kubernetes.io/os']
  if (os !== undefined && label !== undefined && os !== label) {
    const message = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label"
    return { reason: 'PodOSSelectorNodeLabelDoesNotMatch', message }
  }
  if (spec?.os && spec.os.name !== 'linux') {
    return { reason: 'PodOSNotSupported', message: "Failed to admit pod as the OS field doesn't match node OS" }
  }
  const policy = (spec as NewerSpec | undefined)?.securityContext?.supplementalGroupsPolicy
  if (policy === 'Strict' && !hasGroupsPolicy) {
    const message = 'SupplementalGroupsPolicy=Strict is not supported in this node'
    return { reason: 'SupplementalGroupsPolicyNotSupported', message }
  }
  return undefined
}

function misplaced(pod: Pod, { node, active }: AdmissionFacts): Rejection | undefined {
  if (!wantsNode(pod, node)) {
    return predicate('NodeAffinity', "node(s) didn't match Pod's node affinity/selector")
  }
  if (pod.spec?.nodeName && pod.spec.nodeName !== node.metadata?.name) {
    return predicate('NodeName', "node(s) didn't match the requested node name")
  }
  if (lacksPorts(pod, active)) {
    return predicate('NodePorts', "node(s) didn't have free ports for the requested pod ports")
  }
  return undefined
}

function late(pod: Pod, { node, hasAppArmor, declaredFeatures, shuttingDown }: AdmissionFacts): Rejection | undefined {
  const tolerations = pod.spec?.tolerations ?? []
  const taints = isStatic(pod) ? [] : (node.spec?.taints ?? [])
  if (taints.some((taint) => taint.effect === 'NoExecute' && !tolerates(tolerations, taint))) {
    return predicate('TaintToleration', 'node(s) had untolerated taint(s)')
  }
  if (!hasAppArmor && wantsAppArmor(pod)) {
    return { reason: 'AppArmor', message: 'Cannot enforce AppArmor: AppArmor is not enabled on the host' }
  }
  const missing = declaredFeatures ? missingFeatures(pod, declaredFeatures) : []
  if (missing.length > 0) {
    const message = `Pod requires node features that are not available: ${missing.join(', ')}`
    return { reason: 'PodFeatureUnsupported', message }
  }
  if (shuttingDown) return { reason: 'NodeShutdown', message: 'Pod was rejected as the node is shutting down.' }
  return undefined
}

function wantsAppArmor({ metadata, spec }: Pod): boolean {
  const containers: Pick<Container, 'securityContext'>[] = [
    ...(spec?.initContainers ?? []),
    ...(spec?.containers ?? []),
  ]
  const profiles = [spec, ...containers].map((one) => one?.securityContext?.appArmorProfile?.type)
  const annotations = Object.entries(metadata?.annotations ?? {})
  return (
    profiles.some((type) => type !== undefined && type !== 'Unconfined') ||
    annotations.some(
      ([key, value]) => key.startsWith('container.apparmor.security.beta.kubernetes.io/') && value !== 'unconfined',
    )
  )
}
