// Whether a new pod fits on this node. Pure.
import type { Pod } from 'kubernetes-types/core/v1.d.ts'
import { parseMilliQuantity } from '../quantity.ts'
import { podQuantity } from '../resource/pod-resources.ts'

export interface Rejection {
  /** For instance `OutOfcpu`. */
  reason: string
  message: string
}

const counted = ['cpu', 'memory', 'ephemeral-storage'] as const

/** cpu in thousandths, everything else in whole units, as messages tell. */
const inUnits = (name: string, milli: bigint): bigint => (name === 'cpu' ? milli : milli / 1000n)

/**
 * Undefined when the pod may run; else the first reason against it.
 * @param active the pods that were admitted and have not ended
 * @param allocatable of the node: resource name → quantity
 */
export function rejectionOf(
  pod: Pod,
  active: readonly Pod[],
  allocatable: Readonly<Record<string, string>>,
): Rejection | undefined {
  const most = Number(allocatable['pods'] ?? Infinity)
  if (active.length + 1 > most) return outOf('pods', 1, active.length, most)
  for (const name of counted) {
    const requested = podQuantity(pod, 'requests', name)
    if (requested === 0n || allocatable[name] === undefined) continue
    const used = active.reduce((sum, one) => sum + podQuantity(one, 'requests', name), 0n)
    const capacity = parseMilliQuantity(allocatable[name], name)
    if (requested + used > capacity) {
      return outOf(name, inUnits(name, requested), inUnits(name, used), inUnits(name, capacity))
    }
  }
  const taken = active.flatMap(hostPorts)
  if (hostPorts(pod).some((port) => taken.some((other) => clash(port, other)))) {
    const message = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
    return { reason: 'NodePorts', message }
  }
  return undefined
}

type Figure = bigint | number

function outOf(name: string, requested: Figure, used: Figure, capacity: Figure): Rejection {
  const figures = `requested: ${requested}, used: ${used}, capacity: ${capacity}`
  return { reason: `OutOf${name}`, message: `Node didn't have enough resource: ${name}, ${figures}` }
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
