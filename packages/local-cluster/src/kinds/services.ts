// Addresses and ports that Services are given.
import ipaddr from 'ipaddr.js'
import { invalidValue } from '../api/errors.ts'
import type { FieldProblem } from '../api/errors.ts'
import { fieldsAt, isFields, listAt } from '../object.ts'
import type { ApiObject } from '../object.ts'

export interface Ranges {
  serviceCidr: string
  nodePorts: readonly [first: number, last: number]
}

/** The first address of the range: that of the API server itself. */
export function firstServiceIP(cidr: string): string {
  const [network] = ipaddr.parseCIDR(cidr)
  return plus(network, 1)
}

/** Gives a Service what it asks for or lacks. Answers what can't be had. */
export function allocate(service: ApiObject, others: readonly ApiObject[], ranges: Ranges): FieldProblem[] {
  const spec = fieldsAt(service, 'spec')
  const problems: FieldProblem[] = []
  const rest = others.filter(({ metadata: { uid } }) => uid !== service.metadata.uid)
  if (spec.type === 'ExternalName') {
    for (const key of ['clusterIP', 'clusterIPs', 'ipFamilies', 'ipFamilyPolicy', 'internalTrafficPolicy'])
      delete spec[key]
    return problems
  }
  spec.ipFamilies ??= ['IPv4']
  spec.ipFamilyPolicy ??= 'SingleStack'
  const taken = new Set(rest.map((other) => (isFields(other.spec) ? other.spec.clusterIP : undefined)))
  const wanted = typeof spec.clusterIP === 'string' ? spec.clusterIP : ''
  if (wanted === '') {
    const free = freeAddress(ranges.serviceCidr, taken)
    if (free === undefined)
      problems.push(invalidValue('spec.clusterIPs', [], `failed to allocate a serviceIP: range is full`))
    else spec.clusterIP = free
  } else if (wanted !== 'None') {
    const refuse = (why: string): void =>
      void problems.push(invalidValue('spec.clusterIPs', [wanted], `failed to allocate IP ${wanted}: ${why}`))
    if (!isWithin(wanted, ranges.serviceCidr)) refuse('the provided network does not match the current range')
    else if (taken.has(wanted)) refuse('provided IP is already allocated')
  }
  if (spec.clusterIP !== undefined) spec.clusterIPs = [spec.clusterIP]
  if (spec.type === 'NodePort' || spec.type === 'LoadBalancer') problems.push(...allocatePorts(service, rest, ranges))
  return problems
}

function allocatePorts(
  service: ApiObject,
  others: readonly ApiObject[],
  { nodePorts: [first, last] }: Ranges,
): FieldProblem[] {
  const taken = new Set(
    others.flatMap((other) => {
      const spec = isFields(other.spec) ? other.spec : {}
      return [...listAt(spec, 'ports').map(({ nodePort }) => nodePort), spec.healthCheckNodePort]
    }),
  )
  const problems: FieldProblem[] = []
  const spec = fieldsAt(service, 'spec')
  const ports = listAt(spec, 'ports')
  const size = last - first + 1
  const freePort = (): number | undefined => {
    const from = Math.floor(Math.random() * size)
    const all = Array.from({ length: size }, (_, step) => first + ((from + step) % size))
    return all.find((one) => !taken.has(one))
  }
  for (const [index, port] of ports.entries()) {
    const at = `spec.ports[${index}].nodePort`
    const { nodePort } = port
    if (typeof nodePort === 'number' && nodePort !== 0) {
      if (nodePort < first || nodePort > last) {
        problems.push(
          invalidValue(
            at,
            nodePort,
            `provided port is not in the valid range. The range of valid ports is ${first}-${last}`,
          ),
        )
      } else if (taken.has(nodePort)) problems.push(invalidValue(at, nodePort, 'provided port is already allocated'))
      taken.add(nodePort)
      continue
    }
    const free = freePort()
    if (free === undefined) problems.push(invalidValue(at, 0, `failed to allocate a nodePort: range is full`))
    else {
      port.nodePort = free
      taken.add(free)
    }
  }
  // Load balancers ask here which node has an endpoint.
  if (spec.type !== 'LoadBalancer' || spec.externalTrafficPolicy !== 'Local') delete spec.healthCheckNodePort
  else if (!spec.healthCheckNodePort) {
    const free = freePort()
    if (free === undefined)
      problems.push(invalidValue('spec.healthCheckNodePort', 0, 'failed to allocate a nodePort: range is full'))
    else spec.healthCheckNodePort = free
  }
  return problems
}

/** A random free address: neither the first, which is the API server's, nor the last. */
function freeAddress(cidr: string, taken: ReadonlySet<unknown>): string | undefined {
  const [network, length] = ipaddr.parseCIDR(cidr)
  const bits = network.kind() === 'ipv4' ? 32 : 128
  const size = Math.min(2 ** (bits - length), 2 ** 20) - 3
  const from = Math.floor(Math.random() * size)
  for (let step = 0; step < size; step += 1) {
    const address = plus(network, 2 + ((from + step) % size))
    if (!taken.has(address)) return address
  }
  return undefined
}

function plus(network: ipaddr.IPv4 | ipaddr.IPv6, count: number): string {
  const bytes = network.toByteArray()
  let rest = count
  for (let at = bytes.length - 1; rest > 0 && at >= 0; at -= 1) {
    const sum = (bytes[at] ?? 0) + rest
    bytes[at] = sum & 0xff
    rest = sum >> 8
  }
  return ipaddr.fromByteArray(bytes).toString()
}

function isWithin(address: string, cidr: string): boolean {
  if (!ipaddr.isValid(address)) return false
  const parsed = ipaddr.parse(address)
  const [network, length] = ipaddr.parseCIDR(cidr)
  return parsed.kind() === network.kind() && parsed.match([network, length] as [ipaddr.IPv4, number])
}
