// Whether a new pod fits beside the others of this node: resources and ports. Pure.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { parseMilliQuantity } from '../quantity.ts'
import { podQuantity } from '../resource/pod-resources.ts'

export interface Rejection {
  /** For instance `OutOfcpu`. */
  reason: string
  message: string
}

/** A resource that does not suffice. In thousandths. */
export interface Shortage {
  name: string
  requested: bigint
  used: bigint
  capacity: bigint
  /** How much others would have to give back. */
  missing: bigint
}

/**
 * The resources that do not suffice, the most general first. What the node does not count, nobody lacks.
 * @param active the pods that were admitted and have not ended
 * @param allocatable of the node: resource name → quantity
 */
export function shortagesOf(
  pod: Pod,
  active: readonly Pod[],
  allocatable: Readonly<Record<string, string>>,
): Shortage[] {
  const names = ['cpu', 'memory', 'ephemeral-storage']
  const others = Object.keys(allocatable).filter((name) => name !== 'pods' && !names.includes(name))
  const shortage = (name: string, requested: bigint, used: bigint): Shortage[] => {
    if (requested === 0n || allocatable[name] === undefined) return []
    const capacity = parseMilliQuantity(allocatable[name], name)
    const missing = requested + used - capacity
    return missing > 0n ? [{ name, requested, used, capacity, missing }] : []
  }
  const of = (name: string): Shortage[] => {
    const requested = podQuantity(pod, 'requests', name)
    if (requested === 0n) return []
    return shortage(
      name,
      requested,
      active.reduce((sum, one) => sum + podQuantity(one, 'requests', name), 0n),
    )
  }
  return [...shortage('pods', 1000n, BigInt(active.length) * 1000n), ...[...names, ...others.toSorted()].flatMap(of)]
}

/** As events tell: cpu in thousandths, everything else in whole units. */
export function outOf({ name, requested, used, capacity }: Shortage): Rejection {
  const shown = (milli: bigint): bigint => (name === 'cpu' ? milli : milli / 1000n)
  const figures = `requested: ${shown(requested)}, used: ${shown(used)}, capacity: ${shown(capacity)}`
  return { reason: `OutOf${name}`, message: `Node didn't have enough resource: ${name}, ${figures}` }
}

/** Whether a port of the host that the pod wants is taken. */
export function lacksPorts(pod: Pod, active: readonly Pod[]): boolean {
  const wanted = hostPorts(pod)
  if (wanted.length === 0) return false
  const taken = active.flatMap(hostPorts)
  return wanted.some((port) => taken.some((other) => clash(port, other)))
}

interface HostPort {
  ip: string
  protocol: string
  port: number
}

function hostPorts({ spec }: Pod): HostPort[] {
  const sidecars = (spec?.initContainers ?? []).filter(({ restartPolicy }) => restartPolicy === 'Always')
  return [...sidecars, ...(spec?.containers ?? [])].flatMap(({ ports = [] }) =>
    ports.flatMap(({ hostPort, hostIP, protocol = 'TCP' }) =>
      hostPort ? [{ ip: hostIP || '0.0.0.0', protocol, port: hostPort }] : [],
    ),
  )
}

const clash = (a: HostPort, b: HostPort): boolean =>
  a.port === b.port && a.protocol === b.protocol && (a.ip === b.ip || a.ip === '0.0.0.0' || b.ip === '0.0.0.0')
