// Rules for ports of containers. Pure.
import type { ContainerPort } from 'kubernetes-types/core/v1.d.ts'
import type { PlacedContainer } from '../containers.ts'
import { duplicate, type FieldErrors, invalid, required } from '../field-error.ts'
import { checked, portName } from '../names.ts'
import { oneOf, port } from '../values.ts'

/** @param isHostNetwork the pod's ports are the host's */
export function* portsErrors(ports: readonly ContainerPort[], path: string, isHostNetwork: boolean): FieldErrors {
  const names = new Set<string>()
  for (const [index, { name, containerPort, hostPort = 0, protocol }] of ports.entries()) {
    const at = `${path}[${index}]`
    if (name) {
      yield* checked(`${at}.name`, name, portName)
      if (names.has(name)) yield duplicate(`${at}.name`, name)
      names.add(name)
    }
    if (containerPort) yield* port(`${at}.containerPort`, containerPort)
    else yield required(`${at}.containerPort`)
    if (hostPort !== 0) yield* port(`${at}.hostPort`, hostPort)
    yield* oneOf(`${at}.protocol`, protocol, ['SCTP', 'TCP', 'UDP'])
    if (isHostNetwork && hostPort !== containerPort) {
      yield invalid(`${at}.hostPort`, hostPort, 'must match `containerPort` when `hostNetwork` is true')
    }
  }
}

/** Containers that run together cannot have a port of the host twice. */
export function* hostPortErrors(containers: readonly PlacedContainer[]): FieldErrors {
  const taken = new Set<string>()
  for (const { container, path } of containers) {
    for (const [index, { protocol, hostIP = '', hostPort }] of (container.ports ?? []).entries()) {
      if (!hostPort) continue
      const key = `${protocol}/${hostIP}/${hostPort}`
      if (taken.has(key)) yield duplicate(`${path}.ports[${index}].hostPort`, key)
      taken.add(key)
    }
  }
}
